"""Prompt-CAM: timm's transformer with prompts in its row; exact parts, files, what it can't be built from."""

import copy

import pytest
import torch
from torch.testing import assert_close

from intr_nb.browsers.candidate_browser import CandidateBrowser
from intr_nb.browsers.evidence_browser import EvidenceBrowser
from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.experiments.ablation import intervene
from intr_nb.experiments.candidates import CandidateSet
from intr_nb.experiments.effects import removal_order
from intr_nb.explanations.decomposer import decompose
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.methods import READINGS, methods_for
from intr_nb.models.checkpoints import load, save
from intr_nb.models.prompt_cam import PromptCAM
from intr_nb.models.prompt_files import load_prompt_cam
from intr_nb.training.features import cache_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

SIZES = dict(img_size=48, embed_dim=32, num_heads=4, depth=3)
VIT = dict(name="timm/vit_tiny_patch16_224", **SIZES)


def build(prompted=1, dtype=torch.float64, **options):
    torch.manual_seed(0)
    model = PromptCAM(5, VIT | options, prompted).to(dtype).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.05))
        model.last.block.attn.qkv.weight.mul_(4)
    return model


def picture(h=48, w=64):
    return torch.randn(3, h, w, generator=torch.Generator().manual_seed(1)).double()


# -- the sum --


@pytest.mark.parametrize(
    "prompted, options",
    [
        (1, {}),
        (3, dict(init_values=0.3)),
        (2, dict(reg_tokens=2)),
        (1, dict(class_token=False, global_pool="avg", fc_norm=False, qkv_bias=False, proj_bias=False)),
    ],
)
def test_parts_add_up_exactly(prompted, options):
    model, mask = build(prompted, **options), torch.zeros(48, 64, dtype=torch.bool)
    mask[:, 48:] = True
    for how in (dict(), dict(mask=mask), dict(candidates=[4, 0, 2]), dict(reference="raw")):
        e = explain(model, picture(), **how)
        gaps = e.evidence.sum((0, 2, 3)) + e.residual - e.logits
        assert gaps.abs().max() < 1e-9 and e.evidence.abs().sum() > 1e-3
        assert e.attention.sum((2, 3)).max() < 1  # the rest is with prompts and tokens without a place
    assert e.residual.std() > 0


def test_groups_have_names_and_a_margin_is_their_difference():
    d = decompose(build(), picture(), [1, 3])
    assert set(d.groups) == {"biases", "prompt", "common", "other_prompts", "class_token"}
    parts = d.parts(1)["cross_attention"]
    assert list(parts) == [f"last block.attn.head{r}" for r in range(4)]
    m = d.margin(1, 3)
    assert_close(m.maps.sum() + m.residual, d.logits[[0]] - d.logits[[1]], atol=1e-9, rtol=0)
    with pytest.raises(ValueError, match="as_parts=.*'mlp'.*nothing"):
        decompose(build(), picture(), as_parts=["mlp"])


def test_evidence_is_the_slope_of_the_held_model():
    "norms and gates held, autograd asks for each token's value: times the value that is what it gave"
    model = build()
    e = explain(model, picture(), reference="raw")
    held, block, last = model.record(model(picture()[None])), model.last.block, model.last

    def hold(norm, x):
        scale = (x.var(-1, unbiased=False, keepdim=True) + norm.eps).rsqrt().detach()
        return (x - x.mean(-1, keepdim=True)) * scale * norm.weight + norm.bias

    v = (block.norm1(held.tokens) @ block.attn.qkv.weight.chunk(3)[2].T)[0].detach().requires_grad_()
    found = torch.einsum("rct,trd->crd", held.attention[0].detach(), v.unflatten(1, (4, 8))).flatten(1)
    middle = held.tokens[0, :5].detach() + block.attn.proj(found + block.attn.qkv.bias.chunk(3)[2])
    hidden = block.mlp.fc1(hold(block.norm2, middle))
    outputs = middle + block.mlp.fc2(hidden * (block.mlp.act(hidden) / hidden).detach())
    logits = last.head(hold(last.norm, outputs))[:, 0]
    assert_close(logits.detach(), e.logits)
    for c in (0, 3):
        (slope,) = torch.autograd.grad(logits[c], v, retain_graph=True)
        given = (slope * v).detach().unflatten(1, (4, 8)).sum(2)[6:]  # behind 5 prompts and [CLS]
        assert_close(e.evidence[:, c].flatten(1), given.T)


