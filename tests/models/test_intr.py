"""What the models promise: exact sums, attention that costs nothing unless asked for, candidates, padding,
messages."""

import copy
import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from intr_nb.models.attention import MultiheadAttention, attend
from intr_nb.models.backbones import build_backbone
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.patchnet import PatchNet
from intr_nb.models.positions import sine_position
from intr_nb.models.resnet import ResNet

SMALL = dict(backbone="resnet18", dim=32, num_heads=4, encoder_layers=1, decoder_layers=3, ffn_dim=48)
FORMS = [dict(score_bound=b, fc=fc) for b, fc in itertools.product((None, 1.5), (False, True))]


def form(f):
    return f"{'fc' if f['fc'] else 'intr'}-{'bounded' if f['score_bound'] else 'plain'}"


def one_block(num_classes=5, **kwargs):
    torch.manual_seed(0)
    return OneBlockINTR(num_classes, PatchNet(width=8, dim=16), dim=16, num_heads=4, **kwargs).eval()


def full(num_classes=5, **kwargs):
    torch.manual_seed(0)
    return INTR(num_classes, **SMALL | kwargs).eval()


def images(size=(64, 96), n=2, seed=1):
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(seed))


def padding(size=(64, 96)):
    mask = torch.zeros(2, *size, dtype=torch.bool)
    mask[1, :, 32:] = True
    return mask


BOTH = pytest.mark.parametrize("build", [one_block, full], ids=["one block", "full"])


# -- attention --


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_attention_is_pytorchs(bias, padded):
    torch.manual_seed(0)
    ours, theirs = (
        MultiheadAttention(24, 3, bias=bias).double(),
        nn.MultiheadAttention(24, 3, bias=bias, batch_first=True).double(),
    )
    for p in ours.parameters():
        nn.init.normal_(p)
    theirs.load_state_dict(ours.state_dict())
    query, key, value = (torch.randn(2, n, 24, dtype=torch.float64) for n in (5, 7, 7))
    mask = torch.arange(7) >= torch.tensor([[7], [4]]) if padded else None
    out, alpha = ours(query, key, value, mask, need_weights=True)
    expected, expected_alpha = theirs(query, key, value, mask, average_attn_weights=False)
    (
        assert_close(out, expected),
        assert_close(alpha, expected_alpha),
        assert_close(ours(query, key, value, mask)[0], expected),
    )


def test_dropout_works_in_training_alone():
    layer, x = MultiheadAttention(8, 2, dropout=0.5), torch.randn(1, 4, 8)
    out, alpha = layer(x, x, x, need_weights=True)
    assert_close(alpha.sum(-1), torch.ones(1, 2, 4))
    assert not layer(x, x, x)[0].equal(layer(x, x, x)[0]) and not out.equal(
        layer(x, x, x, need_weights=True)[0]
    )
    layer.eval()
    assert_close(layer(x, x, x)[0], layer(x, x, x, need_weights=True)[0])


def test_unpadded_mask_changes_nothing():
    q, k, v = torch.randn(3, 2, 4, 6, 8).unbind()
    assert_close(attend(q, k, v, torch.zeros(2, 6, dtype=torch.bool))[0], attend(q, k, v)[0])


class Softmaxes(TorchDispatchMode):
    "Counts softmaxes that are written out; a fused kernel has none"

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += "softmax" in func.__name__
        return func(*args, **kwargs or {})


def softmaxes(model, train=False, **kwargs):
    model.train(train)
    with Softmaxes() as seen:
        model(images(), **kwargs)
    return seen.count


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("mask", [None, padding()], ids=["whole", "padded"])
def test_weights_are_written_out_only_where_asked_for(mask, train):
    model = full(dropout=0.0)  # PyTorch has no fused kernel with dropout for CPUs, only for GPUs
    assert [softmaxes(model, train, mask=mask, attention=a) for a in (None, "last", "all")] == [0, 1, 3]
    for f in FORMS:
        expected = (
            1 if f["fc"] and f["score_bound"] else 0
        )  # where s is as large as the weights, nothing would be saved
        assert softmaxes(one_block(**f), train, mask=mask) == expected, f
        assert softmaxes(one_block(**f), train, mask=mask, attention="last") == 1, f


@BOTH
def test_the_fused_kernel_takes_it(build):
    "With PyTorch's fall-back forbidden; the value score's single number per head is no obstacle."
    model = build()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        out = model(images(), padding())
    assert out.attention is None and out.logits.isfinite().all()


# -- the one-block model: Eq. 6, 9, 10 --


