"""Explanations: the sum, the zero, padding, restriction, bad input, the card."""

import base64
import copy
import html
import importlib
import io
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

from intr_nb.core.display import AGAINST, FOR, overlay, to_pixels
from intr_nb.core.images import to_tensor
from intr_nb.data.birds import Aviary
from intr_nb.explanations.checks import check_sum
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.explanation import Explanation
from intr_nb.explanations.masking import rise
from intr_nb.explanations.references import REFERENCES, _reference_score
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR

NAMES = [f"bird {i}" for i in range(5)]


class Patches(torch.nn.Module):
    "A backbone whose places see nothing but their own 8 x 8 pixels"

    num_channels, stride = 32, 8

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Conv2d(3, 32, 8, 8)

    def forward(self, images):
        return self.body(images)


def one_block(seed=0, backbone=None, **kw):
    torch.manual_seed(seed)
    model = OneBlockINTR(
        5, backbone or dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=4, **kw
    ).eval()
    with torch.no_grad():
        model.block.queries.mul_(4), model.block.w.weight.mul_(5)  # noqa: E702  (distinct attention, logits of some size)
    return model


def full(**kw):
    torch.manual_seed(0)
    return INTR(
        5,
        backbone=dict(name="patchnet", width=8, dim=32, stride=8),
        dim=32,
        num_heads=4,
        encoder_layers=1,
        decoder_layers=2,
        ffn_dim=32,
        **kw,
    ).eval()


def picture(seed=0, h=64, w=64):
    return torch.randn(3, h, w, generator=torch.Generator().manual_seed(seed))


def parts(dtype=torch.float32, seed=0, R=3, C=4, h=5, w=6):
    "Parts that add up, made without any model"
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(R, h, w, generator=g, dtype=torch.float64)
    alpha = torch.randn(R, C, h * w, generator=g, dtype=torch.float64).mul(2).softmax(-1).view(R, C, h, w)
    e = s[:, None] * alpha
    p = dict(
        logits=e.sum((0, 2, 3)),
        attention=alpha,
        value_scores=s,
        evidence=e,
        residual=torch.zeros(C),
        offset=torch.zeros(R),
    )
    return {k: v.to(dtype) for k, v in p.items()} | dict(image=torch.zeros(3, 40, 48))


MODELS = {
    "one block": one_block(),
    "bounded": one_block(1, score_bound=1.0),
    "fc": one_block(2, fc=True),
    "fc bounded": one_block(3, fc=True, score_bound=0.5),
}


# the sum


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_parts_add_up_to_the_models_logits(name, reference, dtype, tolerance):
    model, x = copy.deepcopy(MODELS[name]).to(dtype), picture(h=64, w=96).to(dtype)
    e = explain(model, x, reference=reference)
    with torch.no_grad():
        logits = model(x[None]).logits[0]
    assert e.evidence.dtype == dtype and e.evidence.shape == (4, 5, 8, 12) and e.reference == reference
    assert (e.evidence.double().sum((0, 2, 3)) + e.residual - logits).abs().max() < tolerance
    assert logits.std() > 0.1  # else the check would be easy


@pytest.mark.parametrize("name", MODELS)
def test_evidence_is_saliency_times_attention(name):
    e = explain(MODELS[name], picture())
    s = e.value_scores if MODELS[name].fc else e.value_scores[:, None]
    assert s.shape[1] == (5 if MODELS[name].fc else 1)
    torch.testing.assert_close(e.evidence, s * e.attention, atol=1e-6, rtol=0)
    torch.testing.assert_close(e.attention.sum((2, 3)), torch.ones(4, 5))


@pytest.mark.parametrize("dtype, fine, wrong", [(torch.float32, 3e-5, 3e-4), (torch.float64, 1e-10, 1e-8)])
def test_parts_that_do_not_add_up_are_refused(dtype, fine, wrong):
    p = parts(dtype)
    Explanation(**p)
    p["evidence"] = p["evidence"].clone()
    p["evidence"][1, 2, 3, 3] += fine
    Explanation(**p)
    p["evidence"][1, 2, 3, 3] += wrong
    with pytest.raises(
        ValueError, match=rf"'bird 2' do not add up: .* by {str(wrong + fine)[0]}\S+, more than"
    ):
        Explanation(**p, class_names=NAMES)