# -- what it shares with the other models --


def test_experiments_and_browsers_have_what_they_ask_for(tmp_path):
    model = build()
    with torch.no_grad():
        out = model(picture()[None], attention="all")
        region = torch.zeros(out.mask.shape[1:], dtype=torch.bool)
        region[0] = True
        with intervene(model, region=region):
            hidden = model(picture()[None], attention="last")
        assert hidden.attention[..., 0, :].abs().max() == 0
        with intervene(model, region=torch.ones_like(region), donor=-picture()):
            assert_close(model(picture()[None]).logits, model(-picture()[None]).logits)
        with intervene(model, heads=[(0, 1)], to="zero"):
            assert not torch.allclose(model(picture()[None]).logits, out.logits)
        assert_close(model(picture()[None]).logits, out.logits)
        assert_close(model.logits_from_features(out), out.logits)
    candidates = CandidateSet(model, picture())
    assert_close(candidates.forward([3, 1])[0], model(picture()[None], candidates=[3, 1]).logits[0].detach())
    assert candidates.explain([3, 1], "zero").candidates == [3, 1]
    assert {*READINGS, "Grad-CAM", "Finer-CAM", "LIME"} <= set(methods_for(model))
    assert sorted(removal_order(model, picture(), 2)) == [(0, r) for r in range(4)]
    names = [n for n, _ in model.named_parameters()]
    assert len(names) == len(set(names)) == len({*model.state_dict()} & set(names))  # nothing is stored twice


@pytest.mark.parametrize("browser", [HeadBrowser, EvidenceBrowser, CandidateBrowser])
def test_every_browser_takes_it(browser):
    figure = browser(
        build(dtype=torch.float32), picture().float()[None], class_names=list("abcde")
    ).to_figure()
    assert len(figure.data) > 1


@pytest.mark.parametrize("prompted", [1, 2])
def test_saved_and_loaded_it_is_the_same(tmp_path, prompted):
    model = build(prompted, torch.float32)
    save(model, tmp_path / "m", class_names=list("abcde"))
    again, x = load(tmp_path / "m"), picture().float()[None]
    assert torch.equal(again(x).logits, model(x).logits) and again.class_names == list("abcde")
    assert (
        not any(p.requires_grad for p in again.last.block.parameters()) and again.last.prompts.requires_grad
    )


@pytest.mark.filterwarnings("ignore:the backbone is frozen")
def test_only_prompts_and_head_learn_from_cached_features(tmp_path):
    torch.manual_seed(0)
    model = PromptCAM(2, VIT)
    x = torch.randn(8, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    pairs = [(a + 2 * (i % 2), i % 2) for i, a in enumerate(x)]  # dark and bright
    before, cached = (
        copy.deepcopy(model.state_dict()),
        cache_features(model.backbone, (pairs, pairs), tmp_path, views=1),
    )
    history = fit(model, cached, Recipe(epochs=40, lr=3e-2, batch_size=8), device="cpu", progress=False)
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"last.prompts", "last.head.weight", "last.head.bias"}
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] - 0.1
    assert history.rows[-1]["valid_accuracy"] > 0.9


# -- the authors' files --


def theirs(prompted=3, depth=3):
    "A made-up file: every tensor by the authors' name, and a stack of prompts"
    torch.manual_seed(0)
    state = {"cls_token": (1, 1, 64), "pos_embed": (1, 10, 64)}
    state |= {"patch_embed.proj.weight": (64, 3, 16, 16), "patch_embed.proj.bias": (64,)}
    state |= {"vpt.prompt_embeddings": (prompted, 5, 64)}
    layers = {"norm1": (64,), "attn.qkv": (192, 64), "attn.proj": (64, 64), "norm2": (64,)}
    layers |= {"mlp.fc1": (256, 64), "mlp.fc2": (64, 256)}
    for i in range(depth):
        for k, shape in layers.items():
            state |= {f"blocks.{i}.{k}.weight": shape, f"blocks.{i}.{k}.bias": shape[:1]}
    state |= {"norm.weight": (64,), "norm.bias": (64,), "head.weight": (1, 64), "head.bias": (1,)}
    return {k: 0.3 * torch.randn(shape) for k, shape in state.items()}


