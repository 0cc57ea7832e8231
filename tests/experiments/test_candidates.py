"""Query restriction: the same answers as the whole model, two forms, bad input."""

import copy

import pytest
import torch

from intr_nb.data.birds import Aviary
from intr_nb.experiments.ablation import intervene
from intr_nb.experiments.candidates import CandidateSet, _zero_queries, cache_features_once
from intr_nb.experiments.shrinking import candidate_sets, pair_pointing, paired_difference, shrink_candidates
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR

SIZES = dict(backbone=dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=4)


def models():
    torch.manual_seed(0)
    full = dict(encoder_layers=1, decoder_layers=2, ffn_dim=32)
    made = dict(
        one=OneBlockINTR(16, **SIZES),
        fc=OneBlockINTR(16, **SIZES, fc=True),
        full=INTR(16, **SIZES, **full),
        pre=INTR(16, **SIZES, **full, pre_norm=True),
        full_fc=INTR(16, **SIZES, **full, fc=True),
    )
    for m in made.values():
        m.double().eval()
        with torch.no_grad():
            for p in m.parameters():
                p.add_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.1))
            (m.block.queries if isinstance(m, OneBlockINTR) else m.query_embed.weight).mul_(4)
    return made


MODELS = models()
ALL, FULL = list(MODELS), ["full", "pre", "full_fc"]
IMAGE = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
MASK = torch.zeros(64, 64, dtype=torch.bool)
MASK[:, 48:] = True


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
def test_reading_once_changes_no_answer(name, mask):
    model, picked = MODELS[name], [4, 1, 9]
    before, candidate_set = copy.deepcopy(model.state_dict()), CandidateSet(model, IMAGE, mask)
    batch = None if mask is None else mask[None]
    with torch.no_grad():
        out = model(IMAGE[None], batch, "last", picked)
        with intervene(model, queries=[c for c in range(16) if c not in picked]):
            zeroed = model(IMAGE[None], batch, "all")
    logits, alpha = candidate_set.forward(picked, attention="last")
    close(logits, out.logits[0]), close(alpha, out.attention[0])
    logits, alpha = candidate_set.forward(picked, "zero", "all")
    close(logits, zeroed.logits[0, picked]), close(alpha, zeroed.attention[:, 0, :, picked])
    for form, expected in ("absent", out.logits[0]), ("zero", zeroed.logits[0, picked]):
        e = candidate_set.explain(picked, form)
        close(e.logits, expected)
        assert e.candidates == e.classes == picked and e.adds_up
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_backbone_and_encoder_run_once():
    model, count = copy.deepcopy(MODELS["full"]), []
    (
        model.backbone.register_forward_hook(lambda *a: count.append("backbone")),
        model.encoder.register_forward_hook(lambda *a: count.append("encoder")),
    )
    candidate_set = CandidateSet(model, IMAGE)
    ran = len(count)
    for c in [1, 2], [3, 4, 5]:
        candidate_set.forward(c), candidate_set.forward(c, "zero"), candidate_set.explain(c)
    assert len(count) == ran


def test_training_mode_is_left_as_it_was():
    model = copy.deepcopy(MODELS["full"]).train()
    logits = CandidateSet(model, IMAGE).forward([1, 2])[0]
    close(logits, CandidateSet(MODELS["full"], IMAGE).forward([1, 2])[0])
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize("name", ["one", "fc"])
def test_in_one_block_other_candidates_change_nothing(name):
    candidate_set = CandidateSet(MODELS[name], IMAGE)
    everybody = candidate_set.explain()
    for form in "absent", "zero":
        e = candidate_set.explain([2, 7], form)
        close(e.logits, everybody.logits[[2, 7]]), close(e.evidence, everybody.evidence[:, [2, 7]])
        assert e.probability(2) > everybody.probability(2)


@pytest.mark.parametrize("name", FULL)
def test_in_a_full_decoder_it_does_and_the_forms_differ(name):
    candidate_set = CandidateSet(MODELS[name], IMAGE)
    everybody, absent, reference = (
        candidate_set.forward()[0][[2, 7]],
        candidate_set.forward([2, 7])[0],
        candidate_set.forward([2, 7], "zero")[0],
    )
    for a, b in (everybody, absent), (everybody, reference), (absent, reference):
        assert (a - b).abs().max() > 1e-4


def test_candidate_sets_shrink_to_the_pair():
    e = CandidateSet(MODELS["full"], IMAGE).explain()
    sets = candidate_sets(e, 3, 5)
    assert [len(s) for s in sets] == [16, 8, 4, 2] and sets[-1] == [3, 5]
    assert all(set(b) < set(a) for a, b in zip(sets, sets[1:]))
    residual = [c for c in range(16) if c not in (3, 5)]
    assert sets[2][2:] == sorted(residual, key=lambda c: -e.logits[c])[:2]
    assert [len(s) for s in candidate_sets(e, 3, 5, [9, 2])] == [9, 2]


def test_shrink_reports_what_explanations_say():
    s = shrink_candidates(MODELS["full"], IMAGE, 3, 5)
    rows = s.rows()
    assert [r["candidates"] for r in rows] == [16, 8, 4, 2]
    assert rows[0]["alpha_kept"] == pytest.approx(1) and rows[0]["map_kept"] == pytest.approx(1)
    pair = CandidateSet(MODELS["full"], IMAGE).forward([3, 5])[0]
    assert rows[-1]["margin"] == pytest.approx((pair[0] - pair[1]).item(), abs=1e-9)
    still = shrink_candidates(MODELS["one"], IMAGE, 3, 5).rows()
    assert len({round(r["margin"], 9) for r in still}) == 1 and all(
        r["map_kept"] == pytest.approx(1) for r in still
    )
    named = shrink_candidates(MODELS["one"], IMAGE, class_names=[f"<i>{k}" for k in range(16)])
    assert "<i>" not in named._repr_html_()


@pytest.mark.parametrize(
    "go, words",
    [
        (lambda c: c.forward([]), "empty"),
        (lambda c: c.forward([16]), "no class 16"),
        (lambda c: c.forward([1, 1]), "twice"),
        (lambda c: c.forward(["heron"]), "no class 'heron'"),
        (lambda c: c.forward([1, 2], "gone"), "form='gone'"),
        (lambda c: c.explain([1, 2], "gone"), "form='gone'"),
        (lambda c: shrink_candidates(c, a=3, b=3), "own runner-up"),
        (lambda c: shrink_candidates(c, a=3, b=5, sizes=[1]), "from 2 to 16"),
        (lambda c: shrink_candidates(c, a=3, b=5, sizes=[17]), "from 2 to 16"),
        (lambda c: _zero_queries(MODELS["one"], []), "at least one"),
        (lambda c: pair_pointing(MODELS["one"], Aviary(4, species=4)), "16 classes and the aviary 4"),
    ],
)
def test_bad_input(go, words):
    with pytest.raises(ValueError, match=words):
        go(CandidateSet(MODELS["full"], IMAGE))


def test_a_model_without_queries():
    with pytest.raises(TypeError, match="Conv2d"):
        cache_features_once(torch.nn.Conv2d(3, 3, 1), IMAGE)


def test_paired():
    mean, two = paired_difference([1, 2, 3], [0, 0, 0])
    assert mean == 2 and two == pytest.approx(2 / 3**0.5)
