"""Put screenshots of the browsers into the docs, cut to the widget.

Usage: INTR_NB_SCREENSHOTS=shots pytest tests/browsers/test_in_jupyter.py && python tools/screenshots.py shots
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path(__file__).resolve().parent.parent / "nbs" / "tutorials" / "browsers"
SHOTS = dict(
    head_browser="head_browser_hover",
    evidence_browser="evidence_explorer_0",
    candidate_browser="company_explorer_0",
    bird_editor="bird_editor_1",
    paint_editor="paint_box_0",
    attribute_study="attribute_study_0",
    method_browser="explanation_comparer_docs",
)


def cut(image, left=310, top=90, bottom=30, right=44):
    "The notebook's part of the window, without what is empty below."
    image = image.convert("RGB").crop((left, top, image.width - right, image.height - bottom))
    rows = np.asarray(image, int).std(axis=1).max(1) > 2  # JupyterLab's empty rows are of one colour
    return image.crop((0, 0, image.width, min(image.height, int(np.flatnonzero(rows).max()) + 12)))


def main(folder):
    OUT.mkdir(exist_ok=True)
    for name, shot in SHOTS.items():
        if not (path := Path(folder) / f"{shot}.png").exists():
            print(f"{path} is not there: {name}.jpg stays as it is")
            continue
        cut(Image.open(path)).save(OUT / f"{name}.jpg", quality=85, optimize=True)
        print(f"{OUT / name}.jpg: {(OUT / f'{name}.jpg').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
