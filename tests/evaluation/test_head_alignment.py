"""Heads and attributes: known answers, hidden parts, shuffles, bad input."""

import numpy as np
import pytest
import torch

from intr_nb.data.birds import Aviary
from intr_nb.evaluation.head_alignment import (
    HeadAlignment,
    _measures,
    align_heads,
    attention_densities,
    part_examples,
    shuffle_heads,
)
from intr_nb.explanations.explainer import explain
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.intr import INTR

MODEL, BIRDS = pretrained("aviary16"), Aviary(16, seed=2)
MASKS = dict(left=np.zeros((16, 16), bool), dot=np.zeros((16, 16), bool))
MASKS["left"][:, :8], MASKS["dot"][0, 15] = True, True


def steady(n=20, R=3, A=4, seed=0):
    "Heads that keep an attribute each, with noise"
    noise = torch.rand(n, R, A, generator=torch.Generator().manual_seed(seed))
    noise[:, range(R), range(R)] += 2
    return HeadAlignment(
        noise / noise.sum(2, keepdim=True),
        [f"a{k}" for k in range(A)],
        [f"h{k}" for k in range(R)],
        [k % 2 for k in range(n)],
    )


def test_density_does_not_favour_large_parts():
    even = attention_densities(torch.ones(2, 4, 4), MASKS)
    torch.testing.assert_close(even, torch.full((2, 2), 0.5).double())
    spot = torch.zeros(1, 4, 4)
    spot[0, 0, 3] = 1
    assert attention_densities(spot, MASKS)[0].tolist() == [0, 1]


def test_what_is_hidden_is_nan_and_the_rest_still_sums_to_one():
    d = attention_densities(torch.rand(3, 4, 4), MASKS | dict(gone=np.zeros((16, 16), bool)))
    assert d[:, 2].isnan().all()
    torch.testing.assert_close(d[:, :2].sum(1), torch.ones(3).double())


def test_measures_by_hand():
    s = steady()
    assert s.assign() == {"h0": "a0", "h1": "a1", "h2": "a2"}
    m = s.numbers()
    assert m["consistency"] == 1 and m["favourite"] == 1
    assert m["purity"] == pytest.approx(s.matrix.diagonal().mean().item())
    half = torch.cat([s.shares[:10], s.shares[:10].flip(1)])  # h0 and h2 change places in half of the images
    assert _measures(half)["consistency"] == pytest.approx(2 / 3)
    assert _measures(half, [0] * 10 + [1] * 10) == pytest.approx(_measures(s.shares[:10]))


def test_missing_parts_count_neither_way():
    s = steady().shares.clone()
    s[:7, 1, 1] = torch.nan
    assert _measures(s)["consistency"] == 1


def test_shuffles_are_seeded_and_tell_steady_from_fickle():
    c = shuffle_heads(steady(), 40, seed=1)
    assert (
        shuffle_heads(steady(), 40, seed=1).shuffled
        == c.shuffled
        != shuffle_heads(steady(), 40, seed=2).shuffled
    )
    for _, v, mean, low, high, p in c.rows():
        assert low <= mean <= high < v and p == pytest.approx(1 / 41)
    g = torch.Generator().manual_seed(0)
    fickle = HeadAlignment(torch.rand(60, 3, 4, generator=g).softmax(2), list("abcd"), list("xyz"))
    assert all(p > 0.05 for *_, p in shuffle_heads(fickle, 40).rows())


def test_shuffles_keep_what_is_in_an_image():
    s = steady(n=1)
    c = shuffle_heads(s, 20)  # one image: heads have no other to be steady in
    assert all(v == pytest.approx(s.numbers()[k]) for k, values in c.shuffled.items() for v in values)


def test_a_study_is_of_the_class_asked_for():
    bird = BIRDS.bird(3)
    for c in 3, None, 5:
        s = align_heads(MODEL, [(bird.image, bird.masks, c)], progress=False)
        e = explain(MODEL, bird.image)
        at = e.prediction if c is None else c
        torch.testing.assert_close(
            s.shares[0], attention_densities(e.attention[:, at], bird.masks), equal_nan=True
        )
        assert s.classes == [at]
    ev = align_heads(MODEL, [(bird.image, bird.masks, 3)], "evidence", progress=False)
    torch.testing.assert_close(
        ev.shares[0], attention_densities(e.evidence[:, 3].clamp(min=0), bird.masks), equal_nan=True
    )


def test_layers_of_a_full_decoder():
    torch.manual_seed(0)
    deep = INTR(
        16,
        backbone=dict(name="patchnet", width=8, dim=32, stride=8),
        dim=32,
        num_heads=2,
        encoder_layers=0,
        decoder_layers=2,
        ffn_dim=32,
    ).eval()
    s = align_heads(deep, [(BIRDS.bird(0).image, BIRDS.bird(0).masks, 0)], progress=False)
    assert s.heads == [
        "layer 0 head 0",
        "layer 0 head 1",
        "layer 1 head 0",
        "layer 1 head 1",
    ] and s.shares.shape == (1, 4, 11)
    alpha = deep(BIRDS[0][0][None], attention="all").attention.detach()[1, 0, :, 0]
    torch.testing.assert_close(
        s.shares[0, 2:], attention_densities(alpha, BIRDS.bird(0).masks), atol=1e-5, rtol=1e-4, equal_nan=True
    )


def test_photographs_that_show_no_part_are_left_out():
    class P:
        points, point_names = np.zeros((2, 1, 3)), ["crown"]

        def __len__(self):
            return 2

        def sample(self, i):
            return dict(image=torch.zeros(3, 32, 32), points=[[9, 9, i]], label=7)

    assert [label for _, _, label in part_examples(P())] == [7]
    P.points = None
    with pytest.raises(ValueError, match="without part points"):
        next(part_examples(P()))


def test_names_are_escaped():
    s = steady()
    s.attributes[0] = "<b>"
    assert "<b>" not in s._repr_html_()


@pytest.mark.parametrize(
    "go, words",
    [
        (lambda b: align_heads(MODEL, [(b.image, b.masks, 16)], progress=False), "no class 16"),
        (lambda b: align_heads(MODEL, [(b.image, b.masks, 0)], "looks", progress=False), "what='looks'"),
        (lambda b: align_heads(MODEL, [], progress=False), "no examples"),
        (lambda b: align_heads(MODEL, [(b.image, {}, 0)], progress=False), "at least one"),
        (
            lambda b: align_heads(
                MODEL, [(b.image, b.masks, 0), (b.image, {"wing": b.masks["wing"]}, 0)], progress=False
            ),
            "image 1 has masks of",
        ),
        (
            lambda b: align_heads(MODEL, [(b.image, {"wing": np.zeros((96, 96), bool)}, 0)], progress=False),
            "shows none of wing",
        ),
        (
            lambda b: align_heads(MODEL, [(b.image, {"wing": b.masks["wing"][:9, :9]}, 0)], progress=False),
            "mask of 'wing'.*own size",
        ),
        (lambda b: attention_densities(torch.ones(1, 2, 2), {"wing": np.ones((4, 4))}), "bool"),
        (lambda b: shuffle_heads(steady(), 3), "at least 20"),
    ],
)
def test_bad_input(go, words):
    with pytest.raises(ValueError, match=words):
        go(BIRDS.bird(0))
