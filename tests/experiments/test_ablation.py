"""Interventions: known answers, nesting, restoring, donors, bad input; accounted against caused effects."""

import copy

import pytest
import torch

from intr_nb.evaluation.statistics import rank_correlation
from intr_nb.experiments.ablation import intervene
from intr_nb.experiments.effects import ablation_effects
from intr_nb.explanations.explainer import explain
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR


def models():
    torch.manual_seed(0)
    sizes = dict(backbone=dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=4)
    full = dict(encoder_layers=1, decoder_layers=2, ffn_dim=32)
    made = dict(
        one=OneBlockINTR(5, **sizes),
        fc=OneBlockINTR(5, **sizes, fc=True),
        bounded=OneBlockINTR(5, **sizes, score_bound=0.3),
        full=INTR(5, **sizes, **full),
        pre=INTR(5, **sizes, **full, pre_norm=True),
        full_fc=INTR(5, **sizes, **full, fc=True),
    )
    for model in made.values():
        model.double().eval()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.1))
            (model.block.queries if isinstance(model, OneBlockINTR) else model.query_embed.weight).mul_(4)
    return made


MODELS = models()
ONE, FULL = ["one", "fc", "bounded"], ["full", "pre", "full_fc"]
HALF = torch.zeros(8, 8, dtype=torch.bool)
HALF[:, :4] = True


def picture(seed=0, h=64, w=64):
    return torch.randn(3, h, w, generator=torch.Generator().manual_seed(seed)).double()


@torch.no_grad()
def run(model, x=None, **kw):
    return model((picture() if x is None else x)[None], **kw)


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def everything(model):
    return copy.deepcopy(model.state_dict())


def same(model, before):
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    return True


# known answers


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("to, reference", [("mean", "mean"), ("zero", "raw")])
def test_a_head_of_one_block_gives_exactly_its_evidence(name, to, reference):
    model, e = MODELS[name], explain(MODELS[name], picture(), reference=reference)
    for heads in [0], [3], [1, 2]:
        with intervene(model, heads=[(0, r) for r in heads], to=to):
            changed = run(model).logits[0]
        close(e.logits - changed, e.evidence[heads].sum((0, 2, 3)))
        assert (e.logits - changed).abs().max() > 1e-3


@pytest.mark.parametrize("name", FULL)
def test_the_last_value_of_a_full_decoder_too(name):
    "Layer norms frozen are an approximation of what happens; with nothing after the find, it is exact"
    model = copy.deepcopy(MODELS[name])
    with intervene(model, heads=[(0, 1)]):
        alpha = run(model, attention="all").attention
    assert (alpha[0, 0, 1] - 1 / 64).abs().max() < 1e-12 and (alpha[0, 0, 2] - 1 / 64).abs().max() > 1e-3
    model.decoder.norm, model.decoder.layers[1].norm2, model.decoder.layers[1].norm3 = (
        torch.nn.Identity() for _ in range(3)
    )
    with torch.no_grad():
        for p in model.decoder.layers[1].linear2.parameters():
            p.zero_()
        a, out = model.decoder.layers[1].multihead_attn, run(model, attention="last")
        v = (out.features.flatten(2)[0].T @ a.in_proj_weight[64:].T).unflatten(1, (4, 8))
        u = (model.presence_vector.weight @ a.out_proj.weight).unflatten(1, (4, 8))
        s = torch.einsum("nrd,crd->rcn", v - v.mean(0), u)
    for r in range(4):
        with intervene(model, heads=[(1, r)]):
            lost = (out.logits - run(model).logits)[0]
        close(lost, (s[r] * out.attention[0, r].flatten(1)).sum(1))


@pytest.mark.parametrize("name", MODELS)
def test_hidden_places_get_no_attention(name):
    model = MODELS[name]
    with intervene(model, region=HALF):
        out = run(model, attention="all")
    assert out.attention[..., HALF].abs().max() == 0 and (out.logits - run(model).logits).abs().max() > 1e-4
    close(out.attention.sum((-2, -1)), torch.ones_like(out.attention[..., 0, 0]))


def test_hiding_a_place_of_one_block():
    model, e = MODELS["one"], explain(MODELS["one"], picture(), reference="raw")
    region = torch.zeros(8, 8, dtype=torch.bool)
    region[2, 5] = True
    a, s, found = e.attention[:, :, 2, 5], e.value_scores[:, 2, 5], e.evidence.sum((2, 3))
    with intervene(model, region=region):
        lost = e.logits - run(model).logits[0]
    close(lost, (a / (1 - a) * (s[:, None] - found)).sum(0))