@pytest.mark.parametrize("options", FORMS, ids=form)
@pytest.mark.parametrize("mask", [None, padding()], ids=["whole", "padded"])
@pytest.mark.parametrize("candidates", [None, [3, 0]])
def test_saliency_times_attention_is_the_logit(options, mask, candidates):
    model = one_block(**options).double()
    out = model(images().double(), mask, "last", candidates)
    s = model.value_scores(out.features, out.mask, candidates)
    s = s if options["fc"] else s[:, :, None]
    assert ((s * out.attention).sum((1, 3, 4)) - out.logits).abs().max() < 1e-12
    assert (model(images().double(), mask, None, candidates).logits - out.logits).abs().max() < 1e-12


@pytest.mark.parametrize("fc", [False, True])
def test_unbounded_logits_are_those_of_the_paper(fc):
    "Eq. 3 to 8, 6 and 10 by PyTorch's own attention: project, search, join, evaluator."
    model = one_block(fc=fc).double()
    block, out = model.block, model(images().double())
    layer = nn.MultiheadAttention(16, 4, bias=False, batch_first=True).double()
    layer.load_state_dict(
        {
            "in_proj_weight": torch.cat([W.weight for W in (block.W_q, block.W_k, block.W_v)]),
            "out_proj.weight": block.W_o.weight,
        }
    )
    x = out.features.flatten(2).transpose(1, 2)
    z_out = layer(block.queries.expand(2, -1, -1), x, x)[0]
    expected = torch.einsum("bcd,cd->bc", z_out, block.w.weight.expand(5, -1))
    assert (out.logits - expected).abs().max() < 1e-12


@pytest.mark.parametrize("fc", [False, True])
def test_bound_bounds_and_fades(fc):
    loud = one_block(fc=fc)
    nn.init.normal_(loud.block.w.weight, std=10)
    tight, loose = one_block(fc=fc, score_bound=0.5), one_block(fc=fc, score_bound=1e5)
    for m in (tight, loose):
        m.load_state_dict(loud.state_dict())
    features = loud(images()).features
    assert loud.value_scores(features).abs().max() > 5 and tight.value_scores(features).abs().max() <= 0.5
    assert_close(tight.value_scores(features), 0.5 * torch.tanh(loud.value_scores(features) / 0.5))
    assert_close(loose(images()).logits, loud(images()).logits, rtol=1e-3, atol=1e-3)


def test_saliency_is_nothing_on_padding():
    model, mask = one_block(), torch.zeros(2, 16, 24, dtype=torch.bool)
    mask[1, :, 9:] = True
    features = model(images()).features
    s, everywhere = model.value_scores(features, mask), model.value_scores(features)
    assert s[1, :, :, 9:].abs().max() == 0 < everywhere[1, :, :, 9:].abs().min() and s[
        ~mask[:, None].expand_as(s)
    ].equal(everywhere[~mask[:, None].expand_as(s)])


def test_saliency_knows_the_image_alone():
    model = one_block()
    before = model.value_scores(model(images()).features)
    nn.init.normal_(model.block.queries)
    assert model.value_scores(model(images()).features).equal(before)


def test_features_are_normalised():
    model = one_block().train()
    features, maps = model(images()).features, model.backbone(images()).detach()
    mean, var = maps.mean(1, keepdim=True), maps.var(1, keepdim=True, correction=0)
    assert_close(features, (maps - mean) / (var + 1e-5).sqrt())


def test_other_backbone_is_projected():
    model = OneBlockINTR(3, "resnet18", dim=24, num_heads=2)
    assert model.input_proj.weight.shape == (24, 512, 1, 1) and model(images()).features.shape == (
        2,
        24,
        2,
        3,
    )


# -- both models --


@BOTH
def test_shapes(build):
    model = build()
    (h, w), heads, layers = ((16, 24), 4, 1) if build is one_block else ((2, 3), 4, 3)
    out = model(images(), attention="last")
    assert (
        out.logits.shape == (2, 5)
        and out.attention.shape == (2, heads, 5, h, w)
        and out.features.shape[2:] == (h, w)
        and out.mask.shape == (2, h, w)
    )
    assert model(images(), attention="all").attention.shape == (layers, 2, heads, 5, h, w)
    assert model(images()).attention is None and out.mask.dtype == torch.bool and not out.mask.any()
    assert_close(out.attention.sum((-2, -1)), torch.ones(2, heads, 5))


@BOTH
@pytest.mark.parametrize("mask", [None, padding()], ids=["whole", "padded"])
def test_asking_does_not_change_the_logits(build, mask):
    model = build()
    plain, last, every = (model(images(), mask, a) for a in (None, "last", "all"))
    assert_close(last.logits, plain.logits), assert_close(every.logits, plain.logits)
    assert_close(every.attention[-1], last.attention)
    assert every.features.equal(plain.features) and last.features.equal(plain.features)