def test_check_sum_refuses_nan():
    with pytest.raises(ValueError):
        check_sum(torch.full((1, 2, 2, 2), torch.nan), torch.zeros(2), torch.zeros(2))


# the zero is a gauge


def shifted(p, head, by):
    "The same explanation by a model that added a constant to one head's value score, and took it off all logits' rest"
    s = p["value_scores"].clone()
    s[head] += by
    return p | dict(value_scores=s, evidence=s[:, None] * p["attention"], residual=p["residual"] - by)


def test_a_constant_changes_maps_but_no_prediction_and_no_total():
    p = parts(torch.float64)
    e, f = Explanation(**p), Explanation(**shifted(p, 1, 5.0))
    assert e.prediction == f.prediction and e.runner_up() == f.runner_up()
    assert (e.margin(0, 1).total - f.margin(0, 1).total).abs().max() > 0.05  # places move
    torch.testing.assert_close(
        e.margin(0, 1).heads.sum((1, 2)), f.margin(0, 1).heads.sum((1, 2))
    )  # totals don't
    assert e.margin(0, 1).value == f.margin(0, 1).value


@pytest.mark.parametrize("reference, fixed", [("median", True), ("mean", True), ("raw", False)])
def test_a_stated_reference_fixes_the_gauge(reference, fixed):
    p = parts(torch.float64)
    e, f = (
        Explanation(**p).with_reference(reference),
        Explanation(**shifted(p, 1, 5.0)).with_reference(reference),
    )
    assert torch.allclose(e.evidence, f.evidence) == fixed


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_moves_into_the_residual(name):
    es = {reference: explain(MODELS[name], picture(), reference=reference) for reference in REFERENCES}
    for reference, e in es.items():
        assert e.prediction == es["raw"].prediction and e.reference == reference
        m, raw = e.margin(), es["raw"].margin()
        assert m.value == raw.value == pytest.approx(m.total.sum().item() + m.residual, abs=1e-4)
        if not MODELS[name].fc:
            assert m.residual == pytest.approx(0, abs=1e-5) and e.residual.std() < 1e-5
    assert es["raw"].residual.abs().max() == 0 and es["median"].residual.abs().max() > 0.01
    assert (es["raw"].margin().total - es["median"].margin().total).abs().max() > 1e-3
    for other in (es["median"], es["mean"]):
        torch.testing.assert_close(
            other.with_reference("raw").evidence, es["raw"].evidence, atol=1e-5, rtol=0
        )


def test_mean_is_zero_afterwards():
    assert explain(MODELS["one block"], picture()).value_scores.flatten(1).mean(1).abs().max() < 1e-6
    assert explain(MODELS["fc"], picture(), reference="mean").value_scores.mean((2, 3)).abs().max() < 1e-5


def test_padding_does_not_count_for_the_reference():
    s = torch.randn(2, 4, 6)
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[:, 4:] = True
    garbage = s.masked_fill(mask, 1e6)
    for reference in REFERENCES:
        torch.testing.assert_close(
            _reference_score(garbage, reference, mask), _reference_score(s[..., :4], reference)
        )


# padding


@pytest.mark.parametrize("kw", [dict(), dict(score_bound=1.0), dict(fc=True)])
def test_a_padded_image_has_the_same_evidence(kw):
    x = picture(h=64, w=64)
    padded, mask = torch.zeros(3, 80, 96), torch.ones(80, 96, dtype=torch.bool)
    padded[:, :64, :64], mask[:64, :64] = x, False
    model = one_block(backbone=Patches(), **kw)
    e, f = explain(model, x), explain(model, padded, mask=mask)
    assert f.mask.shape == (10, 12) and e.mask is None
    for part in ("evidence", "attention", "value_scores"):
        torch.testing.assert_close(getattr(f, part)[..., :8, :8], getattr(e, part), atol=1e-5, rtol=0)
        assert getattr(f, part)[..., f.mask].abs().max() == 0
        assert getattr(f.with_reference("mean"), part)[..., f.mask].abs().max() == 0
    torch.testing.assert_close(f.residual, e.residual, atol=1e-5, rtol=0)