@pytest.mark.parametrize("name", MODELS)
def test_hidden_and_padded_are_the_same(name):
    "A region that is padding already changes nothing; both masks hold together"
    model, mask = MODELS[name], torch.zeros(64, 64, dtype=torch.bool)
    mask[:, :32] = True
    padded = run(model, mask=mask[None], attention="all")
    with intervene(model, region=HALF):
        close(run(model, mask=mask[None]).logits, padded.logits)
    with intervene(model, region=HALF.T):
        both = run(model, mask=mask[None], attention="all").attention
    assert both[..., HALF | HALF.T].abs().max() == 0
    with intervene(model, region=~HALF), pytest.raises(ValueError, match="hides every position"):
        run(model, mask=mask[None])


@pytest.mark.parametrize("name", MODELS)
def test_a_query_becomes_the_zero_vector(name):
    model, changed = MODELS[name], copy.deepcopy(MODELS[name])
    with torch.no_grad():
        (changed.block.queries if name in ONE else changed.query_embed.weight)[[1, 3]] = 0
    with intervene(model, queries=[1, 3]):
        close(run(model).logits, run(changed).logits)
    with intervene(model, queries=[1, 3]):
        close(run(model, candidates=[3, 0]).logits, run(changed, candidates=[3, 0]).logits)
    others = (run(model).logits - run(changed).logits)[0, [0, 2, 4]].abs().max()
    assert others == 0 if name in ONE else others > 1e-6  # only a full decoder's classes hear of each other


# donors


@pytest.mark.parametrize("name", MODELS)
def test_everything_from_the_donor_is_the_donor(name):
    model, L = MODELS[name], 1 if name in ONE else 2
    theirs, mine = run(model, picture(1)).logits, run(model).logits
    with intervene(model, heads=[(l, r) for l in range(L) for r in range(4)], donor=picture(1)):
        close(run(model).logits, theirs)
    with intervene(model, region=torch.ones(8, 8, dtype=torch.bool), donor=picture(1)):
        close(run(model).logits, theirs)
    with intervene(model, heads=[(0, 2)], donor=picture(1)):
        some = run(model).logits
    assert (some - theirs).abs().max() > 1e-4 and (some - mine).abs().max() > 1e-4
    with intervene(model, heads=[(0, 2)], region=HALF, donor=picture()):
        close(run(model).logits, mine)  # from itself: nothing
    with intervene(model, region=HALF, donor=picture(1)):
        some = run(model).logits
    assert (some - theirs).abs().max() > 1e-4 and (some - mine).abs().max() > 1e-4


@pytest.mark.parametrize("name", FULL)
def test_finds_need_the_same_candidates_but_not_the_same_size(name):
    with intervene(MODELS[name], heads=[(1, 0)], donor=picture(1, h=32)):
        changed = run(MODELS[name]).logits
        with pytest.raises(ValueError, match="all classes as candidates"):
            run(MODELS[name], candidates=[0, 1])
    assert (changed - run(MODELS[name]).logits).abs().max() > 1e-5


def test_one_head_from_the_donor_brings_the_donors_evidence():
    model = MODELS["one"]
    mine, theirs = (explain(model, picture(s), reference="raw").evidence.sum((2, 3)) for s in (0, 1))
    with intervene(model, heads=[(0, 2)], donor=picture(1)):
        changed = run(model).logits[0]
    close(changed - run(model).logits[0], theirs[2] - mine[2])


# the model afterwards


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_as_before(name):
    model = MODELS[name].train()
    before, logits = everything(model), run(model.eval()).logits
    for change in (
        dict(heads=[(0, 1), (0, 1)]),
        dict(heads=[(0, 1)], to="zero"),
        dict(region=HALF),
        dict(queries=[0]),
        dict(heads=[(0, 1)], region=HALF, donor=picture(1)),
    ):
        with pytest.raises(ZeroDivisionError), intervene(model, **change):
            assert (run(model).logits - logits).abs().max() > 1e-6
            raise ZeroDivisionError
        assert same(model, before)
    assert torch.equal(run(model).logits, logits)


