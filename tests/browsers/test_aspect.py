"""Browsers draw a photograph as wide as it was, though the model saw a square; clicks hit what is drawn there."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torchvision.transforms import v2

from intr_nb.browsers.attribute_study import AttributeStudy
from intr_nb.browsers.candidate_browser import CandidateBrowser
from intr_nb.browsers.evidence_browser import EvidenceBrowser
from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.browsers.method_browser import MethodBrowser
from intr_nb.browsers.paint_editor import PaintEditor
from intr_nb.browsers.pictures import _Pictures
from intr_nb.core.images import to_tensor
from intr_nb.data.photos import Photos
from intr_nb.data.transforms import square_transforms
from intr_nb.evaluation.user_study import StudyExample
from intr_nb.models.one_block import OneBlockINTR

WIDE = 500 / 353
NAMES = ["a", "b", "c"]
BROWSERS = [HeadBrowser, EvidenceBrowser, CandidateBrowser, MethodBrowser]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = OneBlockINTR(3, dim=16, num_heads=2).eval()
    model.metadata = dict(image_size=32)
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    "The first is wide, the second high because its camera was turned, the third square"
    folder, pixels = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    made = []
    kinds = ("wide", (353, 500), {}), ("turned", (353, 500), dict(exif=exif)), ("square", (64, 64), {})
    for name, size, how in kinds:
        made.append(str(folder / f"{name}.jpg"))
        Image.fromarray(pixels.integers(0, 256, (*size, 3), dtype=np.uint8)).save(made[-1], **how)
    return made


SQUARE = square_transforms(32)[1]


def photos(files, transform=SQUARE, **more):
    return Photos(files, [0] * len(files), NAMES, transform, **more)


KINDS = dict(
    Photos=photos,
    opened=lambda files: photos(["row 0", "row 1", "row 2"], opener=lambda row: Image.open(files[row])),
    files=list,
    pictures=lambda files: [Image.open(f) for f in files],
)


def rectangles(scene) -> dict:  # name of the panel -> [(x, y, width, height)]
    "Where a mouse meets numbers"
    found = {}
    for part in scene.parts:
        if number := re.search('data-panel="([0-9]+)"', part):
            x, y, w, h = (float(re.search(f' {k}="([^"]+)"', part)[1]) for k in ("x", "y", "width", "height"))
            found.setdefault(scene.panels[int(number[1])]["name"], []).append((x, y, w, h))
    return found


def maps(scene) -> list:
    kinds = "head", "position", "map", "again"
    return [r for name, all_of in rectangles(scene).items() for r in all_of if name.split()[0] in kinds]


def pictures(scene) -> list:  # of (x, y, width, height)
    "Where pictures stand"
    sizes = {key: size for (_, *size), key in scene.pictures.items()}
    found = []
    for part in scene.parts:
        if used := re.search(r'href="#\{scene\}(p\d+)" x="([^"]+)" y="([^"]+)"', part):
            found.append((float(used[2]), float(used[3]), *sizes[used[1]]))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("Browser", BROWSERS)
def test_picture_and_map_are_as_wide_as_the_photograph(model, files, Browser, kind):
    b = Browser(model, KINDS[kind](files), class_names=NAMES)
    for b.index, aspect in enumerate((WIDE, 1 / WIDE, 1)):
        assert b.sized(0, b.index)[0].shape == (3, 32, 32), "the model sees a square"
        scene = b.main_scene()
        panels, drawn = maps(scene), pictures(scene)
        assert len(panels) >= 2
        for x, y, w, h in panels:
            assert abs(w - h * aspect) < 0.2
            assert (x, y, w, h) in drawn, "picture, map and what hears clicks are one box"
        copies = [size for uri, *size in scene.pictures if "/jpeg" in uri[:16]]  # maps and tables are PNG
        assert copies and all(abs(w - h * aspect) < 0.2 for w, h in copies)


def pressed(rectangle, across, down, shape) -> tuple:  # row, column
    "What the page makes of a click there: the canvas' own sum"
    x, y, w, h = rectangle
    return int((down - y) / h * shape[0]), int((across - x) / w * shape[1])


def test_a_click_hits_the_position_that_is_drawn_there(model, files):
    b = EvidenceBrowser(model, photos(files), NAMES)
    b.view()
    for left, top, width, height in rectangles(b.main_scene())["position"]:
        across, down = left + 0.7 * width, top + 0.93 * height
        row, column = pressed((left, top, width, height), across, down, (8, 8))
        b.canvas()._handle_custom_msg(dict(type="click", name="position", row=row, column=column), [])
        assert b.position == (row, column) == (7, 5) and not b.error
        frames = re.findall(
            r'<rect x="([^"]+)" y="([^"]+)" width="([^"]+)" height="([^"]+)" fill="none"', b.canvas().svg
        )
        frames = [tuple(map(float, f)) for f in frames]
        around = [(w, h) for x, y, w, h in frames if x < across < x + w and y < down < y + h]
        assert around and all(abs(w - h * WIDE) < 0.2 for w, h in around)


@pytest.mark.parametrize("Browser", BROWSERS)
def test_a_page_without_a_kernel(model, files, Browser):
    pytest.importorskip("plotly")
    b = Browser(model, photos(files), class_names=NAMES)
    layout = b.to_figure().layout.to_plotly_json()
    axes = [(k, v) for k, v in layout.items() if isinstance(v, dict) and "scaleanchor" in v]
    assert axes
    for name, down in axes:
        across = b.to_figure().layout[name.replace("y", "x", 1)].range
        w, h = abs(across[1] - across[0]), abs(down["range"][1] - down["range"][0])
        assert w / (h * down["scaleratio"]) == pytest.approx(WIDE, rel=1e-3)


def test_the_menu_of_images_changes_the_shape(model, files):
    pytest.importorskip("plotly")
    menu = HeadBrowser(model, photos(files), class_names=NAMES).to_figure([0, 1, 2]).layout.updatemenus[0]
    for button, aspect in zip(menu.buttons, (WIDE, 1 / WIDE, 1)):
        ratios = [v for k, v in button.args[1].items() if k.endswith("scaleratio")]
        assert ratios == pytest.approx([1 / aspect] * 3, rel=1e-3)


def test_thumbnails(model, files):
    b = HeadBrowser(model, photos(files), class_names=NAMES)
    scene = b.thumbnails()
    for (x, y, w, h), aspect, cell in zip(pictures(scene), (WIDE, 1 / WIDE, 1), rectangles(scene).items()):
        left, top, width, height = cell[1][0]
        assert abs(w - h * aspect) < 0.2 and max(w, h) == width == height
        assert (x + w / 2, y + h / 2) == pytest.approx((left + width / 2, top + height / 2), abs=0.2)


def test_explanations_know_it(model, files):
    b = HeadBrowser(model, photos(files), class_names=NAMES)
    assert [b.explanation(0, i).aspect for i in range(3)] == pytest.approx([WIDE, 1 / WIDE, 1])
    c = CandidateBrowser(model, photos(files), NAMES)
    assert [e.aspect for e in c.both()] == [WIDE, WIDE]


def test_tensors_are_drawn_as_they_are(model):
    b = HeadBrowser(model, torch.rand(2, 3, 32, 64), class_names=NAMES)
    assert b.explanation().aspect is None and b.box_of(0, 100, 100) == (100, 50)
    axes = b.to_figure([0]).layout
    assert axes.yaxis.scaleratio is None and "yaxis.scaleratio" not in axes.updatemenus[0].buttons[0].args[1]


@pytest.mark.parametrize(
    "transform, whole",
    [
        (
            v2.Compose(
                [v2.Resize(32), v2.CenterCrop(32), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
            ),
            False,
        ),
        (square_transforms(32)[0], False),
        (lambda picture: to_tensor(picture, 32), False),
        (partial(to_tensor, size=32), True),
        (
            v2.Compose(
                [v2.ToImage(), v2.Compose([v2.Resize((32, 32))]), v2.ToDtype(torch.float32, scale=True)]
            ),
            True,
        ),
    ],
)
def test_what_was_cropped_is_drawn_as_it_is(model, files, transform, whole):
    "The whole photograph's ratio is not that of a part; of a function nobody knows what it leaves out"
    b = EvidenceBrowser(model, photos(files, transform), NAMES)
    assert b.explanation().aspect == (WIDE if whole else None)
    assert b.box_of(0, 100, 100) == ((100, 100 / WIDE) if whole else (100, 100))


def test_only_the_header_is_read(files, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert [_Pictures(photos(files)).aspect(i) for i in range(3)] == pytest.approx([WIDE, 1 / WIDE, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_painted_on_is_as_wide_as_the_photograph(model, files, kind):
    b = PaintEditor(model, KINDS[kind](files), class_names=NAMES)
    for b.index, aspect in enumerate((WIDE, 1 / WIDE, 1)):
        b.drag("picture", [(0.3, 0.6), (0.5, 0.5)])
        scene = b.main_scene()
        boxes = [r for name, found in rectangles(scene).items() for r in found]
        assert len(boxes) == 4 and all(abs(w - h * aspect) < 0.2 for _, _, w, h in boxes)
        assert all(abs(w - h * aspect) < 0.2 for uri, w, h in scene.pictures if (w, h) != (160, 10))
        assert b.change().edited.any() and b.change().edited.shape == (32, 32)
        brush = next(part for part in scene.parts if part.startswith("<ellipse"))
        rx, ry = (float(re.search(f' {k}="([^"]+)"', brush)[1]) for k in ("rx", "ry"))
        assert rx == pytest.approx(ry * aspect, abs=0.2)


def test_the_painted_page_without_a_kernel(model, files):
    pytest.importorskip("plotly")
    layout = PaintEditor(model, files, class_names=NAMES).to_figure().layout
    assert layout.xaxis.range[1] / layout.yaxis.range[0] == pytest.approx(WIDE, rel=1e-3)


def test_the_study_shows_the_photograph(model, files, tmp_path):
    examples = [StudyExample(f, {"wing": "blue", "crown": "red"}) for f in files]
    s = AttributeStudy(model, examples, "Ada", tmp_path / "a.jsonl")
    s.position = next(k for k, (i, _) in enumerate(s.order) if i == 0)
    scene = s.main_scene()
    assert len(scene.pictures) >= 4 and all(abs(w - h * WIDE) < 0.2 for _, w, h in scene.pictures)
    figure = s.to_figure()
    first = figure.layout.xaxis.range[1] / figure.layout.yaxis.range[0]
    aspects = dict(zip((0, 1, 2), (WIDE, 1 / WIDE, 1)))
    shown = dict.fromkeys(i for i, _ in s.order)
    for button, i in zip(figure.layout.updatemenus[0].buttons, shown):
        assert first / button.args[1]["yaxis.scaleratio"] == pytest.approx(aspects[i], rel=1e-3)
