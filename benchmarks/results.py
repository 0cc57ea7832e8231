"""Results in CSV files: a row is written as soon as it is known, so a run that is cut off loses nothing."""

import csv
from pathlib import Path


def read_rows(
    path: Path | None,  # may not be there yet
) -> list:  # of dicts
    "The rows in a file of results"
    if path is None or not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append_row(
    path: Path | None,  # None: nothing is written
    row: dict,
    columns=None,  # of a new file; None: the row's own
):
    "Add a row; a new file gets a line of titles first"
    if path is None:
        return
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns or row, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
