"""BirdEditor and PaintEditor without a browser: faults, what is kept, what must not change."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from intr_nb.browsers.bird_editor import BirdEditor
from intr_nb.browsers.paint_editor import PaintEditor
from intr_nb.browsers.strokes import _along, _stroke
from intr_nb.core.images import Batch, pad_batch, to_tensor
from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.data.photos import Photos
from intr_nb.data.species import ATTRIBUTES, Species
from intr_nb.experiments.edits import edit_picture, load_edits
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR

ROOT = Path(__file__).resolve().parents[2]
MODEL, BIRDS = pretrained("aviary16"), Aviary(32, seed=2)


def send(b, **message):
    b.canvas()._handle_custom_msg(message, [])


# birds


def test_an_exchanged_attribute_goes_along_and_the_menu_knows_it():
    b = BirdEditor(MODEL, BIRDS, index=0, throat="red")
    b.view()
    for b.index in (8, 9, 0, 31):
        assert b.throat == "red" and not b.error
        assert (b.edit_key() == "") == (b.own()["throat"] == "red")
        assert next(c for c, t, *_ in b._bound if t == "throat").value in ("red", "")


@pytest.mark.parametrize("kind", [BirdEditor, PaintEditor])
def test_every_image_has_its_thumbnail(kind):
    drawn = kind(MODEL, BIRDS, index=8).thumbnails().svg()
    assert drawn.count("<image") == 12 and "unreadable" not in drawn


def test_parts_add_up_in_every_view():
    b = BirdEditor(MODEL, BIRDS, index=8, wing="black", belly="yellow")
    for b.what in ("change", "before", "after"):
        c = b.change()
        value = dict(
            change=c.value, before=c.before.margin(c.a, c.b).value, after=c.after.margin(c.a, c.b).value
        )[b.what]
        assert abs(sum(b.parts().values()) - value) < 1e-4


def test_only_what_is_new_is_asked():
    b = BirdEditor(MODEL, BIRDS, index=8)
    b.view()
    b.wing = "black"
    asked = b.counts["explained"]
    b.what, b.head, b.opacity = "after", 3, 0.5
    b.wing = None
    b.wing = "black"
    assert b.counts["explained"] == asked


def test_become_is_that_species():
    b = BirdEditor(MODEL, BIRDS, index=0)
    for c in (0, 5, 11):
        b.become(c)
        assert b.bird(0, b.edit_key()).species.attributes == BIRDS.species[c].attributes and b.expected() == c
    b.reset()
    assert b.edit_key() == "" and all(getattr(b, a) is None for a in ATTRIBUTES)


def test_names_are_shown_as_text():
    nasty = '<img src=x onerror="alert(1)">'
    species = [Species(nasty + str(i), s.attributes) for i, s in enumerate(BIRDS.species)]
    birds = Aviary(16, seed=2, species=species)
    b = BirdEditor(MODEL, birds, index=8, wing="black", class_names=birds.class_names)
    assert "<img" not in b.main_scene().svg() and "<img" not in b.to_figure().to_json().replace(
        "\\u003c", "<"
    )


@pytest.mark.parametrize("cls", [OneBlockINTR, INTR])
def test_other_models(cls):
    torch.manual_seed(0)
    full = dict(encoder_layers=1, decoder_layers=2, ffn_dim=32) if cls is INTR else {}
    model = cls(
        16, backbone=dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=2, **full
    ).eval()
    b = BirdEditor(model, BIRDS, index=8, wing="black")
    b.view()
    assert not b.error and abs(sum(b.parts().values()) - b.change().value) < 1e-3


# paint


def test_a_brush_leaves_no_gap():
    points = np.array(_along([(0, 0), (30, 0), (30, 40)], 2.5))
    assert (
        np.hypot(*np.diff(points, axis=0).T).max() <= 2.51
        and points[0].tolist() == [0, 0]
        and points[-1].tolist() == [30, 40]
    )
    assert _along([(3, 4)], 2) == [[3, 4]]


def test_strokes_undo_and_redo():
    b = PaintEditor(MODEL, BIRDS, index=8)
    b.view()
    first = b.canvas().svg
    send(b, type="drag", name="picture", path=[[0.3, 0.6], [0.5, 0.55]])
    painted, asked = b.canvas().svg, b.counts["explained"]
    b.undo()
    assert b.canvas().svg == first
    b.redo()
    assert b.canvas().svg == painted and b.counts["explained"] == asked
    b.clear()
    b.redo()
    assert len(b.edits) == 1
    with pytest.raises(ValueError, match="nothing to do again"):
        b.redo()


def test_every_picture_keeps_its_edits():
    b = PaintEditor(MODEL, BIRDS, index=8)
    b.drag("picture", [(0.3, 0.6), (0.5, 0.55)])
    done = b.edits
    b.index = 9
    assert b.edits == () and b.edit_key() == ""
    b.index = 8
    assert b.edits == done


@pytest.mark.parametrize(
    "do, words",
    [
        (dict(how="copy"), "copy from where"),
        (dict(how="copy", source=(0.9, 0.9)), "from outside the picture"),
        (dict(tool="box", path=[[0.5, 0.5], [0.5, 0.9]]), "is empty"),
    ],
)
def test_a_stroke_that_fails_changes_nothing(do, words):
    b = PaintEditor(MODEL, BIRDS, index=8)
    b.view()
    path = do.pop("path", [[0.1, 0.5], [0.5, 0.5], [0.9, 0.9]])
    for name, value in do.items():
        setattr(b, name, value)
    send(b, type="drag", name="picture", path=path)
    assert words in b.error and b.edits == ()


def painted(images, **options):
    b = PaintEditor(MODEL, images, **options)
    for b.how, b.tool in ("recolour", "brush"), ("blur", "box"), ("inpaint", "brush"):
        b.drag("picture", [(0.3, 0.6), (0.5, 0.3)])
    return b


def replayed(code, **variables):
    *lines, last = code.splitlines()
    exec("\n".join([*lines, f"change = {last}"]), variables)
    return variables["change"]


PIXELS = [BIRDS.bird(i).image for i in (8, 9)]
KINDS = dict(
    aviary=lambda folder: BIRDS,
    pairs=lambda folder: [(to_tensor(p), 3) for p in PIXELS],
    bytes=lambda folder: draw_birds(BIRDS, progress=False).tensors[0],
    batch=lambda folder: Batch(torch.stack([to_tensor(p) for p in PIXELS]), None),
    padded=lambda folder: pad_batch([to_tensor(PIXELS[0]), to_tensor(PIXELS[1][:80])]),
    arrays=lambda folder: PIXELS,
    pictures=lambda folder: [Image.fromarray(p) for p in PIXELS],
    files=lambda folder: [saved(folder / f"{k}.png", p) for k, p in enumerate(PIXELS)],
    photos=lambda folder: Photos(
        [saved(folder / f"{k}.png", p) for k, p in enumerate(PIXELS)], [0, 0], list("ab")
    ),
)


def saved(path, pixels):
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_copied_cell_shows_what_the_browser_shows(kind, tmp_path):
    images = KINDS[kind](tmp_path)
    b = painted(images, index=1)
    change = replayed(b.code(), model=MODEL, images=images)
    torch.testing.assert_close(change.heads, b.change().heads)
    assert (change.a, change.b) == (b.change().a, b.change().b)
    assert (change.edited == b.change().edited).all() and change.edited.any()
    assert change.before.name(3) == b.class_name(3)


def test_what_was_chosen_goes_into_the_cell(monkeypatch):
    mine, known = {}, [f"bird {k}" for k in range(16)]
    mine.update(net=MODEL, my_birds=BIRDS, known=known)
    monkeypatch.setattr("intr_nb.browsers.paint_state._variables", lambda: mine)
    b = painted(BIRDS, index=8, reference="median", target=3, runner_up="bird 5", class_names=known)
    code = b.code()
    assert "my_birds[8][0]" in code and "as the PaintEditor" not in code
    change = replayed(code, **mine)
    assert (change.a, change.b) == (3, 5) and change.before.name(3) == "bird 3"
    torch.testing.assert_close(change.heads, b.change().heads)


def test_a_cell_says_what_it_lacks(monkeypatch):
    assert "# model and images: as the PaintEditor was given" in painted(BIRDS, index=8).code()
    monkeypatch.setattr("intr_nb.browsers.paint_state._variables", lambda: dict(model=MODEL, images=PIXELS))
    code = painted(BIRDS, index=8).code()  # another thing is called images
    assert "# images: as the PaintEditor was given" in code and "model:" not in code


def test_before_the_first_stroke_the_cell_makes_the_browser():
    b = PaintEditor(MODEL, BIRDS, index=8, radius=9.0)
    scope = dict(model=MODEL, images=BIRDS)
    exec(b.code().replace("PaintEditor(", "made = PaintEditor("), scope)
    assert scope["made"].state() == b.state()


def test_a_bird_is_made_again_as_it_is():
    b = BirdEditor(MODEL, BIRDS, index=8, wing="black")
    b.belly, b.target, b.what, b.head, b.opacity = "grey", 3, "after", 2, 0.5
    scope = dict(model=MODEL, aviary=BIRDS)
    exec(b.code().replace("BirdEditor(", "made = BirdEditor("), scope)
    assert scope["made"].state() == b.state() != BirdEditor(MODEL, BIRDS, index=8).state()
    assert scope["made"].main_scene().svg() == b.main_scene().svg()


def test_the_record_is_kept(tmp_path):
    b = painted(BIRDS, index=8)
    change = replayed(b.save(tmp_path / "edits.py").read_text(), model=MODEL, images=BIRDS)
    assert torch.equal(change.heads, b.change().heads)
    assert load_edits(b.save(tmp_path / "edits.json")) == list(b.edits) and len(json.loads(b.written)) == 3


def test_keys_undo_and_redo():
    b = PaintEditor(MODEL, BIRDS, index=8)
    assert "intr-nb-undoes" in (b.view(), b.canvas())[1]._dom_classes
    send(b, type="drag", name="picture", path=[[0.3, 0.6], [0.5, 0.55]])
    send(b, type="undo")
    assert b.edits == () and not b.error
    send(b, type="redo")
    assert len(b.edits) == 1 and not b.error
    send(b, type="redo")
    assert b.error == "nothing to do again"


@pytest.mark.parametrize("kind", [BirdEditor, PaintEditor])
def test_the_reference_has_its_standard_name(kind):
    drawn = kind(MODEL, BIRDS, index=8, reference="median").main_scene().svg()
    assert (
        "reference of s: median<title>" in drawn and "counts as nothing" in drawn and "zero of s" not in drawn
    )


def test_wrong_edits_are_told():
    b = PaintEditor(MODEL, BIRDS)
    with pytest.raises(ValueError, match="expected Edit records"):
        b.edits = ["red"]
    with pytest.raises(ValueError, match="index=32"):
        PaintEditor(MODEL, BIRDS, index=32)
    with pytest.raises(ValueError, match="no pixel"):
        b.load_edit = edit_picture("blur", points=[(500, 500)], radius=2)(BIRDS.bird(0).image)
    assert _stroke("blur", [(0.1, 0.1), (0.2, 0.3)], (100, 50), "box", sigma=2.0).where == {
        "box": [5.0, 10.0, 10.0, 30.0]
    }


def test_pictures_of_the_tutorial_say_that_they_are_pictures():
    cells = nbformat.read(ROOT / "nbs" / "tutorials" / "09_browsers.ipynb", as_version=4).cells
    lines = [line for c in cells if c.cell_type == "markdown" for line in c.source.splitlines()]
    shown = [k for k, line in enumerate(lines) if "](browsers/" in line]
    assert len(shown) == 7
    for k in shown:
        assert lines[k].startswith("> ![") and lines[k + 2].startswith("> *A picture of ")
