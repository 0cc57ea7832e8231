"""A diagnosis for every disorder, and advice for everything that is said."""

import math

import torch

from intr_nb.training.diagnosis import (
    _ADVICE,
    Diagnosis,
    _attention_findings,
    _Finding,
    _training_findings,
    diagnose,
)
from intr_nb.training.history import History


def names(**kw):
    return [f.name for f in _attention_findings(**kw)]


def test_each_disorder_has_its_name():
    assert names(entropy=0.99, similarity=1.0, overlap=1.0, peak=0.01) == ["uniform"]
    assert names(entropy=0.5, similarity=0.99) == ["classes alike"] and names(entropy=0.5, overlap=0.99) == [
        "heads alike"
    ]
    assert (
        names(peak=0.9) == ["saturated"]
        and names(spread=200.0) == ["steep value score"]
        and names(positions=9) == ["coarse"]
    )
    assert (
        names(share=torch.tensor([0.5, 0.5, 0.0])) == ["idle heads"]
        and names(share=0.1) == ["attention bypassed"]
        and names(share=math.nan) == ["no differences"]
    )
    assert (
        names(
            entropy=0.5,
            peak=0.3,
            similarity=0.2,
            overlap=0.1,
            spread=1.0,
            positions=144,
            share=torch.full((8,), 0.125),
        )
        == []
    )


def course(losses, **columns):
    return [
        f.name
        for f in _training_findings(
            [dict(epoch=i, loss=x) | {k: v[i] for k, v in columns.items()} for i, x in enumerate(losses)], 16
        )
    ]


def test_each_course_has_its_name():
    assert course([2.6, 2.6, 2.6]) == ["stuck"]
    assert course([2.6, 2.6, 2.6], entropy=[0.94] * 3, peak=[0.04] * 3) == ["stuck, attention rests"]
    assert course([2.77, 2.77, 2.77], entropy=[0.5, 0.2, 0.1], peak=[0.5, 0.8, 0.9]) == [
        "stuck, attention moved"
    ]
    assert (
        course([9.0, 4.0, 3.0]) == ["bad start"]
        and course([2.0, 0.5, 1.0]) == ["rising loss"]
        and course([2.0, math.nan]) == ["no number"]
    )
    assert course([2.0, 1.0, 0.5], valid_loss=[2.0, 1.0, 1.5]) == ["overfitting"]
    assert (
        course([2.0, 1.0, 0.5], valid_accuracy=[0.2, 0.5, 0.6]) == ["unfinished"]
        and course([2.0, 1.0, 0.5], valid_accuracy=[0.2, 0.6, 0.6]) == []
    )
    assert course([2.0, 0.2, 0.1, 0.1, 0.1]) == []  # done, not stuck


def test_advice_for_everything_that_is_said():
    d = diagnose(History([dict(epoch=1, loss=2.0, entropy=0.999, peak=None, valid_accuracy=0.5)]))
    assert (
        d.names == ["uniform"] and _ADVICE["uniform"] in repr(d) and "<li><b>uniform</b>" in d._repr_html_()
    )
    assert "&lt;b&gt;" in Diagnosis([_Finding("coarse", "<b>")])._repr_html_() and "Nothing unusual" in repr(
        Diagnosis()
    )
