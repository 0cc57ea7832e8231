"""HeadBrowser on all kinds of images and models, and what it says to wrong ones."""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.core.images import Batch
from intr_nb.data.birds import Aviary
from intr_nb.data.photos import Photos
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.pooled import PooledClassifier


@pytest.fixture(scope="module")
def model():
    return pretrained("aviary16")


@pytest.fixture(scope="module")
def birds():
    return Aviary(20, seed=2)


@pytest.fixture
def browser(model, birds):
    browser = HeadBrowser(model, birds)
    browser.view()
    return browser


def decoder(**more):
    torch.manual_seed(0)
    return INTR(16, backbone="patchnet", dim=32, encoder_layers=1, decoder_layers=3, ffn_dim=64, **more)


def files(folder, birds, n=2):
    paths = [folder / f"bird {i}.png" for i in range(n)]
    for i, path in enumerate(paths):
        Image.fromarray(birds.bird(i).image).save(path)
    return paths


@pytest.mark.parametrize(
    "kind", ["aviary", "batch", "Batch", "files", "pictures", "tensors", "Photos", "pairs", "bytes"]
)
def test_images_of_any_kind(model, birds, tmp_path, kind):
    tensors, paths = [birds[i][0] for i in range(2)], files(tmp_path, birds)
    made = dict(
        aviary=birds,
        batch=torch.stack(tensors),
        Batch=Batch(torch.stack(tensors), None, torch.tensor([0, 1])),
        files=paths,
        pictures=[birds.bird(0).image, Image.open(paths[1])],
        tensors=tensors,
        Photos=Photos(paths, [0, 1], birds.class_names),
        pairs=[birds[0], birds[1]],
        bytes=torch.utils.data.TensorDataset(
            torch.tensor(np.stack([birds.bird(i).image for i in range(2)])).permute(0, 3, 1, 2),
            torch.tensor([0, 1]),
        ),
    )
    browser = HeadBrowser(model, made[kind], index=1)
    torch.testing.assert_close(browser.sized(0, 1)[0], tensors[1])
    assert browser.pictures.label(1) == (-1 if kind in ("batch", "files", "pictures", "tensors") else 1)
    assert browser.pictures.name(1) == ("bird 1.png" if kind in ("files", "Photos") else "image 1")
    assert ("truth" in browser.main_scene().svg()) == (kind not in ("batch", "files", "pictures", "tensors"))


@pytest.mark.parametrize(
    "images, error, says",
    [
        ([], ValueError, "images is empty"),
        (torch.zeros(0, 3, 96, 96), ValueError, "images is empty"),
        (torch.zeros(3, 96, 96), ValueError, r"expected \(B, 3, H, W\)"),
        ("bird.png", TypeError, "images is a str"),
        (None, TypeError, "images is a NoneType"),
        (np.zeros((96, 96, 3), np.uint8), ValueError, r"make a list of it"),
    ],
)
def test_wrong_images(model, images, error, says):
    with pytest.raises(error, match=says):
        HeadBrowser(model, images)


@pytest.mark.parametrize(
    "options, error, says",
    [
        (dict(target=16), ValueError, "target: no class 16"),
        (dict(runner_up="Sparrow"), ValueError, "runner_up: no class 'Sparrow'"),
        (dict(index=20), ValueError, "20 images, numbered from 0 to 19"),
        (dict(index=-1), ValueError, "index=-1"),
        (dict(head=8), ValueError, "8 heads"),
        (dict(layer=1), ValueError, "1 layers"),
        (dict(hue=1), TypeError, "no 'hue'"),
        (dict(labels=[1]), ValueError, "1 labels for 20 images"),
        (dict(class_names=["a"]), ValueError, "16 classes"),
        (dict(other=OneBlockINTR(5)), ValueError, "other has 5 classes, model 16"),
    ],
)
def test_wrong_options(model, birds, options, error, says):
    with pytest.raises(error, match=says):
        HeadBrowser(model, birds, **options)


@pytest.mark.parametrize(
    "made, says",
    [
        (lambda: PooledClassifier(16, "patchnet"), "has no attention to explain"),
        (lambda: torch.nn.Linear(3, 2), "expected one that returns its attention"),
    ],
)
def test_models_without_attention(birds, made, says):
    with pytest.raises(TypeError, match=says):
        HeadBrowser(made(), birds)


