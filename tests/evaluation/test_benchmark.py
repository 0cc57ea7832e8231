"""One call, on data with and without known parts."""

import numpy as np
import pytest
import torch

from intr_nb.data.birds import Aviary
from intr_nb.data.photos import Photos
from intr_nb.evaluation.benchmark import _item, evaluate_explanations
from intr_nb.evaluation.metrics import METRICS, PART_METRICS, curve_area
from intr_nb.explanations.methods import attention_map, centre_map, evidence_map
from intr_nb.models.checkpoints import pretrained

MODEL, BIRDS = pretrained("aviary16"), Aviary(20, seed=2)


def test_evidence_beats_attention_at_twin_pointing_and_blind_maps_get_half():
    r = evaluate_explanations(
        MODEL,
        dict(evidence=evidence_map, attention=attention_map, centre=centre_map),
        BIRDS,
        {k: (METRICS | PART_METRICS)[k] for k in ("twin pointing", "parts", "contrastivity")},
        images=[0, 5, 8],
        progress=False,
    )
    mean = {(k[1], m): np.mean(v[m]) for k, v in r.values.items() for m in v}
    assert mean["evidence", "twin pointing"] == 1 > mean["attention", "twin pointing"]
    assert mean["centre", "contrastivity"] == 0.5 and r.images == [0, 5, 8] and "3 of 3" in repr(r)


def test_a_shared_judge_scores_and_wrong_images_are_left_out():
    class Judge(torch.nn.Module):
        def forward(self, x):
            return 10 * torch.nn.functional.one_hot(torch.full((len(x),), 3), 16).float()

    r = evaluate_explanations(
        MODEL,
        dict(e=evidence_map),
        BIRDS,
        dict(deletion=curve_area("deletion", steps=4)),
        evaluator=Judge(),
        images=[3, 4, 19],
        progress=False,
    )
    assert (
        r.images == [3, 19] and r.values["OneBlockINTR", "e"]["deletion"].min() > 0.99 and "Judge" in r.about
    )
    with pytest.raises(ValueError, match="only_right=False"):
        evaluate_explanations(
            MODEL, dict(e=evidence_map), BIRDS, evaluator=Judge(), images=[4], progress=False
        )


def test_pairs_of_image_and_label_do_and_questions_without_an_answer_are_left_out():
    r = evaluate_explanations(
        MODEL, dict(e=evidence_map), [BIRDS[0], BIRDS[1]], METRICS | PART_METRICS, progress=False
    )
    assert (
        set(r.metrics) == {"insertion", "deletion", "deletion, inpaint"} and "pointing" not in r._repr_html_()
    )


def test_photographs_bring_their_visible_points():
    p = Photos(
        ["a"],
        [1],
        ["x", "y"],
        points=[[[30, 20, 1], [5, 5, 0]]],
        point_names=["beak", "tail"],
        opener=lambda i: BIRDS.bird(0).image,
    )
    image, label, parts = _item(p, 0)
    assert (
        image.shape == (3, 96, 96)
        and label == 1
        and list(parts) == ["beak"]
        and parts["beak"][20, 30]
        and not parts["beak"][30, 20 - 15]
    )


def test_wrong_input_is_an_error():
    with pytest.raises(TypeError, match="methods"):
        evaluate_explanations(MODEL, evidence_map, BIRDS, progress=False)
    with pytest.raises(ValueError, match="0 to 19"):
        evaluate_explanations(MODEL, dict(e=evidence_map), BIRDS, images=[20], progress=False)
    with pytest.raises(ValueError, match="Sum over heads"):
        evaluate_explanations(
            MODEL, dict(e=lambda m, i, c: torch.ones(2, 3, 3)), BIRDS, images=[0], progress=False
        )


def test_models_in_training_are_measured_in_evaluation_and_left_as_they_were():
    model = pretrained("aviary16").train()
    evaluator = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(3 * 96 * 96, 16)
    )
    modes = []

    def spy(case):
        modes.append([m.training for net in (case.model, case.evaluator) for m in net.modules()])
        return 0.0

    some = dict(spy=spy) | {k: METRICS[k] for k in ("insertion", "pointing")}
    r = evaluate_explanations(
        model, dict(e=evidence_map), BIRDS, some, evaluator, [0], only_right=False, progress=False
    )
    assert not any(modes[0]) and all(m.training for net in (model, evaluator) for m in net.modules())
    s = evaluate_explanations(
        MODEL, dict(e=evidence_map), BIRDS, some, evaluator.eval(), [0], only_right=False, progress=False
    )
    assert r.rows()[1:] == s.rows()[1:]


def test_a_model_of_other_classes_is_refused():
    def run(model, data, evaluator=None):
        return evaluate_explanations(
            model,
            dict(e=evidence_map),
            data,
            dict(one=lambda case: 1.0),
            evaluator,
            [0],
            False,
            progress=False,
        )

    other, data = pretrained("aviary16"), Aviary(20, seed=2)
    other.class_names = [other.class_names[1], other.class_names[0], *other.class_names[2:]]
    with pytest.raises(
        ValueError, match=f"class 0 is {data.class_names[1]!r} to OneBlockINTR and .*same order"
    ):
        run(other, data)
    with pytest.raises(ValueError, match="to the evaluator"):
        run(MODEL, data, other)
    with pytest.raises(ValueError, match="class 4 is .* in the data"):
        run(MODEL, Aviary(8, species=4))
    other.class_names = None  # it knows numbers only
    assert run(other, data).rows()[0][3] == 1


def test_the_count_shown_is_the_methods_own():
    r = evaluate_explanations(
        MODEL,
        dict(a=evidence_map, b=attention_map),
        BIRDS,
        dict(some=lambda case: float("nan") if case.method is attention_map and case.index else 1.0),
        images=[0, 1],
        only_right=False,
        progress=False,
    )
    assert "n = 2" in repr(r).splitlines()[1] and "n = 1" in repr(r).splitlines()[2]
    assert "n =" not in repr(r).splitlines()[0]


def test_tables_show_labels_and_files_names(tmp_path):
    r = evaluate_explanations(
        MODEL, dict(e=evidence_map), BIRDS, {"deletion": METRICS["deletion"]}, images=[0], progress=False
    )
    assert "<th" in r._repr_html_() and "deletion, lower is better (n = 1)" in r._repr_html_()
    assert ",deletion," in r.to_csv(tmp_path / "a.csv").read_text()
