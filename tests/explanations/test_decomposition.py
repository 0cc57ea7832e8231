"""The full decoder taken apart: sums, an independent derivation by autograd, zeros, padding, restriction, bad
input."""

import copy
from contextlib import contextmanager

import pytest
import torch

from intr_nb.explanations import decomposer as module
from intr_nb.explanations.decomposer import decompose
from intr_nb.explanations.decomposition import Decomposition, _share_of
from intr_nb.models.attention import MultiheadAttention, join_heads, split_heads
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR


class Patches(torch.nn.Module):
    "A backbone whose places see nothing but their own 8 x 8 pixels"

    num_channels, stride = 32, 8

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Conv2d(3, 32, 8, 8)

    def forward(self, images):
        return self.body(images)


def shaken(seed=0, backbone=None, **options):
    torch.manual_seed(seed)
    sizes = dict(dim=32, num_heads=4, encoder_layers=1, decoder_layers=2, ffn_dim=48)
    model = INTR(5, Patches() if backbone is None else backbone, **sizes | options).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.05))
        model.query_embed.weight.mul_(5)
    return model


def picture(seed=0, h=40, w=56):
    return torch.randn(3, h, w, generator=torch.Generator().manual_seed(seed))


def padding(h=40, w=56, right=16):
    mask = torch.zeros(h, w, dtype=torch.bool)
    mask[:, w - right :] = True
    return mask


def total(d):
    return d.maps.double().sum((0, 1, 3, 4)) + sum(
        v.double() for group in d.groups.values() for v in group.values()
    )


KINDS = [dict(pre_norm=pre, fc=fc) for pre in (False, True) for fc in (False, True)]


# the sum


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("as_parts", [(), ("mlp",), ("self_attention",), ("mlp", "self_attention")])
def test_parts_add_up_to_the_models_logits(kind, layers, as_parts):
    for dtype, tolerance in (torch.float64, 1e-9), (torch.float32, 1e-4):
        model = shaken(decoder_layers=layers, **kind).to(dtype)
        for options in (
            dict(),
            dict(candidates=[4, 1, 3]),
            dict(mask=padding()),
            dict(mask=padding(), candidates=[2, 0], reference="raw"),
        ):
            d = decompose(model, picture(), as_parts=as_parts, **options)
            mask = options.get("mask")
            with torch.no_grad():
                logits = model(
                    picture()[None].to(dtype),
                    None if mask is None else mask[None],
                    candidates=options.get("candidates"),
                ).logits[0]
            assert (total(d) - logits).abs().max() < tolerance and d.maps.dtype == dtype
            assert d.maps.shape == d.own.shape == d.attention.shape == (layers, 4, len(logits), 5, 7)
            assert ("mlp" in d.groups) == ("mlp" in as_parts) and ("self_attention" in d.groups) == (
                "self_attention" in as_parts
            )
            if mask is not None:
                assert d.maps[..., 5:].abs().max() == 0 < d.maps[..., :5].abs().max()
        assert logits.std() > 0.05 and d.maps.abs().sum() > 0.1  # else the check would be easy