@BOTH
def test_padding_gets_nothing(build):
    out = build()(images(), padding(), "all")
    assert out.mask[1].any() and out.attention[:, 1][..., out.mask[1]].abs().max() == 0
    assert_close(out.attention.sum((-2, -1)), torch.ones(out.attention.shape[:-2]))


@BOTH
def test_what_lies_in_padded_cells_does_not_matter(build):
    "Changing cells that are padding (behind the backbone, whose view crosses the border) changes no logit."
    model, mask = build(), padding()
    with torch.no_grad():
        maps = model.backbone(images())

    class Given(nn.Module):
        num_channels, stride = maps.shape[1], model.backbone.stride

        def forward(self, _):
            return self.maps

    model.backbone, cells = Given(), model(images(), mask).mask[1]
    model.backbone.maps = maps
    before = model(images(), mask).logits
    model.backbone.maps = maps.clone()
    model.backbone.maps[1][:, cells] = 100.0
    assert_close(model(images(), mask).logits, before)
    assert not torch.allclose(model(images()).logits, before)


@BOTH
@pytest.mark.parametrize("fc", [False, True])
@pytest.mark.parametrize(
    "kind", [list, torch.tensor, tuple, np.array], ids=["list", "tensor", "tuple", "array"]
)
def test_candidates_come_in_the_order_asked_for(build, fc, kind):
    model = build(fc=fc)
    out = model(images(), attention="last", candidates=kind([4, 1]))
    turned = model(images(), attention="last", candidates=kind([1, 4]))
    assert out.logits.shape == (2, 2) and out.attention.shape[2] == 2
    assert_close(out.logits, turned.logits.flip(1)), assert_close(out.attention, turned.attention.flip(2))
    assert_close(model(images(), candidates=range(5)).logits, model(images()).logits)


def test_candidates_are_alone_in_one_block_and_a_context_in_the_decoder():
    few, every = (one_block()(images(), candidates=q).logits for q in ([4, 1], None))
    assert_close(few, every[:, [4, 1]])
    few, every = (full()(images(), candidates=q).logits for q in ([4, 1], None))
    assert not torch.allclose(few, every[:, [4, 1]], atol=1e-4)


@BOTH
def test_fc_is_the_plain_model_when_all_its_vectors_are_one(build):
    plain, fc = build(), build(fc=True)
    state = {k: v for k, v in plain.state_dict().items()}
    for k, v in fc.state_dict().items():
        if state[k].shape != v.shape:
            state[k] = state[k].expand_as(v)
    fc.load_state_dict(state)
    assert_close(fc(images()).logits, plain(images()).logits)
    assert_close(fc(images(), candidates=[2, 0]).logits, plain(images(), candidates=[2, 0]).logits)


@BOTH
def test_every_parameter_learns(build):
    model = build().train()
    model(images()).logits.pow(2).sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # all finds are still zero when the first layer's classes look at each other
    assert all(n.startswith(("decoder.layers.0.self_attn.", "decoder.layers.0.norm1.")) for n in idle), idle


@BOTH
def test_config_builds_the_same_model(build):
    model = build()
    again = type(model)(**json.loads(json.dumps(model.config)))
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    assert again.eval()(images()).logits.equal(model(images()).logits)


@BOTH
def test_bfloat16_and_float64(build):
    for dtype in (torch.bfloat16, torch.float64):
        out = build().to(dtype)(images().to(dtype), padding(), "last")
        assert out.logits.dtype == out.attention.dtype == dtype and out.logits.isfinite().all()


@BOTH
def test_autocast(build):
    with torch.autocast("cpu", torch.bfloat16):
        out = build()(images(), padding(), "last")
    assert_close(out.logits.float(), build()(images(), padding()).logits, atol=0.1, rtol=0.1)


@BOTH
@pytest.mark.parametrize(
    "device",
    [
        d
        for d, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
        if there
    ],
)
def test_on_an_accelerator(build, device):
    expected, model = build()(images(), padding(), "last"), build().to(device)
    out = model(images().to(device), padding().to(device), "last", candidates=torch.arange(5, device=device))
    (
        assert_close(out.logits.cpu(), expected.logits, atol=1e-3, rtol=1e-3),
        assert_close(out.attention.cpu(), expected.attention, atol=1e-3, rtol=1e-3),
    )
    model.train()(images().to(device), padding().to(device)).logits.sum().backward()


