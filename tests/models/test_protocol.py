"""A model of your own, written against the base class alone, goes through explanations and experiments."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from intr_nb.experiments.ablation import intervene
from intr_nb.experiments.candidates import CandidateSet
from intr_nb.experiments.effects import ablation_effects
from intr_nb.explanations.explainer import explain
from intr_nb.models.base import ImageSearch
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.pooled import PooledClassifier
from intr_nb.models.search import Search


class Patches(nn.Conv2d):
    "Each 8 x 8 pixels become 16 numbers"

    num_channels = 16

    def __init__(self):
        super().__init__(3, 16, 8, 8)
        self.stride = 8  # the convolution takes it for both directions


class TwoLooks(Search):
    "Two heads; what they find is worth one number each"

    positions, num_heads = ("x",), 2

    def __init__(self, classes):
        super().__init__()
        self.looks, self.worth = nn.Parameter(torch.randn(classes, 16)), nn.Linear(16, 2, bias=False)

    def forward(self, x, classes, padding=None):
        scores = torch.einsum(
            "crd,bnrd->brcn", self.looks[classes].unflatten(1, (2, 8)), x.unflatten(2, (2, 8))
        )
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None], -torch.inf)
        alpha = scores.softmax(-1)
        return (alpha * self.worth(x).transpose(1, 2)[:, :, None]).sum((1, 3)), alpha

    def query_slices(self, head):
        return [(self.looks, (slice(None), self.head_rows(head, 16)))]


class Third(ImageSearch):
    "Neither INTR nor one block"

    num_classes, num_heads, input_proj = 4, 2, nn.Identity()
    class_queries = property(lambda self: self.eyes.looks)
    searches = property(lambda self: [self.eyes])

    def __init__(self):
        super().__init__()
        self.backbone, self.eyes = Patches(), TwoLooks(4)

    def search(self, features, padding, classes, attention):
        x = features.flatten(2).transpose(1, 2)
        logits, alpha = self.eyes(x, classes, None if padding is None else padding.flatten(1))
        return logits, [alpha] if attention else []

    def value_scores(self, features, mask=None, candidates=None):
        return self.eyes.worth(features.movedim(1, -1)).movedim(-1, 1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Third().double().eval()


IMAGE = torch.randn(3, 40, 56, generator=torch.Generator().manual_seed(1)).double()
HALF = torch.zeros(5, 7, dtype=torch.bool)
HALF[:, :3] = True


def test_it_is_explained(model):
    e = explain(model, IMAGE, class_names=list("abcd"))
    assert e.adds_up and e.has("value_scores") and e.evidence.shape == (2, 4, 5, 7)
    assert (e.evidence.sum((0, 2, 3)) + e.residual - e.logits).abs().max() < 1e-9
    mask = torch.zeros(40, 56, dtype=torch.bool)
    mask[:, 24:] = True
    padded = explain(model, IMAGE, mask=mask)
    assert padded.attention[..., 3:].abs().max() == 0 and padded.adds_up


def test_it_is_changed_and_comes_back(model):
    with torch.no_grad():
        out = model(IMAGE[None])
        with intervene(model, region=HALF):
            hidden = model(IMAGE[None], attention="last")
        with intervene(model, region=torch.ones_like(HALF), donor=-IMAGE):
            swapped = model(IMAGE[None])
        with intervene(model, queries=[1]):
            alike = model(IMAGE[None], attention="last").attention[0, :, 1]
        assert hidden.attention[..., HALF].abs().max() == 0
        assert_close(swapped.logits, model(-IMAGE[None]).logits)
        assert_close(alike, torch.full_like(alike, 1 / 35))
    assert torch.equal(model.logits_from_features(out), out.logits)


def test_what_its_search_does_not_offer_is_refused_by_name(model):
    with pytest.raises(NotImplementedError, match=r"TwoLooks lacks output_slices\(head\)"):
        with intervene(model, heads=[(0, 1)], to="zero"):
            pass


def test_a_heads_loss_is_its_evidence(model):
    f = ablation_effects(model, IMAGE, 2, 3)
    assert_close(f.accounted, f.caused, atol=1e-9, rtol=0)
    assert f.parts == [(0, 0), (0, 1)]


def test_other_candidates(model):
    candidates, every = CandidateSet(model, IMAGE), model(IMAGE[None]).logits[0].detach()
    for form in "absent", "zero":
        assert_close(candidates.forward([3, 1], form)[0], every[[3, 1]])
        assert candidates.explain([3, 1], form).candidates == [3, 1]


@pytest.mark.parametrize(
    "build, decoder, layers, queries, searches, pooled",
    [
        (
            lambda: INTR(3, "patchnet", dim=16, num_heads=2, ffn_dim=8, decoder_layers=2),
            True,
            2,
            True,
            2,
            False,
        ),
        (lambda: OneBlockINTR(3, "patchnet", dim=16, num_heads=2), False, 1, True, 1, False),
        (lambda: PooledClassifier(3, "patchnet"), False, 1, False, 0, True),
        (Third, False, 1, True, 1, False),
    ],
)
@torch.no_grad()
def test_every_model_answers_the_same_questions(build, decoder, layers, queries, searches, pooled):
    model = build().eval()
    out = model(IMAGE.float()[None])
    assert model.has_decoder == decoder and model.num_layers == layers
    assert len(model.searches) == searches and (model.pooled_linear is not None) == pooled
    assert (model.class_queries is not None) == queries
    assert not queries or len(model.class_queries) == model.num_classes
    assert (model.record(out) is not None) == decoder
    assert (model.value_scores(out.features) is not None) == (queries and not decoder)
    assert_close(model.logits_from_features(out), out.logits)
    names = [n for n, _ in model.named_parameters()]
    assert len(names) == len(set(names)) == len({*model.state_dict()} & set(names))  # nothing is stored twice


@torch.no_grad()
def test_a_record_is_what_the_layers_held():
    torch.manual_seed(0)
    model = INTR(3, "patchnet", dim=16, num_heads=2, ffn_dim=8, decoder_layers=2).double().eval()
    out = model(IMAGE[None], attention="all", candidates=[2, 0])
    held = model.record(out, [2, 0])
    assert_close(held.logits, out.logits[0], atol=1e-12, rtol=0)
    assert_close(
        torch.stack([r.attention for r in held.layers]).unflatten(-1, out.mask.shape[1:]), out.attention
    )


def test_a_model_without_search_says_what_it_lacks():
    class Nothing(ImageSearch):
        backbone, input_proj, num_classes = Patches(), nn.Identity(), 2

    with pytest.raises(NotImplementedError, match="Nothing lacks search"):
        Nothing()(IMAGE.float()[None])