@contextmanager
def frozen_for_autograd(monkeypatch, leaves):
    "The model's own code, scales, gates and weights detached; each cross-attention reads a leaf (C, R, N, d)"

    def norm(self, x):
        scale = (x.var(-1, unbiased=False, keepdim=True) + self.eps).rsqrt().detach()
        return (x - x.mean(-1, keepdim=True)) * scale * self.weight + self.bias

    attend = MultiheadAttention.forward

    def attention(self, query, key, value, key_padding_mask=None, need_weights=False):
        alpha, D = attend(self, query, key, value, key_padding_mask, True)[1].detach(), value.shape[-1]
        values = split_heads(value @ self.in_proj_weight[2 * D :].T, self.num_heads)
        if self in leaves:
            leaves[self] = values[0].detach().expand(query.shape[1], -1, -1, -1).clone().requires_grad_()
            found = torch.einsum("rcn,crnd->rcd", alpha[0], leaves[self])[None]
        else:
            found = alpha @ values
        return self.out_proj(join_heads(found) + self.in_proj_bias[2 * D :]), alpha

    with monkeypatch.context() as m:
        m.setattr(torch.nn.LayerNorm, "forward", norm)
        m.setattr(MultiheadAttention, "forward", attention)
        m.setattr("torch.nn.functional.relu", lambda x: x * (x > 0).detach())
        yield


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_autograd_finds_the_same_parts(kind, monkeypatch):
    model, leaves = shaken(decoder_layers=3, **kind), {}
    with torch.no_grad():
        out = model(picture()[None].double(), padding()[None])
    leaves = {layer.multihead_attn: None for layer in model.decoder.layers}
    memory, mask = out.features.flatten(2).transpose(1, 2), out.mask.flatten(1)
    with frozen_for_autograd(monkeypatch, leaves):
        z = model.decoder(model.query_embed.weight[None].detach(), memory, mask)[0][0]
        logits = (z * model.presence_vector.weight).sum(-1) + model.presence_vector.bias
    torch.testing.assert_close(logits.detach(), out.logits[0])
    d = decompose(model, picture(), mask=padding(), reference="raw")
    biases = {
        n: p
        for n, p in model.named_parameters()
        if n.startswith(("decoder", "presence")) and n.endswith("bias")
    }
    assert set(d.groups["biases"]) <= set(biases)
    for c in range(5):
        grads = torch.autograd.grad(
            logits[c], [*leaves.values(), *biases.values()], retain_graph=True, allow_unused=True
        )
        for l, (values, g) in enumerate(zip(leaves.values(), grads)):
            by_stream = (values * g).sum(-1).detach()  # (C', R, N)
            torch.testing.assert_close(d.maps[l, :, c].flatten(1), by_stream.sum(0), atol=1e-12, rtol=0)
            torch.testing.assert_close(d.own[l, :, c].flatten(1), by_stream[c], atol=1e-12, rtol=0)
        for (n, p), g in zip(biases.items(), grads[len(leaves) :]):
            by_autograd = 0.0 if g is None else (p * g).sum().item()
            found = d.groups["biases"].get(n, torch.zeros(5))[c].item()
            assert found == pytest.approx(by_autograd, abs=1e-12), n
    assert (d.maps - d.own).abs().max() > 1e-4  # other classes' streams do matter here


def test_self_attention_as_a_part_by_source():
    model = shaken(decoder_layers=2, pre_norm=True)
    d = decompose(model, picture(), as_parts=["self_attention"], classes=[3, 1], candidates=[0, 1, 3])
    assert torch.equal(d.maps, d.own) and d.sources.shape == (2, 2, 3)
    for l in range(2):
        torch.testing.assert_close(
            d.sources[l].sum(1), d.groups["self_attention"][f"decoder.layers.{l}.self_attn"]
        )
    with torch.no_grad():
        model.decoder.layers[1].self_attn.in_proj_weight[64:] = 0  # no values to hear, but the bias
    e = decompose(model, picture(), as_parts=["self_attention"], classes=[3, 1], candidates=[0, 1, 3])
    torch.testing.assert_close(
        e.sources[1] / e.sources[1].sum(1, keepdim=True),
        e.sources[1].abs() / e.sources[1].abs().sum(1, keepdim=True),
    )


def test_the_last_layers_maps_are_own():
    d = decompose(shaken(decoder_layers=3), picture())
    assert (
        torch.equal(d.maps[-1], d.own[-1])
        and not torch.allclose(d.maps[0], d.own[0])
        and not torch.allclose(d.maps[1], d.own[1])
    )