@pytest.mark.parametrize("name", MODELS)
def test_a_bad_argument_leaves_no_trace(name):
    model, before = MODELS[name], everything(MODELS[name])
    for change, says in (
        (dict(heads=[(0, 4)]), r"heads: \(0, 4\) is none"),
        (dict(heads=[(9, 0)]), "layer from 0 to"),
        (dict(heads=[1]), r"heads: 1 is none.*pairs \(layer, head\)"),
        (dict(), "nothing to change"),
        (dict(heads=[(0, 0)], to="noise"), "to='noise'"),
        (dict(queries=[5]), "from 0 to 4"),
        (dict(region=HALF.float()), "bool tensor"),
        (dict(region="left"), "got str"),
        (dict(queries=[0], donor=picture()), "a donor needs"),
        (dict(heads=[(0, 0)], donor=picture() * torch.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=says):
            with intervene(model, **change):
                raise AssertionError("entered")
        assert same(model, before)
    for change, says in (
        (dict(region=HALF[:4]), r"\(4, 8\), the feature map 64 positions"),
        (dict(heads=[(0, 0)], region=HALF, donor=picture(h=32)), "donor of the same size"),
        (dict(region=HALF, donor=picture(h=32)), "donor's positions have shape"),
    ):
        with intervene(model, **change), pytest.raises(ValueError, match=says):
            run(model)
        assert same(model, before)
    with (
        pytest.raises(TypeError, match="Linear: expected an INTR"),
        intervene(torch.nn.Linear(2, 2), heads=[(0, 0)]),
    ):
        pass


@pytest.mark.parametrize("name", MODELS)
def test_nested_is_together_in_any_order(name):
    model, before = MODELS[name], everything(MODELS[name])
    with intervene(model, heads=[(0, 1)], region=HALF, queries=[2]):
        together = run(model).logits
    changes = [dict(heads=[(0, 1)]), dict(region=HALF), dict(queries=[2])]
    for order in (0, 1, 2), (2, 1, 0), (1, 0, 2):
        a, b, c = (changes[k] for k in order)
        with intervene(model, **a), intervene(model, **b), intervene(model, **c):
            close(run(model).logits, together)
    with intervene(model, heads=[(0, 1)]):
        once = run(model).logits
        with intervene(model, heads=[(0, 1)]):
            assert torch.equal(run(model).logits, once)
        assert torch.equal(run(model).logits, once)
    assert same(model, before)


# deciding again; accounted and caused


@pytest.mark.parametrize("name", MODELS)
def test_decide_again(name):
    model, mask = MODELS[name], torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[..., 40:] = True
    for kw in dict(), dict(mask=mask), dict(mask=mask, candidates=[3, 1]):
        out = run(model, **kw)
        close(model.logits_from_features(out, kw.get("candidates")), out.logits)
        with intervene(model, heads=[(0, 1)], region=HALF.T):
            close(model.logits_from_features(out, kw.get("candidates")), run(model, **kw).logits)


def test_explanations_under_an_intervention_add_up():
    for name in ("one", "full"):
        for change in (
            dict(heads=[(0, 1)]),
            dict(region=HALF),
            dict(heads=[(0, 1)], to="zero"),
            dict(queries=[2]),
        ):
            with intervene(MODELS[name], **change):
                e = explain(MODELS[name], picture())
            if "region" in change:
                assert e.evidence[..., HALF].abs().max() == 0
            if change.get("heads"):
                assert (
                    e.evidence[1].sum((1, 2)).abs().max() < 1e-9
                )  # the head now says nothing about any place


@pytest.mark.parametrize(
    "x, y, r",
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1),
        ([1, 2, 3, 4], [9, 3, 2, -5], -1),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),
        ([1, 2, 2, 3], [1, 2, 3, 4], 0.9486832980505138),
    ],
)
def test_rank_correlation(x, y, r):
    assert rank_correlation(torch.tensor(x).float(), torch.tensor(y).float()) == pytest.approx(r)


def test_effects():
    one, full = MODELS["one"], MODELS["full"]
    f = ablation_effects(one, picture(), 2, 4)
    assert f.correlation == pytest.approx(1) and f.parts == [(0, r) for r in range(4)]
    close(f.accounted, f.caused)
    g = ablation_effects(full, picture(), 2, 4, class_names=list("abcde"))
    assert (
        len(g.parts) == 8
        and g.parts[5] == (1, 1)
        and g.of == "c over e"
        and -1 <= g.correlation <= 1
        and "rank correlation" in repr(g)
    )
    with intervene(full, heads=[(1, 1)]):
        logits = run(full).logits[0]
    close(g.caused[5], (run(full).logits[0, 2] - run(full).logits[0, 4]) - (logits[2] - logits[4]))
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[:, 32:] = True
    p = ablation_effects(full, picture(), 2, parts="positions", block=4, mask=mask, candidates=[1, 2])
    assert p.parts == [(0, 0), (1, 0)] and p.of == "class 2"
    e = explain(full, picture(), mask=mask, candidates=[1, 2])
    close(p.accounted.sum(), e.evidence[:, e.at(2)].sum())
    with pytest.raises(ValueError, match="parts='pixels'"):
        ablation_effects(one, picture(), parts="pixels")
