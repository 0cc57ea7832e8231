"""One call, on data with and without known parts."""

import numpy as np
import pytest
import torch

from intr_nb.data.birds import Aviary
from intr_nb.data.photos import Photos
from intr_nb.evaluation.benchmark import _item, evaluate_explanations
from intr_nb.evaluation.class_specificity import two_halves
from intr_nb.evaluation.metrics import METRICS, PART_METRICS, curve_area, pointing
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
    image, label, parts, points = _item(p, 0)
    assert (
        image.shape == (3, 96, 96)
        and label == 1
        and list(parts) == ["beak"]
        and parts["beak"][20, 30]
        and not parts["beak"][30, 20 - 15]
        and points.tolist() == [[30, 20]]
    )


SPOT = np.zeros((96, 96), bool)
SPOT[40:60, 10:30] = True


def spotted(**more):
    "Three photographs; what is known of them is known of the first two"
    pixels = [BIRDS.bird(i).image for i in range(3)]
    return Photos(list("abc"), [0, 1, 2], BIRDS.class_names, opener=pixels.__getitem__, **more)


def peak_at(x, y):
    return lambda model, image, c: torch.zeros(96, 96).index_put(
        (torch.tensor(y), torch.tensor(x)), torch.tensor(1.0)
    )


def asked(data, **methods):
    metrics = {k: METRICS[k] for k in ("pointing", "mass", "rank")} | {
        "pointing, 5 %": pointing(0.05),
        "pointing, 10 %": pointing(0.1),
        "part, 5 %": pointing(0.05, parts=True),
    }
    return evaluate_explanations(MODEL, methods, data, metrics, only_right=False, progress=False)


def test_masks_of_photographs_answer_and_those_without_are_left_out():
    data = spotted(masks=[SPOT, SPOT, None])
    r = asked(
        data, inside=peak_at(20, 50), near=peak_at(36, 50), whole=lambda m, x, c: torch.tensor(SPOT).float()
    )
    v = {k[1]: {m: x.tolist() for m, x in found.items()} for k, found in r.values.items()}
    assert v["inside"]["pointing"][:2] == [1, 1] and np.isnan(v["inside"]["pointing"][2])
    assert [v["near"][m][0] for m in ("pointing", "pointing, 5 %", "pointing, 10 %")] == [0, 0, 1]
    assert v["whole"]["mass"][0] == v["whole"]["rank"][0] == 1 and np.isnan(v["whole"]["part, 5 %"]).all()
    assert "3 of 3 images; masks, boxes or points for 2 of them" in r.about and "(n = 2)" in r._repr_html_()
    assert "masks" not in asked(data.subset([0, 1]), inside=peak_at(20, 50)).about


def test_an_empty_mask_is_no_answer():
    r = asked(spotted(masks=[SPOT, 0 * SPOT, None]), inside=peak_at(20, 50))
    assert np.isnan(r.values["OneBlockINTR", "inside"]["pointing"]).tolist() == [False, True, True]


def test_masks_then_points_then_boxes():
    box, far = [[10, 40, 30, 60]] * 3, [[[80, 80, 1], [50, 50, 0]]] * 3
    (found,) = _item(spotted(boxes=box), 0)[2].values()
    assert (found == SPOT).all()
    assert list(_item(spotted(boxes=box, points=far, point_names=["beak", "tail"]), 0)[2]) == ["beak"]
    both = spotted(masks=[SPOT] * 3, points=far)
    assert (_item(both, 0)[2]["object"] == SPOT).all()
    r = asked(both, inside=peak_at(20, 50), part=peak_at(83, 80))
    mean = {(k[1], m): v[m][0] for k, v in r.values.items() for m in v}
    assert mean["inside", "pointing, 5 %"] == 1 > mean["inside", "part, 5 %"] == 0
    assert mean["part", "part, 5 %"] == 1 > mean["part", "pointing, 5 %"] == 0


def test_near_a_point_is_near_that_point_and_not_near_a_disc_round_it():
    r = asked(spotted(points=[[[40, 40, 1]]] * 3), off=peak_at(47, 40))  # 7 of 96 pixels: 7.3 %
    found = {m: v[0] for m, v in r.values["OneBlockINTR", "off"].items()}
    assert found["pointing, 5 %"] == 0 and found["pointing, 10 %"] == found["pointing"] == 1
    with pytest.raises(ValueError, match="tolerance=5: expected a share"):
        pointing(5)


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


class Named(torch.utils.data.Dataset):
    "Birds that are called as somebody else does"

    def __init__(self, class_names, labels=(0,)):
        self.class_names, self.labels = list(class_names), list(labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return BIRDS[i][0], self.labels[i]


def test_classes_in_another_order_are_the_same_classes():
    names = BIRDS.class_names[::-1]
    turned = Named(names, [names.index(BIRDS.class_names[BIRDS.label(i)]) for i in range(4)])
    how = dict(methods=dict(e=evidence_map), metrics={"insertion": METRICS["insertion"]}, progress=False)
    straight = evaluate_explanations(MODEL, data=BIRDS, images=range(4), **how)
    assert evaluate_explanations(MODEL, data=turned, **how).rows()[1:] == straight.rows()[1:]
    pairs = [
        two_halves(MODEL, dict(e=evidence_map), d, 1, progress=False)
        for d in (turned, Named(BIRDS.class_names, range(4)))
    ]
    assert pairs[0].rows() == pairs[1].rows()


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
        ValueError, match=r"OneBlockINTR has the species in another order.*take Aviary\(n, spec"
    ):
        run(other, data)
    with pytest.raises(ValueError, match="to the evaluator"):
        run(MODEL, data, other)
    with pytest.raises(ValueError, match="class 'Plain sparrow' that the model does not know"):
        run(MODEL, Named(["Plain sparrow"]))
    assert run(MODEL, Aviary(8, species=4)).rows()[0][3] == 1  # some of its species
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
