"""Two classes in one picture: known answers, fair pairs, and controls that stay at 0.5."""

import numpy as np
import pytest
import torch

from intr_nb.evaluation.class_specificity import _draw_pairs, _middles, _on_own_half, two_halves
from intr_nb.explanations.methods import BASELINES, energy_map


class Painted(torch.nn.Module):
    "Recognises pictures of one colour: class k is the k-th"

    def __init__(self, n=4):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(n))

    def backbone(self, x):
        return x[:, :2, ::4, ::4]

    def forward(self, x):
        return self.at(x).flatten(2).sum(2) + 0 * self.weight[0]

    def at(self, x):
        "(B, n, h, w): is a position of the colour of the class?"
        place = torch.arange(len(self.weight), device=x.device)[None, :, None, None]
        return (x[:, :1, ::4, ::4].round() == place).float()


def pictures(n=24, classes=4):
    return [(torch.full((3, 16, 16), float(i % classes)), i % classes) for i in range(n)]


def knows(model, image, c):
    return model.at(image[None])[0, c]


def test_who_knows_the_class_gets_one_who_points_away_nothing_and_who_knows_no_class_a_half():
    methods = dict(
        knows=knows, away=lambda m, x, c: 1 - knows(m, x, c), flat=lambda m, x, c: torch.ones(4, 4)
    )
    methods |= dict(corner=lambda m, x, c: torch.eye(4)[:1], energy=energy_map)
    r = two_halves(Painted(), methods, pictures(), pairs=6, progress=False)
    for name, expected in dict(knows=1, away=0, flat=0.5, corner=0.5, energy=0.5).items():
        for metric, values in r.values["Painted", name].items():
            assert len(values) == 6 and np.allclose(values, expected), (name, metric)
    assert "6 pairs" in r.about and "each recognised alone" in r.about


def test_every_control_comes_out_at_a_half():
    r = two_halves(Painted(), BASELINES, pictures(500), pairs=200, progress=False)
    for _, method, metric, mean, low, high, n in r.rows():
        assert n == 200 and low - 0.01 <= 0.5 <= high + 0.01 and abs(mean - 0.5) < 0.06, (method, metric)
    spread = {m: np.std(r.values["Painted", m]["peak on its own half"]) for m in BASELINES}
    assert spread["random"] > 0.2 and max(spread[m] for m in ("centre", "edges", "energy")) == 0


def test_the_middle_column_belongs_to_both():
    map = torch.tensor([[0.0, 0, 2, 0, 0]])
    assert _on_own_half(map, True) == _on_own_half(map, False) == (0.5, 0.5)
    assert _on_own_half(torch.tensor([[1.0, 0, 0, 0, 3]]), False) == (1, 0.75)
    peak, mass = _on_own_half(-torch.eye(4), True)
    assert np.isnan(mass)


def test_pairs_are_of_two_classes_without_an_image_twice():
    labels = [0] * 20 + [1] * 3 + [2] * 2
    drawn = list(_draw_pairs(labels, 99, lambda i: i != 20, seed=0))
    used = [i for pair in drawn for i in pair]
    assert len(set(used)) == len(used) and 20 not in used and 2 <= len(drawn) <= 4
    assert all(labels[i] != labels[j] for i, j in drawn)
    assert (
        drawn
        == list(_draw_pairs(labels, 99, lambda i: i != 20, seed=0))
        != list(_draw_pairs(labels, 99, lambda i: i != 20, seed=1))
    )
    many = [i % 4 for i in range(400)]
    lefts = [many[i] < many[j] for i, j in _draw_pairs(many, 200, lambda i: True, seed=0)]
    assert 0.35 < np.mean(lefts) < 0.65  # no class has a side


def test_only_images_that_are_recognised():
    wrong = [(x, (k + (n < 12)) % 4) for n, (x, k) in enumerate(pictures())]
    r = two_halves(Painted(), dict(k=knows), wrong, pairs=99, progress=False)
    assert min(i for pair in r.images for i in pair) >= 12
    both = two_halves(Painted(), dict(k=knows), wrong, pairs=99, only_right=False, progress=False)
    assert min(i for pair in both.images for i in pair) < 12 and "recognised" not in both.about


def test_pictures_of_other_sizes_and_another_way_to_paste():
    assert _middles(torch.zeros(3, 16, 21), torch.ones(3, 30, 40)).sum() == 3 * 16 * 11
    r = two_halves(
        Painted(),
        dict(k=knows),
        pictures(),
        2,
        lambda a, b: torch.cat([b[:, :, :8], a[:, :, 8:]], 2),
        progress=False,
    )
    assert r.values["Painted", "k"]["peak on its own half"].tolist() == [0, 0]  # pasted the wrong way round


def test_wrong_input_is_an_error():
    with pytest.raises(ValueError, match="no pair among 3 images of 1 classes.*two classes"):
        two_halves(Painted(), dict(k=knows), [pictures()[0]] * 3, progress=False)
    with pytest.raises(ValueError, match="that every model recognises of two classes: .*only_right=False"):
        two_halves(Painted(), dict(k=knows), [(x, (k + 1) % 4) for x, k in pictures()], progress=False)
    with pytest.raises(ValueError, match="pairs=0: expected a whole number, 1 or more"):
        two_halves(Painted(), dict(k=knows), pictures(), 0, progress=False)
    with pytest.raises(TypeError, match="methods"):
        two_halves(Painted(), knows, pictures(), progress=False)