@pytest.mark.skipif(not torch._dynamo.is_dynamo_supported(), reason="no torch.compile here")
@BOTH
@pytest.mark.parametrize("candidates", [None, [3, 1]])
def test_compiles_in_one_piece(build, candidates):
    model = build()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_close(
        compiled(images(), padding(), "last", candidates).logits,
        model(images(), padding(), "last", candidates).logits,
    )


def test_presence_bias_is_counted():
    model = full()
    before = model(images()).logits
    with torch.no_grad():
        model.presence_vector.bias += 2
    assert_close(model(images()).logits, before + 2)


def test_pre_norm_differs_and_has_a_last_encoder_norm():
    assert {k for k in full(pre_norm=True).state_dict()} - {k for k in full().state_dict()} == {
        "encoder.norm.weight",
        "encoder.norm.bias",
    }
    pre, post = full(pre_norm=True), full()
    post.load_state_dict(pre.state_dict(), strict=False)
    assert not torch.allclose(pre(images()).logits, post(images()).logits, atol=1e-3)


def test_initialisation():
    model = OneBlockINTR(200)
    assert (
        abs(model.block.queries.std() - 1) < 0.02
        and abs(model.block.W_k.weight.std() - math.sqrt(2 / 128)) < 0.01
    )
    model = INTR(200, "resnet18", encoder_layers=1, decoder_layers=1)
    assert (
        abs(model.query_embed.weight.std() - 1) < 0.02
        and abs(model.decoder.layers[0].multihead_attn.in_proj_weight.std() - math.sqrt(2 / 1024)) < 0.002
    )
    assert not model.decoder.layers[0].multihead_attn.in_proj_bias.any()


# -- backbones --


@pytest.mark.parametrize("stride, first, last", [(4, 41, 50), (8, 33, 54)])
def test_patchnet_sees_little_and_its_cells_are_centred(stride, first, last):
    image, net = torch.randn(1, 3, 96, 96, requires_grad=True), PatchNet(stride=stride).eval()
    cell = 46 // stride
    net(image)[0, :, cell, cell].sum().backward()
    seen = image.grad[0].abs().sum(0).nonzero()
    assert first + last == 2 * stride * cell + stride - 1
    assert seen.amin(0).tolist() == [first, first] and seen.amax(0).tolist() == [last, last]