@pytest.mark.parametrize("part", ["attention", "evidence"])
def test_evidence_on_padding_is_refused(part):
    p = parts()
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[4] = True
    with pytest.raises(ValueError, match="not zero on padding"):
        Explanation(p["logits"], p["image"], **{part: p[part]}, mask=mask)


# margins, heads, classes


def test_margin_is_the_difference_of_evidence():
    e = explain(MODELS["one block"], picture(), class_names=NAMES)
    m = e.margin("bird 3", 1)
    assert (m.a, m.b, m.names) == (3, 1, ("bird 3", "bird 1"))
    torch.testing.assert_close(m.heads, e.evidence[:, 3] - e.evidence[:, 1])
    torch.testing.assert_close(m.total, m.heads.sum(0))
    assert m.value == pytest.approx((e.logits[3] - e.logits[1]).item(), abs=1e-6)
    best = e.logits.argsort(descending=True).tolist()
    assert (e.prediction, e.runner_up(), e.runner_up(best[1])) == (best[0], best[1], best[0])
    assert (e.margin().a, e.margin().b) == (best[0], best[1])
    assert "bird 3" in repr(m)
    with pytest.raises(ValueError, match="no margin over itself"):
        e.margin(2, 2)


def test_heads_in_order():
    e = Explanation(**parts())
    for c in range(4):
        assert (
            e.heads_by("attention", c)
            == e.attention[:, c].flatten(1).max(1).values.argsort(descending=True).tolist()
        )
        assert e.heads_by("evidence", c) == e.evidence[:, c].sum((1, 2)).argsort(descending=True).tolist()
    assert len({tuple(e.heads_by(by, c)) for by in ("attention", "evidence") for c in range(4)}) > 1
    with pytest.raises(ValueError, match="by='size'"):
        e.heads_by("size")


@pytest.mark.parametrize("name", MODELS)
def test_fewer_classes_keep_the_same_numbers(name):
    model, x = MODELS[name], picture()
    e, f = explain(model, x, class_names=NAMES), explain(model, x, classes=[4, "bird 2"], class_names=NAMES)
    assert f.classes == [4, 2] and f.evidence.shape[1] == 2 and f.candidates == [0, 1, 2, 3, 4]
    torch.testing.assert_close(f.evidence, e.evidence[:, [4, 2]])
    torch.testing.assert_close(f.margin(4, 2).total, e.margin(4, 2).total)
    assert (
        f.prediction == e.prediction
        and f.probability(1) == e.probability(1)
        and f.runner_up() == e.runner_up()
    )
    with pytest.raises(ValueError, match=r"'bird 1' \(1\) was not kept"):
        f.margin(4, 1)
    assert explain(model, x, classes=3).classes == explain(model, x, classes=torch.tensor([3])).classes == [3]


@pytest.mark.parametrize("name", MODELS)
def test_fewer_candidates(name):
    model, x = MODELS[name], picture()
    e, f = explain(model, x), explain(model, x, candidates=[4, 1], class_names=NAMES)
    torch.testing.assert_close(f.evidence, e.evidence[:, [4, 1]], atol=1e-5, rtol=0)
    assert f.candidates == f.classes == [4, 1] and f.prediction in (4, 1) and f.runner_up(4) == 1
    assert f.probability(4) + f.probability(1) == pytest.approx(1)
    with pytest.raises(ValueError, match="was no candidate"):
        f.margin(0)
    with pytest.raises(ValueError, match=r"classes \[0\] are not among the candidates"):
        explain(model, x, classes=[0], candidates=[1, 2])
    with pytest.raises(ValueError, match="no runner-up"):
        explain(model, x, candidates=[2]).runner_up()
    assert "bird 4" in explain(model, x, candidates=[4], class_names=NAMES)._repr_html_()


def test_names_come_with_the_model():
    model = copy.deepcopy(MODELS["one block"])
    model.class_names = NAMES
    assert explain(model, picture()).name(2) == "bird 2"
    assert explain(model, picture(), class_names=np.array(list("abcde"))).name(2) == "c"
    assert explain(MODELS["one block"], picture()).name(2) == "class 2"


# models, modes, images