def test_a_linear_decoder_is_taken_apart_by_hand():
    "One layer, no MLP to speak of: the logit is w times norms of the find"
    model = shaken(decoder_layers=1, pre_norm=True)
    layer = model.decoder.layers[0]
    with torch.no_grad():
        for p in (layer.linear2.weight, layer.linear2.bias):
            p.zero_()
        out = model(picture()[None].double(), attention="all")
        z, D, v = out.features.flatten(2)[0].T, 32, layer.multihead_attn
        streams = layer(torch.zeros(1, 5, D).double(), model.query_embed.weight[None], z[None])[0][0]
        ask = model.presence_vector.weight[0] * model.decoder.norm.weight
        ask = (ask - ask.mean()) / (streams.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        s = torch.einsum(
            "cd,dre,rne->crn",
            ask,
            v.out_proj.weight.unflatten(1, (4, 8)),
            split_heads((z @ v.in_proj_weight[2 * D :].T)[None], 4)[0],
        )
    d = decompose(model, picture(), reference="raw")
    torch.testing.assert_close(d.maps[0].flatten(2), s.transpose(0, 1) * out.attention[0, 0].flatten(2))


# the zero


@pytest.mark.parametrize("pre_norm", [False, True])
def test_what_all_positions_share_is_a_bias(pre_norm):
    "A constant added to every cell, taken off again by the values' bias, is no change at all: the maps must not notice"
    model = shaken(encoder_layers=0, pre_norm=pre_norm)
    if pre_norm:
        model.encoder.norm = torch.nn.Identity()
    same, delta = copy.deepcopy(model), torch.randn(32).double() * 3
    with torch.no_grad():
        same.input_proj.bias += delta
        for layer in same.decoder.layers:
            a = layer.multihead_attn
            a.in_proj_bias[64:] -= a.in_proj_weight[64:] @ delta
    for mask in None, padding():
        for reference, equal in ("mean", True), ("raw", False):
            d, e = (decompose(m, picture(), reference=reference, mask=mask) for m in (model, same))
            torch.testing.assert_close(d.logits, e.logits)
            assert (
                torch.allclose(d.maps, e.maps, atol=1e-9) == equal
                and torch.allclose(d.own, e.own, atol=1e-9) == equal
            )


def test_the_reference_moves_between_maps_and_common_by_head():
    d, e = (decompose(shaken(), picture(), reference=reference) for reference in ("mean", "raw"))
    for l in range(2):
        for r in range(4):
            name = f"decoder.layers.{l}.multihead_attn.head{r}"
            torch.testing.assert_close(
                d.maps[l, r].sum((1, 2)) + d.groups["common"][name], e.maps[l, r].sum((1, 2))
            )
            assert e.groups["common"][name].abs().max() == 0 and d.groups["common"][name].abs().max() > 0
    for name, v in d.groups["biases"].items():
        torch.testing.assert_close(v, e.groups["biases"][name])


def test_a_class_that_looks_everywhere_alike_has_no_map_of_its_own():
    model = shaken(decoder_layers=1)
    with torch.no_grad():  # keys that say nothing: every class looks everywhere alike
        model.decoder.layers[0].multihead_attn.in_proj_weight[32:64] = 0
    d = decompose(model, picture(), mask=padding())
    assert d.maps.sum((3, 4)).abs().max() < 1e-12 < d.maps.abs().max()


# padding, classes, chunks


def test_a_padded_image_has_the_same_parts():
    model = shaken(encoder_layers=0)
    padded = torch.zeros(3, 48, 64)
    padded[:, :40, :56] = picture()
    mask = torch.ones(48, 64, dtype=torch.bool)
    mask[:40, :56] = False
    d, e = decompose(model, picture()), decompose(model, padded, mask=mask)
    torch.testing.assert_close(e.maps[..., :5, :7], d.maps)
    for group, named in d.groups.items():
        for name, v in named.items():
            torch.testing.assert_close(e.groups[group][name], v)


@pytest.mark.parametrize("as_parts", [(), ("self_attention",)])
def test_fewer_classes_and_chunks_keep_the_same_numbers(as_parts, monkeypatch):
    model = shaken(fc=True)
    d = decompose(model, picture(), as_parts=as_parts)
    monkeypatch.setattr(module, "_CHUNK", 2 * 5 * 32)
    chunked, few = (
        decompose(model, picture(), as_parts=as_parts),
        decompose(model, picture(), classes=[4, 0, 2], as_parts=as_parts),
    )
    for other, picked in (chunked, [0, 1, 2, 3, 4]), (few, [4, 0, 2]):
        assert other.classes == picked
        torch.testing.assert_close(other.maps, d.maps[:, :, picked])
        torch.testing.assert_close(other.own, d.own[:, :, picked])
        torch.testing.assert_close(other.attention, d.attention[:, :, picked])
        for group, named in d.groups.items():
            for name, v in named.items():
                torch.testing.assert_close(other.groups[group][name], v[picked])
        if d.sources is not None:
            torch.testing.assert_close(other.sources, d.sources[:, picked])


def test_queries_bring_nothing_themselves():
    assert decompose(shaken(), picture()).groups["query_stream"]["query_embed"].abs().max() == 0


def test_names_are_those_of_the_checkpoint():
    model = shaken()
    named = dict(model.named_parameters())
    assert all(n in named for n in decompose(model, picture()).groups["biases"])
    model.class_names = list("abcde")
    d = decompose(model, picture(), classes=[3, 1])
    assert d.names == ["d", "b"] and d.at("b") == d.at(1) == 1
    assert decompose(model, picture(), class_names=list("vwxyz"), classes=[3]).names == ["y"]


def test_mode_is_kept():
    model = shaken().train()
    model.decoder.norm.eval()
    modes = [m.training for m in model.modules()]
    d = decompose(model, picture())
    assert [m.training for m in model.modules()] == modes and not d.maps.requires_grad
    torch.testing.assert_close(d.maps, decompose(model.eval(), picture()).maps)


# differences, shares


def test_margins_and_changes_decompose():
    model, edit = shaken(), picture()
    edit[:, 8:16, 8:16] += 2
    d, e = decompose(model, picture()), decompose(model, edit)
    m = d.margin(3, 1)
    assert m.logits.item() == pytest.approx((d.logits[3] - d.logits[1]).item()) == total(
        m
    ).item() and m.classes == [(3, 1)]
    torch.testing.assert_close(m.maps[:, :, 0], d.maps[:, :, 3] - d.maps[:, :, 1])
    order = d.logits.argsort(descending=True).tolist()
    assert d.margin().classes == [tuple(order[:2])] and d.margin(order[1]).classes == [(order[1], order[0])]
    change = e - d
    torch.testing.assert_close(total(change), e.logits - d.logits)
    torch.testing.assert_close(change.margin(3, 1).maps, e.margin(3, 1).maps - m.maps)
    assert change.names[0] == "change of class 0"
    for other in (
        decompose(model, picture(), reference="raw"),
        decompose(model, picture(), classes=[1]),
        decompose(model, picture(), as_parts=["mlp"]),
        decompose(model, picture(w=48)),
    ):
        with pytest.raises(
            ValueError, match="expected the same model, classes, positions, reference and parts"
        ):
            d - other
    with pytest.raises(ValueError, match="no margin over itself"):
        d.margin(3, 3)
    with pytest.raises(ValueError, match="class 7 was not taken apart"):
        d.margin(7)
    with pytest.raises(ValueError, match="a margin needs two"):
        decompose(model, picture(), classes=[1]).margin()


def test_shares_show_cancellation():
    s = _share_of(torch.tensor([6.0, 4.0]), torch.tensor([-9.0]))
    assert (
        s.of_sum == pytest.approx(10)
        and s.of_size == pytest.approx(10 / 19)
        and str(s) == "1000% of the sum, 53% of the absolute size"
    )
    cancelled = _share_of(torch.tensor([1.0, -1.0]), torch.tensor([0.5]))
    assert cancelled.of_sum == 0 and cancelled.of_size == pytest.approx(0.8)
    assert "no share of a sum near zero" in str(_share_of(torch.tensor([1.0]), torch.tensor([-1.0001])))
    assert _share_of(torch.zeros(1), torch.zeros(1)).of_size == 0


def test_shares_of_a_decomposition_sum_to_one():
    d = decompose(shaken(), picture(), as_parts=["mlp", "self_attention"])
    for part in d, d.margin(0, 2), decompose(shaken(), picture(1), as_parts=["mlp", "self_attention"]) - d:
        groups = part.parts()
        assert list(groups) == [
            "cross_attention",
            "common",
            "self_attention",
            "mlp",
            "query_stream",
            "biases",
        ]
        assert (
            sum(part.share(g).of_sum for g in groups)
            == pytest.approx(1)
            == sum(part.share(g).of_size for g in groups)
        )
    assert d.share("mlp", 2).of_sum == pytest.approx(
        sum(v[2] for v in d.groups["mlp"].values()).item() / d.logits[2].item()
    )
    with pytest.raises(ValueError, match="group='maps': expected 'cross_attention'"):
        d.share("maps")


def test_one_layer_of_several():
    d = decompose(shaken(decoder_layers=3), picture())
    last = d.only_layer(-1)
    assert (
        torch.equal(last.maps[0], d.maps[2])
        and len(last.groups["other_layers"]) == 8
        and last.margin().share("other_layers").of_size > 0
    )
    torch.testing.assert_close(last.residual, d.residual + d.maps[:2].sum((0, 1, 3, 4)))
    with pytest.raises(ValueError, match="layer 3: expected one from 0 to 2"):
        d.only_layer(3)


# bad input


def test_parts_that_do_not_add_up_are_refused():
    d = decompose(shaken(), picture(), class_names=list("abcde"))
    fields = vars(d) | dict(logits=d.logits + torch.tensor([0, 0, 1e-8, 0, 0]))
    with pytest.raises(ValueError, match=r"parts of 'c' do not add up: they miss its logit \S+ by 1e-08"):
        Decomposition(**fields)
    with pytest.raises(ValueError, match="do not add up"):
        Decomposition(**vars(d) | dict(maps=d.maps * torch.nan))


def test_a_model_that_does_something_else_is_refused():
    model = shaken()
    forward = model.decoder.forward
    model.decoder.forward = lambda *args: (forward(*args)[0] * 1.1, forward(*args)[1])
    with pytest.raises(ValueError, match="replay misses the model's logits"):
        decompose(model, picture())


def test_wrong_arguments():
    model = shaken()
    with pytest.raises(TypeError, match="OneBlockINTR: expected an INTR"):
        decompose(OneBlockINTR(5), picture())
    with pytest.raises(TypeError, match="float16"):
        decompose(copy.deepcopy(model).half(), picture())
    for options, says in (
        (dict(reference="median"), "reference='median'"),
        (dict(as_parts="mlp"), "as_parts='mlp': expected a list"),
        (dict(as_parts=["heads"]), "as_parts"),
        (dict(classes=[5]), "from 0 to 4"),
        (dict(classes=[2], candidates=[0, 1]), "not among the candidates"),
        (dict(candidates=[]), "candidates"),
        (dict(mask=padding(h=8)), "mask"),
    ):
        with pytest.raises(ValueError, match=says):
            decompose(model, picture(), **options)


def test_nothing_of_the_size_of_all_pairs_of_classes_is_made(monkeypatch):
    from torch.utils._python_dispatch import TorchDispatchMode

    import intr_nb.explanations.linearisation as linearisation

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for t in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(t, torch.Tensor):
                    Largest.numbers = max(Largest.numbers, t.numel())
            return out

    C, R = 300, 4
    torch.manual_seed(0)
    backbone = dict(name="patchnet", width=8, dim=16, stride=8)
    layers = dict(encoder_layers=0, decoder_layers=3, ffn_dim=32)
    model = INTR(C, backbone=backbone, dim=16, num_heads=R, **layers).eval()
    image = torch.randn(3, 32, 32)
    whole = decompose(model, image, classes=[7, 2])
    monkeypatch.setattr(linearisation, "_PORTION", C * 20)  # 20 classes at a time
    with Largest():
        parts = decompose(model, image, classes=[7, 2])
    assert Largest.numbers < R * C * C / 8
    assert torch.allclose(parts.maps, whole.maps, atol=1e-6)
    assert torch.allclose(parts.residual, whole.residual, atol=1e-5)
    sources = decompose(model, image, classes=[7, 2], as_parts=["self_attention"]).sources
    assert sources.shape == (3, 2, C)