@pytest.mark.parametrize("size", [(4, 4), (15, 97), (96, 96), (33, 64)])
@pytest.mark.parametrize(
    "backbone",
    [PatchNet(8, 8), PatchNet(8, 8, stride=8), ResNet("resnet18")],
    ids=lambda b: f"{b.config['name']}{b.stride}",
)
def test_stride_says_the_size_of_the_map(backbone, size):
    h, w = (-(-s // backbone.stride) for s in size)
    assert backbone.eval()(torch.randn(1, 3, *size)).shape == (1, backbone.num_channels, h, w)


def test_resnet_norm_is_frozen():
    net = ResNet("resnet18").train()
    before = copy.deepcopy(net.state_dict())
    net(torch.randn(2, 3, 64, 64))
    assert all(v.equal(before[k]) for k, v in net.state_dict().items())
    assert not [n for n, _ in net.named_parameters() if ".bn" in n]


def test_position_code_counts_unpadded_cells():
    mask = torch.zeros(1, 4, 6, dtype=torch.bool)
    mask[:, :, 3:] = True
    assert_close(sine_position(mask, 32)[..., :3], sine_position(mask[..., :3], 32))


class Minimal(nn.Module):
    num_channels, stride = 3, 2

    def forward(self, images):
        return images[:, :, ::2, ::2]


def test_a_module_of_your_own_is_a_backbone():
    assert OneBlockINTR(2, Minimal(), dim=8, num_heads=2)(images()).features.shape == (2, 8, 32, 48)


# -- bad input: every message names the thing, what was expected, and a remedy --

BAD = {
    "no batch": (
        dict(images=torch.zeros(3, 64, 64)),
        r"images: got shape \(3, 64, 64\).*expected.*\(B, 3, H, W\).*images\[None\]",
    ),
    "grey": (dict(images=torch.zeros(1, 1, 64, 64)), r"got shape \(1, 1, 64, 64\).*grey or RGBA"),
    "RGBA": (dict(images=torch.zeros(1, 4, 64, 64)), r"got shape \(1, 4, 64, 64\).*grey or RGBA"),
    "channels last": (dict(images=torch.zeros(1, 64, 64, 3)), r"got shape \(1, 64, 64, 3\).*expected"),
    "empty batch": (dict(images=torch.zeros(0, 3, 64, 64)), r"got shape \(0, 3, 64, 64\)"),
    "bytes": (dict(images=torch.zeros(1, 3, 64, 64, dtype=torch.uint8)), r"torch.uint8.*divide bytes by 255"),
    "no tensor": (dict(images=[[0.0]]), r"images: got a list"),
    "1 x 1": (dict(images=torch.zeros(1, 3, 1, 1)), r"1 x 1 pixels: expected at least \d+ x \d+.*Enlarge"),
    "NaN": (
        dict(images=torch.stack([torch.zeros(3, 64, 64), torch.full((3, 64, 64), math.nan)])),
        r"images: \[1\].*NaN.*Check",
    ),
    "infinite": (dict(images=torch.full((1, 3, 64, 64), math.inf)), r"NaN or infinite"),
    "mask of another size": (
        dict(mask=torch.zeros(2, 64, 95, dtype=torch.bool)),
        r"mask: got shape \(2, 64, 95\).*expected shape \(2, 64, 96\)",
    ),
    "mask of bytes": (dict(mask=torch.zeros(2, 64, 96)), r"mask: got .*torch.float32.*torch.bool"),
    "mask no tensor": (dict(mask=[True]), r"mask: got a list"),
    "all padding": (
        dict(mask=torch.stack([torch.zeros(64, 96), torch.ones(64, 96)]).bool()),
        r"mask: image \[1\].*padding all over.*leave out",
    ),
    "attention": (dict(attention="first"), r"attention='first': expected None, 'last'.*'all'"),
    "attention true": (dict(attention=True), r"attention=True"),
    "no queries": (dict(candidates=[]), r"candidates=\[\].*0 to 4"),
    "queries out of range": (dict(candidates=[0, 5]), r"candidates=\[0, 5\].*0 to 4"),
    "negative queries": (dict(candidates=[-1, 0]), r"candidates=\[-1, 0\]"),
    "duplicate queries": (dict(candidates=[1, 1]), r"candidates=\[1, 1\].*different"),
    "queries by name": (dict(candidates=["robin"]), r"candidates=\['robin'\]"),
    "queries as flags": (dict(candidates=[True, False]), r"candidates="),
    "fractional queries": (dict(candidates=[0.5, 1.0]), r"candidates="),
    "queries by names in a string": (dict(candidates="01"), r"candidates='01'"),
    "nested queries": (dict(candidates=torch.tensor([[1, 2]])), r"candidates=\[\[1, 2\]\]"),
    "a single number": (dict(candidates=2), r"candidates=2"),
}


@BOTH
@pytest.mark.parametrize("what", BAD)
def test_bad_input(build, what):
    change, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        build()(**dict(images=images()) | change)


SIZES = {
    "one class": (dict(num_classes=1), r"num_classes=1.*at least 2"),
    "no number": (dict(num_classes="16"), r"num_classes='16'"),
    "heads": (dict(num_heads=7), r"num_heads=7 does not divide dim=\d+.*Heads that fit"),
    "backbone": (dict(backbone="vgg"), r"backbone='vgg': expected one of .*resnet50"),
    "backbone module": (
        dict(backbone=nn.Identity()),
        r"Identity as backbone lacks \['num_channels', 'stride'\]",
    ),
}


@pytest.mark.parametrize("model", [INTR, OneBlockINTR])
@pytest.mark.parametrize("what", SIZES)
def test_bad_sizes(model, what):
    change, message = SIZES[what]
    with pytest.raises(ValueError, match=message):
        model(**dict(num_classes=3, backbone="patchnet") | change)


@pytest.mark.parametrize("bound", [0, -1.0, math.nan])
def test_bad_bound(bound):
    with pytest.raises(ValueError, match="score_bound=.*positive"):
        OneBlockINTR(3, score_bound=bound)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: PatchNet(stride=16), "stride of 4 or 8, not 16"),
        (lambda: ResNet("resnet51"), "no ResNet is called 'resnet51'.*resnet50"),
        (
            lambda: ResNet("resnet18", weights="imagenet"),
            "weights='imagenet' for resnet18: expected one of .*IMAGENET1K_V1",
        ),
        (lambda: sine_position(torch.zeros(1, 2, 2).bool(), 6), "dim=6.*multiple of 4"),
        (lambda: build_backbone(None), "backbone=None"),
    ],
)
def test_bad_backbones(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_nan_is_not_looked_for_in_training_on_an_accelerator():
    "Finding out would stop the queue of kernels. The meta device stands in: its values can't be looked at."
    model = one_block().train().to("meta")
    assert model(images().to("meta")).logits.shape == (2, 5)
    with pytest.raises(ValueError, match="hold no numbers"):  # here they are looked at
        model.eval()(images().to("meta"))