def test_nothing_is_asked_twice(browser, model):
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    browser.index = 5
    assert len(calls) == 1
    for change in (
        dict(target=3),
        dict(what="margin"),
        dict(runner_up=4),
        dict(head=2),
        dict(opacity=0.3),
        dict(grid=True),
        dict(own_scale=True),
        dict(order="peak"),
        dict(head=None),
        dict(what="value_scores"),
    ):
        shown = browser.canvas().svg
        for name, value in change.items():
            setattr(browser, name, value)
        assert browser.canvas().svg != shown, change
    handle.remove()
    assert len(calls) == 1 and browser.counts["explained"] == 2 and not browser.error


def test_quick(browser):
    def best(name, values):
        spent = []
        for value in values:
            start = time.process_time()
            setattr(browser, name, value)
            spent.append(1e3 * (time.process_time() - start))
        return min(spent)

    assert (
        best("opacity", np.linspace(0.9, 0.2, 12).tolist()) <= 50
        and best("target", range(12)) <= 50
        and best("index", range(1, 12)) <= 150
    )


def test_strengths_and_rest_are_the_logit(browser):
    for what, target, runner_up in ("evidence", 3, None), ("margin", 3, 9):
        browser.what, browser.target, browser.runner_up = what, target, runner_up
        e, (c, r) = browser.explanation(), browser.pair(0, 0)
        residual = e.residual[c] - (e.residual[r] if what == "margin" else 0)
        logit = browser.logits(0, 0)[c] - (browser.logits(0, 0)[r] if what == "margin" else 0)
        torch.testing.assert_close(browser.strength(e, c, r).sum() + residual, logit, atol=1e-4, rtol=0)


def test_order_of_heads(browser):
    e, pair = browser.explanation(), browser.pair(0, 0)
    for order, by in ("evidence", "evidence"), ("peak", "attention"):
        browser.order = order
        assert browser.rankings([(e, *pair)])[0] == e.heads_by(by, pair[0])
    browser.order = "index"
    assert browser.rankings([(e, *pair)])[0] == list(range(8))


def test_the_class_in_view_follows_the_image_until_one_is_chosen(browser):
    first = browser.pair(0, 0)[0]
    browser.index = 5
    assert browser.pair(0, 5)[0] == int(browser.logits(0, 5).argmax()) != first
    browser.target = browser.names[first]
    assert browser.target == first == browser.pair(0, 5)[0]
    browser.runner_up = first  # no rival of itself
    assert browser.pair(0, 5)[1] != first


def test_classes_listed_and_found(browser):
    texts, values = zip(*browser.class_menu("target"))
    assert (
        values[0] is None
        and values[1] == 0
        and "the truth" in texts[1]
        and len(values) == len(set(values)) <= 9
    )
    assert browser.find("sunbird [13]") == browser.find(browser.names[13]) == [13]
    assert sorted(browser.find("SUNBIRD")) == [12, 13, 14, 15]
    said = browser.logits(0, browser.index)[browser.find("sunbird")].tolist()
    assert said == sorted(said, reverse=True), "the likeliest first"
    with pytest.raises(ValueError, match="no class has 'penguin' in its name; there are 16 classes"):
        browser.find("penguin")


def test_an_image_that_cannot_be_read_is_told_and_left_again(model, birds):
    browser = HeadBrowser(model, [birds.bird(0).image, "lost.jpg", birds.bird(1).image])
    browser.view()
    assert "unreadable" in browser.canvas("thumbnails").svg and not browser.error
    browser.canvas()._handle_custom_msg(dict(type="key", name="ArrowRight"), [])
    assert (
        "no picture 'lost.jpg'" in browser.error
        and "nothing to show" in browser.canvas().svg
        and "image 1 is chosen" in browser.canvas("thumbnails").svg
    )
    browser.canvas()._handle_custom_msg(dict(type="key", name="ArrowRight"), [])
    assert not browser.error and "image 2" in browser.canvas().svg


def test_nobody_is_the_rival_of_itself(browser):
    browser.what, browser.target, browser.runner_up = "margin", 3, None
    assert 3 not in [c for _, c in browser.class_menu("runner_up")]
    browser.runner_up = 3
    assert (
        any("the class itself" in text for text, c in browser.class_menu("runner_up") if c == 3)
        and browser.pair(0, browser.index)[1] != 3
        and not browser.error
    )


def test_one_head_alone_has_its_own_scale(browser):
    browser.index, browser.what, browser.head = 0, "evidence", None
    e, c, r = browser.explanation(), *browser.pair(0, 0)
    tops = browser.maps(e, c, r).abs().flatten(1).amax(1)
    weakest = int(tops.argmin())
    assert f"to {tops.max():.2g}:" in browser.main_scene().svg()
    browser.head = weakest
    assert f"to {tops[weakest]:.2g}:" in browser.main_scene().svg() and tops[weakest] < tops.max() / 2


