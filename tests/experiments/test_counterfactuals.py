"""Edits replayed, faults in words, changes that add up, counterfactuals."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from intr_nb.data.birds import Aviary
from intr_nb.data.species import ATTRIBUTES, twins
from intr_nb.experiments.changes import _change_of_evidence, compare_edit, share_on, value_or_attention
from intr_nb.experiments.counterfactuals import counterfactual, run_counterfactuals
from intr_nb.experiments.edits import (
    _soft_edge,
    edit_picture,
    edit_region,
    load_edits,
    part_points,
    save_edits,
)
from intr_nb.experiments.pixel_edits import _inpaint, _recolour
from intr_nb.explanations.explainer import explain
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR

MODEL, BIRDS = pretrained("aviary16"), Aviary(32, seed=2)
BIRD = BIRDS.bird(8)
PICTURE = np.random.RandomState(0).randint(0, 256, (40, 60, 3)).astype(np.uint8)
BOX = (10, 12, 30, 25)


def small(cls=INTR, **more):
    torch.manual_seed(0)
    full = dict(encoder_layers=1, decoder_layers=2, ffn_dim=32) if cls is INTR else {}
    return cls(
        16, backbone=dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=2, **full, **more
    ).eval()


def all_edits():
    mask = np.zeros((40, 60), bool)
    mask[5:20, 30:50] = True
    return [
        edit_picture("recolour", box=BOX, colour="red"),
        edit_picture("recolour", points=[(30, 20)], radius=6, hue=120.0, chroma=0.5, lightness=-10.0, soft=3),
        edit_picture("blur", mask=mask, sigma=3.0),
        edit_picture("copy", box=BOX, shift=(15, 5), soft=0),
        edit_picture("inpaint", mask=mask, soft=2),
    ]


# edits


def test_an_edit_replays_to_the_same_pixels_from_its_file(tmp_path):
    save_edits(tmp_path / "e.json", all_edits())
    again = load_edits(tmp_path / "e.json")
    assert again == all_edits() and [p.name for p in tmp_path.iterdir()] == ["e.json"]
    for e, f in zip(all_edits(), again):
        assert (e(PICTURE) == f(PICTURE)).all() and (e(PICTURE) != PICTURE).any()


@pytest.mark.parametrize("soft", [0, 1, 3])
@pytest.mark.parametrize("how", ["recolour", "blur", "inpaint"])
def test_an_edit_is_whole_inside_and_nothing_far_outside(how, soft):
    after = (
        edit_picture(how, box=BOX, soft=soft)(PICTURE)
        if how != "recolour"
        else edit_picture(how, box=BOX, soft=soft, lightness=20.0)(PICTURE)
    )
    x0, y0, x1, y1 = BOX
    outside = np.ones(PICTURE.shape[:2], bool)
    outside[max(0, y0 - 2 * soft) : y1 + 2 * soft, max(0, x0 - 2 * soft) : x1 + 2 * soft] = False
    assert (after[outside] == PICTURE[outside]).all()
    w = _soft_edge(edit_region({"box": list(BOX)}, (40, 60)), soft)
    assert (w[y0:y1, x0:x1] == 1).all() and w.max() <= 1 and w.min() >= 0


def test_copy_brings_what_lies_there():
    after = edit_picture("copy", box=BOX, shift=(15, 5), soft=0)(PICTURE)
    assert (after[12:25, 10:30] == PICTURE[17:30, 25:45]).all()


def test_recolour_moves_the_mean_and_keeps_the_texture():
    p, w = np.full((20, 20, 3), 0.5), np.ones((20, 20))
    p[::2] = 0.4
    q = _recolour(p, w, colour="#8b5a33")
    from intr_nb.experiments.pixel_edits import to_lab

    moved = to_lab(q)
    assert np.allclose(moved.mean((0, 1)), to_lab(np.array([139, 90, 51]) / 255), atol=0.1)
    assert np.allclose(moved[0] - moved[1], (to_lab(p)[0] - to_lab(p)[1]), atol=0.1)
    grey = _recolour(PICTURE / 255, np.ones((40, 60)), chroma=0.0)
    assert np.ptp(grey, 2).max() < 1e-3
    there = _recolour(_recolour(p * [0.9, 0.7, 0.6], w, hue=70.0), w, hue=-70.0)
    assert np.allclose(there, p * [0.9, 0.7, 0.6], atol=1e-3)


def test_inpaint_does_not_look_at_what_it_replaces():
    a, b, w = PICTURE / 255, PICTURE / 255, np.zeros((40, 60))
    w[5:30, 10:50] = 1
    b = np.where(w[..., None] > 0, 1.0, b)
    assert np.allclose(_inpaint(a, w), _inpaint(b, w), atol=1e-12)
    with pytest.raises(ValueError, match="whole picture"):
        _inpaint(a, np.ones((40, 60)))


def test_mask_files(tmp_path):
    mask = np.zeros((40, 60), bool)
    mask[3:9, 4:8] = True
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "m.png")
    assert (edit_region(edit_picture("blur", mask=tmp_path / "m.png").where, (40, 60)) == mask).all()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: edit_picture("smear", box=BOX), "smear.*'recolour', 'blur'"),
        (lambda: edit_picture("recolour", box=BOX, color="red"), "no color.*colour"),
        (lambda: edit_picture("blur"), "box, a mask, or points"),
        (lambda: edit_picture("blur", box=BOX, points=[(1, 2)], radius=3), "box, a mask, or points"),
        (lambda: edit_picture("blur", points=[(1, 2)]), "radius"),
        (lambda: edit_picture("blur", box=BOX, soft=0.5), "soft=0.5"),
        (lambda: edit_picture("blur", mask=np.ones((40, 60))), "bool"),
        (
            lambda: edit_picture("blur", mask=np.ones((20, 60), bool))(PICTURE),
            "60 x 20 pixels for a picture of 60 x 40",
        ),
        (lambda: edit_picture("blur", box=(70, 0, 90, 9))(PICTURE), "no pixel"),
        (lambda: edit_picture("blur", mask=np.zeros((40, 60), bool))(PICTURE), "no pixel"),
        (lambda: edit_picture("copy", box=BOX, shift=(40, 0))(PICTURE), "outside the picture"),
    ],
)
def test_wrong_edits(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_broken_file_of_edits_says_so(tmp_path):
    for text in "{", json.dumps([{"what": "blur"}]):
        (tmp_path / "e.json").write_text(text)
        with pytest.raises(ValueError, match="list of edits"):
            load_edits(tmp_path / "e.json")


def test_part_points():
    class P:
        points, point_names = np.array([[[30.0, 40, 1], [0, 0, 0]]]), ["belly", "crown"]

    assert part_points(P, 0, "belly") == [[30, 40]]
    with pytest.raises(ValueError, match="crown can't be seen.*belly"):
        part_points(P, 0, "crown")
    with pytest.raises(ValueError, match="'knee'.*belly, crown"):
        part_points(P, 0, "knee")
    P.points = None
    with pytest.raises(ValueError, match="without part points"):
        part_points(P, 0, "belly")


# changes


@pytest.mark.parametrize(
    "model",
    [MODEL, small(), small(OneBlockINTR, fc=True), small(OneBlockINTR)],
    ids=["birds", "full", "fc", "one"],
)
def test_a_change_adds_up(model):
    change = compare_edit(
        model, BIRD.image, edit_picture("recolour", mask=BIRD.masks["wing"], colour="black")
    )
    value = (
        change.after.logits[change.a]
        - change.before.logits[change.a]
        - change.after.logits[change.b]
        + change.before.logits[change.b]
    )
    assert change.value == pytest.approx(value.item(), abs=1e-4)
    assert change.total.sum().item() + change.residual == pytest.approx(change.value, abs=1e-4)
    if not isinstance(model, INTR) and not model.fc:
        assert abs(change.residual) < 1e-4
        why = value_or_attention(change)
        torch.testing.assert_close(why["seen"] + why["looked"], change.total, atol=1e-4, rtol=1e-4)
        if model is MODEL:
            assert (
                why["seen"][-1].abs().max() < 1e-6 < why["looked"][-1].abs().max()
            )  # no edit there, but attention moves
    else:
        with pytest.raises(ValueError, match="differs from class to class"):
            value_or_attention(change)


def test_from_one_zero_the_change_of_a_logit_adds_up():
    other = edit_picture("recolour", mask=BIRD.masks["belly"], hue=150.0)(BIRD.image)
    logits = explain(MODEL, other).logits[3] - explain(MODEL, BIRD.image).logits[3]
    for z in "mean", "median", "raw":
        e, f = explain(MODEL, BIRD.image, reference=z), explain(MODEL, other, reference=z)
        torch.testing.assert_close(_change_of_evidence(e, f, 3).sum(), logits, atol=1e-4, rtol=1e-4)
        if z != "raw":
            assert (
                abs((f.evidence - e.evidence)[:, 3].sum() - logits) > 1e-3
            )  # from its own zero each, it does not add up


def test_classes_of_a_change():
    paint = edit_picture("recolour", mask=BIRD.masks["wing"], colour="#25211f")
    change = compare_edit(MODEL, BIRD.image, paint)
    assert change.flipped and (change.a, change.b) == (change.after.prediction, change.before.prediction)
    weak = compare_edit(MODEL, BIRD.image, edit_picture("recolour", mask=BIRD.masks["tail"], lightness=1.0))
    gain = weak.after.logits - weak.before.logits
    gain[weak.b] = -torch.inf
    assert not weak.flipped and weak.a == int(gain.argmax()) != weak.b
    named = compare_edit(MODEL, BIRD.image, paint, "Black-winged orange-bellied shrike", 8)
    assert (named.a, named.b) == (9, 8)


def test_a_change_shows_text_safely():
    names = [f"<b>{i}" for i in range(16)]
    change = compare_edit(
        MODEL, BIRD.image, edit_picture("recolour", mask=BIRD.masks["wing"], colour="red"), class_names=names
    )
    assert "<b>" not in change._repr_html_() and "&lt;b&gt;" in change._repr_html_()


@pytest.mark.parametrize(
    "go, words",
    [
        (lambda: compare_edit(MODEL, BIRD.image, BIRD.image), "changes no pixel"),
        (lambda: compare_edit(MODEL, BIRD.image, []), "changes no pixel|picture of shape"),
        (lambda: compare_edit(MODEL, BIRD.image, BIRD.image[:64]), "expected the same"),
        (lambda: compare_edit(MODEL, BIRD.image, 255 - BIRD.image, a=16), "no class 16"),
        (lambda: compare_edit(MODEL, BIRD.image, 255 - BIRD.image, a=2, b=2), "over itself"),
        (lambda: counterfactual(MODEL, BIRDS, BIRD, "knee", "red"), "unknown attribute"),
        (lambda: counterfactual(MODEL, BIRDS, BIRD, "wing", "pink"), "can't be 'pink'"),
        (lambda: counterfactual(MODEL, BIRDS, BIRD, "wing", "blue"), "has wing blue already"),
        (lambda: run_counterfactuals(MODEL, BIRDS, attributes=["knee"]), "unknown attribute"),
        (lambda: run_counterfactuals(MODEL, Aviary(4, species=4)), "16 classes and the aviary 4"),
    ],
)
def test_wrong_questions(go, words):
    with pytest.raises(ValueError, match=words):
        _ = go().total


def test_share_on():
    corner = np.zeros((8, 8), bool)
    corner[:4, :4] = True
    assert share_on(torch.tensor([[-3.0, 0], [1, 0]]), corner) == 0.75
    assert share_on(torch.ones(2, 2), corner, 1 / 8) == pytest.approx(25 / 64)
    assert np.isnan(share_on(torch.zeros(2, 2), corner))


def test_every_attribute():
    result = run_counterfactuals(MODEL, BIRDS, [8], progress=False)
    assert len(result.rows) == sum(len(v) - 1 for v in ATTRIBUTES.values())
    assert sum(r["followed"] is not None for r in result.rows) == len(twins(BIRDS.species)[8])
    assert result.by()["wing"]["n"] == 4 and result.by()["beak"]["followed"] is None
    wing = [r for r in result.rows if r["attribute"] == "wing"]
    assert result.by()["wing"]["edited"] == pytest.approx(np.mean([r["edited"] for r in wing]))
    assert all(h.sum().item() == pytest.approx(1, abs=1e-4) for h in result.heads().values())
    assert all(0 <= r["edited"] <= r["near"] <= 1 + 1e-9 for r in result.rows)