@pytest.mark.parametrize("prompted", [3, 1])
def test_the_authors_names_are_understood(tmp_path, prompted):
    state, x = theirs(prompted), picture(48, 48).float()
    torch.save(dict(model_state_dict=state), tmp_path / "model.pt")
    model = load_prompt_cam(tmp_path / "model.pt", num_heads=2)
    assert model.num_classes == 5 and model.num_heads == 2 and model.config["prompted"] == prompted
    assert torch.equal(model.last.prompts, state["vpt.prompt_embeddings"][-1])
    # their forward pass, written with timm's network and torch's attention
    import timm

    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=48, embed_dim=64, num_heads=2, depth=3, num_classes=1
    )
    vit.load_state_dict({k: v for k, v in state.items() if not k.startswith("vpt")})
    vit.eval()
    rgb = (
        x * torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        + torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    )
    with torch.no_grad():
        tokens = vit._pos_embed(vit.patch_embed(((rgb - 0.5) / 0.5)[None]))
        for i, block in enumerate(vit.blocks):
            at = i - (3 - prompted)
            row = tokens if at < 0 else torch.cat([state["vpt.prompt_embeddings"][at][None], tokens], 1)
            row = block(row)
            tokens = row if at < 0 else row[:, 5:]
        expected = vit.head(vit.norm(row[:, :5]))[..., 0]
        assert_close(model(x[None]).logits, expected, atol=1e-4, rtol=1e-4)


def test_another_models_file_is_refused_by_name(tmp_path):
    state = theirs()
    with pytest.raises(ValueError, match="no Prompt-CAM.*lacks vpt.prompt_embeddings, head.weight"):
        load_prompt_cam({k: v for k, v in state.items() if not k.startswith(("vpt", "head"))})
    with pytest.raises(ValueError, match="read by `load`"):
        load_prompt_cam(build().state_dict())
    state["blocks.1.attn.qkv.weight"] = torch.zeros(192, 63)
    with pytest.raises(ValueError, match="does not fit this PromptCAM.*blocks.1.attn.qkv.weight"):
        load_prompt_cam(state)


# -- what can't be --


@pytest.mark.parametrize(
    "backbone, says",
    [
        ("resnet18", "backbone='resnet18': prompts need a plain vision transformer"),
        (dict(name="timm/swin_tiny_patch4_window7_224", img_size=64, window_size=2), "need a plain vision"),
        (VIT | dict(qk_norm=True), "expected no attn.q_norm, no attn.k_norm"),
        (VIT | dict(global_pool="avg"), "global_pool='token'"),
        (VIT | dict(stage=1), "leave stage out"),
    ],
)
def test_a_network_without_the_parts_is_refused(backbone, says):
    with torch.device("meta"), pytest.raises(TypeError, match=says):
        PromptCAM(5, backbone)


def test_sizes_are_checked():
    for wrong in (0, 4, 1.5):
        with pytest.raises(ValueError, match=f"prompted={wrong}: expected a whole number, from 1 to 3"):
            PromptCAM(5, VIT, prompted=wrong)
    with pytest.raises(ValueError, match="num_classes=1"):
        PromptCAM(1, VIT)
    pairs = [(torch.zeros(3, 48, 48), 6)] * 4
    pairs = type("D", (list,), dict(labels=[6] * 4))(pairs)
    with pytest.raises(ValueError, match="the model has 5 classes, the data 7"):
        fit(build(dtype=torch.float32), (pairs, None), Recipe(epochs=1), progress=False)
    with pytest.raises(ValueError, match="from this model's backbone"):
        build().from_features(torch.zeros(1, 32, 3, 3).double())