def test_keys_stop_at_the_ends(browser):
    def press(name):
        browser.canvas()._handle_custom_msg(dict(type="key", name=name), [])

    press("ArrowLeft")
    assert browser.index == 0 and not browser.error
    browser.index = 19
    press("ArrowRight")
    assert browser.index == 19 and not browser.error
    for head in (0, 1):
        press("ArrowDown")
        assert browser.head == head
    press("ArrowUp")
    press("ArrowUp")
    assert browser.head == 7, "heads go round"


def test_a_thousand_images_and_many_classes():
    torch.manual_seed(0)
    browser = HeadBrowser(OneBlockINTR(525), Aviary(1000, seed=3))
    browser.view()
    assert browser.counts["copy_of"] <= 14 and len(browser.class_menu("target")) <= 9
    browser.index = 700
    assert browser.counts["copy_of"] <= 28 and "image 700" in browser.canvas().svg and not browser.error


def test_full_decoder_by_layers(birds):
    browser = HeadBrowser(decoder(), birds)
    browser.view()
    assert len(browser.canvas().panels) == 8 and browser.possible == ["attention", "evidence", "margin"]
    browser.layer = None
    assert len(browser.canvas().panels) == 24
    browser.head = 20
    assert len(browser.canvas().panels) == 1 and "layer 2, head 4 alone" in browser.canvas().svg
    asked = browser.counts["reader"]
    browser.layer, browser.what, browser.target, browser.runner_up = 0, "margin", 3, 4
    assert (
        browser.head is None
        and len(browser.canvas().panels) == 8
        and browser.counts["reader"] == asked
        and not browser.error
    )
    with pytest.raises(ValueError, match="3 layers"):
        browser.layer = 3
    with pytest.raises(
        ValueError,
        match="expected one of 'attention', 'evidence', 'margin'.*differs for every pair of classes",
    ):
        browser.what = "value_scores"


def test_fc_and_two_models(model, birds):
    torch.manual_seed(0)
    browser = HeadBrowser(model, birds, other=OneBlockINTR(16, fc=True), compare="model", what="value_scores")
    scene = browser.main_scene()
    assert len(scene.panels) == 16 and "(FC)" in scene.svg()
    assert len(HeadBrowser(model, birds, other=decoder(), compare="model").main_scene().panels) == 16


def test_padding_is_grey_and_large_images_are_not_squares(birds):
    images, mask = torch.zeros(2, 3, 96, 128), torch.zeros(2, 96, 128, dtype=torch.bool)
    images[0, :, :, :96], mask[0, :, 96:] = birds[0][0], True
    browser = HeadBrowser(pretrained("aviary16"), Batch(images, mask, None))
    e = browser.explanation()
    assert e.mask[:, 24:].all() and not e.mask[:, :24].any()
    scene = browser.main_scene()
    assert len([uri for uri, *_ in scene.pictures if "png" in uri[:20]]) == 8 + 1 + 1, (
        "maps, one grey for all, the scale"
    )
    tags = [p for p in scene.parts if "data-panel" in p]
    assert all(
        float(t.split('width="')[1].split('"')[0]) > 1.3 * float(t.split('height="')[1].split('"')[0])
        for t in tags
    )
    browser.index = 1
    assert browser.explanation().mask is None


def test_twin_menus_change_different_things(model, birds):
    figure = HeadBrowser(model, birds).to_figure(images=[0, 16], classes=3)
    images, classes, what = (m.buttons for m in figure.layout.updatemenus)
    assert [len(images), len(classes), len(what)] == [2, 4, 3]
    changed = [set(m[0].args[0]) for m in (images, classes, what)]
    assert changed == [{"visible"}, {"z", "customdata"}, {"opacity", "showscale"}], (
        "menus know nothing of each other"
    )
    assert len(figure.data) == 2 * 4 * 8 and all(
        len(v) == len(figure.data) for m in (images, classes, what) for b in m for v in b.args[0].values()
    )
    e = HeadBrowser(model, birds).explanation(0, 0)
    seen = [t for t in figure.data if t.visible and t.opacity]
    np.testing.assert_allclose(
        np.array(seen[3].z, float), e.evidence[3, e.at(e.prediction)].numpy(), atol=2e-3
    )


def test_twin_of_a_full_decoder(birds):
    figure = HeadBrowser(decoder(), birds, layer=None).to_figure(images=[0], classes=1)
    assert len(figure.data) == 3 * 24 and len(figure.layout.updatemenus[2].buttons) == 2
