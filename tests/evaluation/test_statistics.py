"""Intervals, paired differences and files."""

import csv

import numpy as np
import pytest

from intr_nb.evaluation.statistics import Evaluation, bootstrap

GOOD, BAD = np.array([1.0, 1, 1, 0]), np.array([0.0, 0, 0, np.nan])
TOY = Evaluation(
    {
        ("m", "good"): {"hit": GOOD, "none": GOOD * np.nan},
        ("m", "<b>bad"): {"hit": BAD, "none": BAD * np.nan},
    },
    [3, 5, 7, 9],
)


def test_bootstrap_is_seeded_leaves_out_nan_and_narrows():
    assert (
        bootstrap(BAD) == (0, 0, 0, 3)
        and bootstrap(GOOD) == bootstrap(GOOD)
        and np.isnan(bootstrap([np.nan])[0])
    )
    wide, narrow = bootstrap([0, 1] * 10), bootstrap([0, 1] * 1000)
    assert wide[1] < narrow[1] < 0.5 < narrow[2] < wide[2]
    assert bootstrap([0, 1] * 10, level=0.5)[1] > wide[1]


def test_differences_are_paired():
    d = TOY.difference("good", "<b>bad")
    assert d.rows() == [("m", "good - <b>bad", "hit", 1, 1, 1, 3)]  # not 0.75
    x = np.random.RandomState(0).randn(50)
    pair = Evaluation({("m", "a"): {"x": x + 0.1}, ("m", "b"): {"x": x}}, list(range(50)))
    ((_, _, _, mean, low, high, _),) = pair.difference("a", "b").rows()
    assert (mean, low, high) == pytest.approx((0.1, 0.1, 0.1))


def test_a_method_of_two_models_needs_its_model():
    two = Evaluation({("m", "a"): {"x": GOOD}, ("n", "a"): {"x": BAD}}, [0, 1, 2, 3])
    assert two.difference(("m", "a"), ("n", "a")).rows()[0][0] == "m - n"
    with pytest.raises(ValueError, match="with its model"):
        two.difference("a", "a")
    with pytest.raises(ValueError, match="'good'"):
        TOY.difference("goood", "good")


def test_tables_escape_and_files_hold_every_image(tmp_path):
    assert (
        "<b>" not in TOY._repr_html_()
        and "&lt;b&gt;bad" in TOY._repr_html_()
        and "none" not in TOY._repr_html_()
    )
    rows = list(csv.reader(TOY.to_csv(tmp_path / "a.csv").open()))
    assert (
        rows[0] == ["model", "method", "metric", "image", "value"]
        and rows[1] == ["m", "good", "hit", "3", "1.0"]
        and len(rows) == 17
    )
    summary = list(csv.reader(TOY.to_csv(tmp_path / "a.csv", images=False).open()))
    assert len(summary) == 3 and summary[1][:3] == ["m", "good", "hit"] and summary[1][-1] == "4"
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_each_method_has_its_own_n_where_they_differ():
    nan = float("nan")
    values = dict(
        all={"rank": np.ones(3), "mass": np.ones(3)},
        some={"rank": np.array([1, nan, 1]), "mass": np.ones(3)},
        none={"rank": np.full(3, nan), "mass": np.ones(3)},
    )
    e = Evaluation({("m", name): found for name, found in values.items()}, [4, 5, 6])
    head, *rows = (line.split(" | ") for line in repr(e).split("\n"))
    assert head == ["method", "rank", "mass (n = 3)"]
    assert [r[1].partition("(")[2] for r in rows[:3]] == ["n = 3)", "n = 2)", ""]
