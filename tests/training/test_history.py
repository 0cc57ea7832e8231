"""History: the best row, a table that escapes, and files that give back every bit."""

import math
import os

import numpy as np
import pytest
import torch

from intr_nb.training.history import History, _shown

ROWS = [
    dict(
        epoch=1,
        step=40,
        loss=1 / 3,
        valid_loss=0.1 + 0.2,
        valid_accuracy=0.5,
        lr=3e-5,
        seconds=1e-17,
        entropy=0.9,
        peak=0.02,
        similarity=0.8,
    ),
    dict(
        epoch=2,
        step=80,
        loss=2 / 7,
        valid_loss=0.2,
        valid_accuracy=0.75,
        lr=1e-5,
        seconds=2.0,
        entropy=0.7,
        peak=0.1,
        similarity=0.4,
        resumed=60,
    ),
]


def test_best_is_by_accuracy_then_loss():
    rows = [
        dict(epoch=1, loss=0.1, valid_accuracy=0.8, valid_loss=0.6),
        dict(epoch=2, loss=0.2, valid_accuracy=0.8, valid_loss=0.5),
        dict(epoch=3, loss=0.0, valid_accuracy=0.7, valid_loss=0.1),
    ]
    assert History(rows).best is rows[1]
    assert (
        History([dict(epoch=1, loss=0.9), dict(epoch=2, loss=0.4), dict(epoch=3, loss=math.nan)]).best[
            "epoch"
        ]
        == 2
    )
    assert (
        History(
            [dict(epoch=1, loss=1.0, valid_accuracy=math.nan), dict(epoch=2, loss=2.0, valid_accuracy=0.1)]
        ).best["epoch"]
        == 2
    )
    with pytest.raises(ValueError):
        _ = History().best


def test_html_escapes_and_shows_small_numbers():
    page = History([ROWS[0] | {"<b>": "<script>"}, ROWS[1]])._repr_html_()
    assert "<script>" not in page and "<b>" not in page and "&lt;script&gt;" in page and "3.00e-05" in page
    assert page.count("font-weight:bold") == 1 and page.index("font-weight:bold") > page.index("0.500")
    assert "no epoch" in History()._repr_html_() and repr(History()) == "History of 0 epochs"
    assert repr(History(ROWS)) == "History of 2 epochs: best 2, validation accuracy 0.750"
    assert _shown(math.nan) == "nan" and _shown(torch.tensor(0.25)) == "0.250"


def test_csv_gives_back_every_bit(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        dict(epoch=i, loss=float(x), lr=float(x) * 1e-300, big=2**70 + i)
        for i, x in enumerate(rng.standard_normal(200))
    ]
    rows[3]["loss"], rows[5]["note"] = math.inf, 'a "quoted", text\nof two lines'
    for history in (History(rows), History(ROWS), History()):
        assert History.from_csv(history.to_csv(tmp_path / "deep" / "h.csv")) == history
    tensors = History([dict(epoch=1, loss=torch.tensor(0.5), peak=np.float64(0.1), n=np.int64(3))])
    assert History.from_csv(tensors.to_csv(tmp_path / "h.csv")).rows == [
        dict(epoch=1, loss=0.5, peak=0.1, n=3)
    ]
    assert math.isnan(
        History.from_csv(History([dict(epoch=1, loss=math.nan)]).to_csv(tmp_path / "h.csv")).rows[0]["loss"]
    )


def test_csv_that_cannot_be_written_keeps_the_old_one(tmp_path, monkeypatch):
    path = History(ROWS[:1]).to_csv(tmp_path / "h.csv")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="h.csv.*No space left"):
        History(ROWS).to_csv(path)
    assert History.from_csv(path) == History(ROWS[:1]) and [p.name for p in tmp_path.iterdir()] == ["h.csv"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("a,b\n1,2\n", "a column epoch"),
        ("", "a column epoch"),
        ("epoch,loss\n1,2.5\n2,\n3\n", "line 4 has 1 values, expected 2"),
    ],
)
def test_other_files_are_refused(tmp_path, text, words):
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        History.from_csv(tmp_path / "h.csv")
