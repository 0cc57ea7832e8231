"""What must hold whatever the sizes, masks and candidate sets: found by `hypothesis`, the same in every run."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intr_nb.core.images import pad_batch
from intr_nb.explanations.explainer import explain
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR

C, STRIDE = 5, 4
BACKBONE = dict(name="patchnet", width=4, dim=8, stride=STRIDE)
SMALL = dict(backbone=BACKBONE, dim=8, num_heads=2)
FULL = dict(encoder_layers=1, decoder_layers=2, ffn_dim=8)
TRIES = settings(max_examples=12, deadline=None, derandomize=True, database=None)


def build(kind):
    torch.manual_seed(1)
    model = (
        OneBlockINTR(C, **SMALL) if kind == "one block" else INTR(C, **SMALL, **FULL, fc=kind == "INTR-FC")
    )
    for p in model.parameters():  # at the start, norms and biases hide what they do
        p.data += 0.3 * torch.randn_like(p)
    return model.double().eval()


KINDS = ("one block", "full", "INTR-FC")
MODELS = {kind: build(kind) for kind in KINDS}
kinds, seeds = st.sampled_from(KINDS), st.integers(0, 9999)
sizes = st.lists(st.tuples(st.integers(4, 40), st.integers(4, 40)), min_size=1, max_size=4)
some = st.lists(st.integers(0, C - 1), min_size=1, max_size=C, unique=True)


def pictures(shapes, seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(3, h, w, generator=g, dtype=torch.float64) for h, w in shapes]


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def permuted(model, order):
    "The same model, whose class i is class order[i] of `model`"
    other, state = copy.deepcopy(model), model.state_dict()
    per_class = {"block.queries", "query_embed.weight"} | (
        {"presence_vector.weight"} if getattr(model, "fc", 0) else set()
    )
    mine = {k: v[order] if k in per_class else v for k, v in state.items()}
    bias = "presence_vector.bias"
    if bias in mine and len(mine[bias]) == C:
        mine[bias] = mine[bias][order]
    other.load_state_dict(mine)
    return other


@TRIES
@given(kind=kinds, count=st.integers(2, 4), h=st.integers(4, 40), w=st.integers(4, 40), seed=seeds)
@torch.no_grad()
def test_batched_is_unbatched(kind, count, h, w, seed):
    model, images = MODELS[kind], torch.stack(pictures([(h, w)] * count, seed))
    together, alone = model(images, attention="last"), [model(i[None], attention="last") for i in images]
    same(together.logits, torch.cat([a.logits for a in alone]))
    same(together.attention, torch.cat([a.attention for a in alone]))


@TRIES
@given(kind=kinds, shapes=sizes, seed=seeds, junk=st.floats(-9, 9))
@torch.no_grad()
def test_padding_and_what_is_in_it_do_not_matter(kind, shapes, seed, junk):
    "A picture in a batch with larger ones says what it says among others of the same padding"
    model = MODELS[kind]
    batch = pad_batch(
        pictures([(STRIDE * (1 + h // STRIDE), STRIDE * (1 + w // STRIDE)) for h, w in shapes], seed),
        multiple=STRIDE,
    )
    out = model(batch.images, batch.mask, attention="last")
    for i in range(len(shapes)):
        again = model(batch.images[i : i + 1], batch.mask[i : i + 1], attention="last")
        same(again.logits, out.logits[i : i + 1])
    hidden = out.mask[:, None, None].expand_as(out.attention)
    assert not out.attention[hidden].any()
    total = out.attention.sum((3, 4))
    same(total, torch.ones_like(total))


@TRIES
@given(kind=kinds, extra=st.tuples(st.integers(0, 3), st.integers(0, 3)), seed=seeds)
@torch.no_grad()
def test_features_padded_are_features_unpadded(kind, extra, seed):
    "Behind the backbone, which sees over the picture's edge, more padding changes nothing"
    model, g = MODELS[kind], torch.Generator().manual_seed(seed)
    features = torch.randn(1, model.backbone.num_channels, 5, 6, generator=g, dtype=torch.float64)
    plain = model.from_features(features)
    padded = torch.nn.functional.pad(features, (0, extra[1], 0, extra[0]), value=7.0)
    mask = torch.ones(1, STRIDE * (5 + extra[0]), STRIDE * (6 + extra[1]), dtype=torch.bool)
    mask[:, : 5 * STRIDE, : 6 * STRIDE] = False
    same(model.from_features(padded, mask).logits, plain.logits)


@TRIES
@given(kind=kinds, order=st.permutations(range(C)), seed=seeds)
def test_permuting_classes_permutes_logits_and_evidence(kind, order, seed):
    model, (image,) = MODELS[kind], pictures([(16, 20)], seed)
    e, f = explain(model, image), explain(permuted(model, order), image)
    same(f.logits, e.logits[order])
    same(f.evidence, e.evidence[:, order])
    same(f.attention, e.attention[:, order])


@TRIES
@given(kind=kinds, classes=some, seed=seeds)
def test_classes_kept_are_a_part_of_all(kind, classes, seed):
    "Whose maps are kept changes nothing: all still compete"
    model, (image,) = MODELS[kind], pictures([(16, 20)], seed)
    e, f = explain(model, image), explain(model, image, classes)
    same(f.logits, e.logits[f.classes])
    same(f.evidence, e.evidence[:, f.classes])
    same(f.candidate_logits, e.candidate_logits)


@TRIES
@given(kind=kinds, candidates=some, seed=seeds)
def test_candidates_in_any_order_and_one_by_one(kind, candidates, seed):
    """In one block nobody hears of the others, so a class says alone what it says in company; in a full decoder
    candidates look at each other, and only their order does not matter"""
    model, (image,) = MODELS[kind], pictures([(16, 20)], seed)
    with torch.no_grad():
        out = model(image[None], candidates=candidates).logits[0]
        backwards = model(image[None], candidates=candidates[::-1]).logits[0]
        every = model(image[None]).logits[0]
    same(backwards.flip(0), out)
    if kind == "one block":
        same(out, every[candidates])
    e = explain(model, image, candidates=candidates)
    same(e.evidence.sum((0, 2, 3)) + e.residual, e.logits)


@pytest.mark.parametrize("kind", KINDS)
def test_the_full_decoder_hears_company(kind):
    "What the last property leaves open is not void: there, company does count"
    (image,) = pictures([(16, 20)], 0)
    with torch.no_grad():
        alone, every = MODELS[kind](image[None], candidates=[0, 1]).logits, MODELS[kind](image[None]).logits
    assert (kind == "one block") == torch.allclose(alone, every[:, :2], atol=1e-9)