def test_evaluation_mode_and_back():
    model = copy.deepcopy(MODELS["one block"]).train()
    model.norm.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    e = explain(model, picture())
    assert [m.training for m in model.modules()] == modes and any(modes) and not all(modes)
    for k, v in model.state_dict().items():
        assert torch.equal(v, before[k])  # BatchNorm's running statistics too
    torch.testing.assert_close(e.evidence, explain(MODELS["one block"], picture()).evidence)
    assert not e.evidence.requires_grad
    with pytest.raises(ValueError):
        explain(model, picture() * torch.nan)
    assert [m.training for m in model.modules()] == modes


@pytest.mark.parametrize("fc", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_a_full_decoder_adds_up(fc, dtype, tolerance):
    model = full(fc=fc).to(dtype)
    e = explain(model, picture(), class_names=NAMES)
    with torch.no_grad():
        out = model(picture()[None].to(dtype), attention="all")
    assert e.attention.shape == e.evidence.shape == (8, 5, 8, 8) and e.adds_up and e.reference == "mean"
    assert (e.evidence.double().sum((0, 2, 3)) + e.residual - out.logits[0]).abs().max() < tolerance
    torch.testing.assert_close(e.attention, out.attention[:, 0].flatten(0, 1))
    torch.testing.assert_close(e.layer(-1).attention, out.attention[-1, 0])
    torch.testing.assert_close(e.layer(-1).evidence, e.evidence[4:])
    torch.testing.assert_close(e.layer(0).evidence, e.evidence[:4])
    assert e.layer(1).adds_up and not torch.allclose(e.layer(1).residual, e.residual)
    assert explain(model, picture(), candidates=[1, 3]).attention.shape[1] == 2
    kept = explain(model, picture(), classes=[3, 1])
    torch.testing.assert_close(kept.evidence, e.evidence[:, [3, 1]])


def test_a_full_decoder_has_no_single_saliency():
    e = explain(full(), picture(), class_names=NAMES)
    for ask in (lambda: e.value_scores, lambda: e.with_reference("raw")):
        with pytest.raises(AttributeError, match="differs for every pair of classes"):
            ask()
    assert explain(full(), picture(), reference="raw").reference == "raw"
    with pytest.raises(ValueError, match="reference='median': expected 'mean' or 'raw'"):
        explain(full(), picture(), reference="median")
    with pytest.raises(ValueError, match="by OneBlockINTR, has no layers"):
        explain(MODELS["fc"], picture()).layer(0)
    with pytest.raises(ValueError, match="layer 2: expected one from 0 to 1"):
        e.layer(2)


def test_share_of_a_margin():
    for model in (MODELS["fc"], full().double()):
        e = explain(model, picture(), class_names=NAMES)
        m, share = e.margin(), e.share(over=e.runner_up())
        assert (
            share.of_sum == pytest.approx(m.total.sum().item() / m.value, rel=1e-3) and 0 < share.of_size < 1
        )
        assert f"maps carry {share}" in e._repr_html_() and f"; maps carry {share}" in e.main_map()[0]
        assert e.share(c="bird 1").of_sum == pytest.approx(
            (e.evidence[:, 1].sum() / e.logits[1]).item(), rel=1e-3
        )
        with pytest.raises(ValueError, match="group='maps': expected"):
            e.share("maps")
    e = explain(MODELS["one block"], picture())
    assert e.share(over=e.runner_up()).of_sum == pytest.approx(1, abs=1e-4)


# names of heads


def test_heads_have_their_layers_name():
    e = explain(full(), picture(), class_names=NAMES)
    assert e.layers == [0, 1] and [e.head_name(r) for r in (0, 3, 4, 6)] == [
        "layer 0, head 0",
        "layer 0, head 3",
        "layer 1, head 0",
        "layer 1, head 2",
    ]
    assert [e.layer(l).layers for l in (0, 1, -1)] == [[0], [1], [1]] and e.layer(-1).layer(0).layers == [1]
    assert e.layer(-1).head_name(3) == copy.deepcopy(e.layer(-1)).head_name(3) == "layer 1, head 3"
    best = e.margin().heads.sum((1, 2)).abs().argmax().item()
    assert (
        f">{e.head_name(best)}</td>" in e._repr_html_() and ">layer 0, head" not in e.layer(-1)._repr_html_()
    )
    one = explain(MODELS["fc"], picture())
    assert one.layers is None and one.head_name(3) == "head 3" and ">head 3</td>" in one._repr_html_()
    for x, r in ((e, 8), (e, -1), (one, 4)):
        with pytest.raises(ValueError, match=f"head {r}: expected one from 0 to"):
            x.head_name(r)


def test_layers_that_do_not_fit():
    p = parts()
    assert (
        Explanation(p["logits"], p["image"], p["attention"], layers=[0, 2, 5]).head_name(1)
        == "layer 2, head 0"
    )
    for layers in ([0, 1], []):
        with pytest.raises(
            ValueError, match=re.escape(f"layers={layers} with 3 maps: expected as many heads in each layer")
        ):
            Explanation(p["logits"], p["image"], p["attention"], layers=layers)


class Attentive(torch.nn.Module):
    "Gives attention and logits, and nothing to take apart"

    num_classes = 5

    def __init__(self):
        super().__init__()
        self.inner = full()

    def forward(self, images, mask=None, attention=None, candidates=None):
        return self.inner(images, mask, attention, candidates)


def test_attention_only_says_why_there_is_no_evidence():
    e = explain(Attentive(), picture(), class_names=NAMES)
    assert e.attention.shape == (4, 5, 8, 8) and not e.adds_up
    with pytest.raises(AttributeError, match="gives attention only"):
        e.margin()
    assert "attention only" in e._repr_html_() and "zero" not in repr(e)


def test_pictures_are_converted_as_the_data_sets_do():
    image = Aviary(1).bird(0).image
    by_tensor = explain(MODELS["one block"], to_tensor(image))
    for given in (image, Image.fromarray(image)):
        assert torch.equal(explain(MODELS["one block"], given).evidence, by_tensor.evidence)
    assert np.array_equal(to_pixels(by_tensor.image), image)


def test_files_are_read(tmp_path):
    image, model = Aviary(1).bird(0).image, MODELS["one block"]
    Image.fromarray(image).save(tmp_path / "bird.png")
    for file in (tmp_path / "bird.png", str(tmp_path / "bird.png")):
        assert torch.equal(explain(model, file).evidence, explain(model, image).evidence)
    with pytest.raises(FileNotFoundError, match="no picture .*nobody.jpg"):
        explain(model, tmp_path / "nobody.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="text.jpg.* can't be read as a picture"):
        explain(model, tmp_path / "text.jpg")


@pytest.mark.parametrize("size, seen", [(64, (64, 64)), ([48, 1000], (48, 72)), (None, (80, 120))])
@pytest.mark.parametrize("kind", ["one block", "full"])
def test_pictures_have_the_size_of_training(tmp_path, kind, size, seen):
    model = copy.deepcopy(MODELS[kind]) if kind in MODELS else full()
    model.metadata = dict(image_size=size)
    image = np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "bird.png")
    shown = [explain(model, given) for given in (image, Image.fromarray(image), tmp_path / "bird.png")]
    for e in shown:
        assert (
            e.image.shape == (3, *seen)
            and e.evidence.shape[-2:] == (seen[0] // 8, seen[1] // 8)
            and torch.equal(e.evidence, shown[0].evidence)
        )
    assert explain(model, picture(h=40, w=56)).image.shape == (3, 40, 56)  # a tensor stays as it is


def test_every_name_has_one_home():
    homes = dict(
        explanation=["Explanation", "Margin"],
        references=["REFERENCES"],
        checks=["check_sum"],
        explainer=["explain"],
    )
    modules = {m: importlib.import_module(f"intr_nb.explanations.{m}") for m in homes}
    for home, names in homes.items():
        for name in names:
            assert [m for m in modules if name in modules[m].__all__] == [home], name
    assert modules["explainer"].__all__ == ["explain"]


# others fill the same object


def test_evidence_alone_is_enough():
    p = parts()
    e = Explanation(p["logits"], p["image"], evidence=p["evidence"], residual=p["residual"], source="CAM")
    assert e.adds_up and e.margin(0, 1).residual == 0 and e.heads_by("evidence")
    with pytest.raises(AttributeError, match="no attention: CAM gave none"):
        _ = e.attention
    with pytest.raises(AttributeError, match="no value_scores"):
        e.with_reference("median")
    assert "together the logit" in e._repr_html_()


def test_maps_that_claim_no_sum():
    p = parts()
    e = Explanation(p["logits"], p["image"], evidence=p["evidence"] * 3, source="RISE", unit="probability")
    assert (
        not e.adds_up
        and e.margin(0, 1).residual is None
        and "RISE do not claim" in e._repr_html_()
        and "probability" in e.main_map()[0]
    )


def test_logits_alone():
    e = Explanation(torch.tensor([1.0, 2.0]), np.zeros((20, 20, 3), np.uint8))
    assert e.prediction == 1 and "class 1" in e._repr_html_()


def test_survives_copying_and_pickling():
    for e in (explain(MODELS["fc"], picture()), explain(full(), picture())):
        for f in (copy.deepcopy(e), pickle.loads(pickle.dumps(e))):
            assert repr(f) == repr(e) and torch.equal(f.attention, e.attention)


# bad input


@pytest.mark.parametrize(
    "kw, says",
    [
        (dict(classes=[5]), r"classes: no class 5. Expected an index from 0 to 4"),
        (dict(classes=[-1]), "no class -1"),
        (dict(classes=[True]), "no class True"),
        (dict(classes=[1.5]), "no class 1.5"),
        (dict(classes=[]), "classes is empty"),
        (dict(classes=[1, 1]), "names a class twice"),
        (dict(classes="brid 1", class_names=NAMES), "no class 'brid 1'.*perhaps.*'bird 1'"),
        (dict(classes="bird 1"), "there are no class_names"),
        (dict(classes="a", class_names=list("aabcd")), "several have that name"),
        (dict(candidates=[7]), "candidates: no class 7"),
        (dict(candidates=[]), "candidates is empty"),
        (dict(reference="foo"), "reference='foo': expected 'raw', 'mean' or 'median'"),
        (dict(class_names=["one"]), "class_names has 1 names, the model has 5 classes"),
        (dict(class_names=[]), "class_names has 0 names"),
        (dict(mask=torch.zeros(5, 5, dtype=torch.bool)), "mask"),
        (dict(mask=torch.ones(64, 64, dtype=torch.bool)), "mask"),
    ],
)
def test_wrong_arguments(kw, says):
    with pytest.raises(ValueError, match=says):
        explain(MODELS["one block"], picture(), **kw)


@pytest.mark.parametrize(
    "image, says",
    [
        (picture()[None], "take one"),
        (picture()[0], "one normalised picture"),
        (picture().byte(), "uint8"),
        (picture()[:1], "3, H, W"),
        (picture() * torch.nan, "NaN"),
        (picture(h=4, w=4), "at least 8 x 8"),
    ],
)
def test_wrong_images(image, says):
    with pytest.raises(ValueError, match=says):
        explain(MODELS["one block"], image)


def test_wrong_models():
    with pytest.raises(TypeError, match="Linear: expected one that returns its attention"):
        explain(torch.nn.Linear(2, 2), picture())
    with pytest.raises(TypeError, match="is a function"):
        explain(lambda x: x, picture())
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(TypeError, match="explain model.float()"):
            explain(copy.deepcopy(MODELS["one block"]).to(dtype), picture())
    broken = copy.deepcopy(MODELS["one block"])
    with torch.no_grad():
        broken.block.w.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        explain(broken, picture())


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(attention=torch.ones(3, 4, 5, 7)), r"attention has shape \(3, 4, 5, 7\)|evidence has shape"),
        (dict(evidence=torch.ones(4, 5, 6)), r"evidence has shape \(4, 5, 6\): expected \(R, C, h, w\)"),
        (dict(value_scores=torch.full((3, 5, 6), torch.inf)), "value_scores holds NaN or infinite"),
        (dict(logits=torch.tensor([1.0, torch.nan, 0, 0])), "logits holds NaN"),
        (dict(residual=torch.zeros(3)), "residual has shape"),
        (dict(classes=[0, 1]), "expected a distinct class for each logit"),
        (dict(classes=[0, 0, 1, 2]), "distinct"),
        (dict(class_names=["a"]), "class_names has 1 names"),
        (dict(reference="here"), "reference='here'"),
        (dict(mask=torch.zeros(2, 2, dtype=torch.bool)), "mask has shape"),
        (
            dict(classes=[9, 1, 2, 3], candidates=[0, 1, 2, 3], candidate_logits=torch.zeros(4)),
            r"classes \[9\] are not among",
        ),
        (
            dict(candidates=[0, 1, 2, 3], candidate_logits=torch.zeros(4)),
            "logits and candidate_logits differ",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        Explanation(**parts() | change)


# the card


def test_card_escapes_names_and_holds_a_picture():
    hostile = ['<img src=x onerror="alert(1)">', "<script>alert(2)</script>", "a & b", '" onload="x', "<b>"]
    for e in (
        explain(MODELS["one block"], picture(), class_names=hostile),
        explain(full(), picture(), class_names=hostile),
        explain(MODELS["fc"], picture(), classes=[1, 3], class_names=hostile),
    ):
        page = e._repr_html_()
        assert "<script" not in page and "<img src=x" not in page
        assert re.findall(r"<img (\w+)=", page) == ["alt"] and not re.search(r'" on\w+=', page)
        png = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", page)[1])))
        assert png.format == "PNG" and max(png.size) == 224
        assert html.escape(e.name(e.prediction)) in page  # shown, as text
        assert (
            "color:" not in page and "background" not in page
        )  # the page's own colours, also in a dark theme


def test_card_says_the_numbers():
    e = explain(MODELS["one block"], picture(), class_names=NAMES)
    page = e._repr_html_()
    assert (
        f"Prediction: {e.name(e.prediction)} (probability {e.probability(e.prediction):.3f})" in page
        and f"Runner-up: {e.name(e.runner_up())}" in page
    )
    assert f"together the logit {e.logits[e.prediction]:+.4f}" in page and "reference of s: mean" in page
    assert all(f"{m.sum():+.3f}" in page for m in e.margin().heads)
    assert "Orange: attention" in explain(Attentive(), picture())._repr_html_()


def test_overlay_has_orange_for_and_blue_against():
    drawn = np.asarray(
        overlay(np.full((40, 40, 3), 120, np.uint8), torch.tensor([[1.0, 0.0], [-1.0, 0.5]]), size=80)
    )
    assert tuple(drawn[20, 20]) == FOR and tuple(drawn[60, 20]) == AGAINST
    assert len(set(drawn[20, 60])) == 1  # nothing: grey
    assert drawn[60, 60, 0] > drawn[60, 60, 2] and tuple(drawn[60, 60]) != FOR
    half = np.asarray(overlay(np.full((40, 40, 3), 120, np.uint8), torch.tensor([[1.0]]), limit=2.0, size=80))
    assert tuple(half[40, 40]) != FOR
    low = np.asarray(
        overlay(np.full((40, 40, 3), 120, np.uint8), torch.tensor([[1.0, -4.0]]), size=80)
    )  # the largest counts, whatever its sign
    assert tuple(low[40, 60]) == AGAINST and tuple(low[40, 20]) != FOR


def test_a_model_without_attention_points_to_the_baselines():
    from intr_nb.models.pooled import PooledClassifier

    with pytest.raises(
        TypeError, match="PooledClassifier has no attention .*intr_nb.explanations.class_activation"
    ):
        explain(PooledClassifier(3, "patchnet"), picture())


# -- large logits, and whose tensors they are --


@pytest.mark.parametrize("scale", [1, 100, 2000])
def test_large_logits_add_up_and_a_part_that_is_missing_is_still_noticed(scale):
    model = copy.deepcopy(full()).eval()
    with torch.no_grad():
        model.presence_vector.weight *= scale
    e = explain(model, torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(0)))
    largest = e.logits.abs().max()
    assert largest > scale / 10
    with pytest.raises(ValueError, match="do not add up"):
        check_sum(e.evidence, e.residual + 1e-3 * largest, e.logits)


def test_an_explanation_keeps_its_image():
    model, image = one_block(), torch.randn(3, 64, 64)
    before, mine = image.clone(), [explain(model, image, [0]), rise(model, image, [0], masks=4)]
    image.zero_()
    assert all(torch.equal(e.image, before) for e in mine)
