"Measuring leaves every module's mode as it was, also after an error, and threads on one model do not meet."

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch

from intr_nb.core.tools import alone, evaluating
from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.experiments.ablation import intervene
from intr_nb.experiments.candidates import CandidateSet, cache_features_once
from intr_nb.explanations.attention_rollout import rollout
from intr_nb.explanations.class_activation import grad_cam
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.methods import attention_map, other_class
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.patchnet import PatchNet
from intr_nb.training.accuracy import evaluate
from intr_nb.training.features import _write_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

IMAGES = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
BIRDS = draw_birds(Aviary(8, species=4), progress=False)


def half_awake():
    "In training, with dropout; its backbone was put into evaluation mode by hand."
    torch.manual_seed(0)
    model = OneBlockINTR(4, PatchNet(width=4, dim=16, stride=8), dim=16, num_heads=2, dropout=0.5).train()
    model.backbone.eval()
    return model


def state(model):
    return [m.training for m in model.modules()], [v.clone() for v in model.state_dict().values()]


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        raise OSError("no such picture")


ASK = dict(
    evaluate=lambda m, path: evaluate(m, BIRDS),
    other_class=lambda m, path: other_class(attention_map)(m, IMAGES[0], 0).tolist(),
    candidates=lambda m, path: CandidateSet(m, IMAGES[0]).forward([0, 1])[0].tolist(),
    features=lambda m, path: _write_features(m.backbone.train(), BIRDS, path, progress=False)[0][0].tolist(),
)


@pytest.mark.parametrize("ask", ASK)
def test_every_module_keeps_its_own_mode_and_the_answer_is_that_of_evaluation(ask, tmp_path):
    model, still = half_awake(), half_awake().eval()
    if ask == "features":
        model.backbone.train()
    before = state(model)
    answer = ASK[ask](model, tmp_path / "a")
    after = state(model)
    assert after[0] == before[0] and all(map(torch.equal, after[1], before[1]))
    assert answer == ASK[ask](still, tmp_path / "b")


def test_also_after_an_error():
    model = half_awake()
    before = state(model)[0]
    with pytest.raises((OSError, ValueError), match="no such picture"):
        evaluate(model, Broken())
    assert state(model)[0] == before and torch.is_grad_enabled()


def test_what_is_cached_of_a_model_stays_in_evaluation_while_that_is_trained():
    model = half_awake().eval()
    one, raw = CandidateSet(model, IMAGES[0]), cache_features_once(half_awake(), IMAGES[0])
    before = one.forward()[0]
    model.train()
    assert torch.equal(one.forward()[0], before) and torch.equal(raw(IMAGES[:1]).logits[0], before)
    assert all(m.training for m in model.modules())


# -- threads --


def in_threads(ask, right, threads=4):
    "How many of the answers that `threads` threads get at once are not the right ones"

    def wrong(_):
        return sum(not torch.equal(ask(x), r) for x, r in zip(IMAGES, right))

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(wrong, range(threads)))


def test_rollout_in_four_threads():
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5, depth=3)
    fused = [b.attn.fused_attn for b in net.blocks]

    def ask(x):
        return rollout(net, x, classes=[0]).attention

    assert in_threads(ask, [ask(x) for x in IMAGES]) == 0
    assert [b.attn.fused_attn for b in net.blocks] == fused


def test_a_layers_grad_cam_in_four_threads_while_the_model_is_in_training():
    model = half_awake()
    model.backbone.train()

    def ask(x):
        return grad_cam(model, x, classes=[0], layer=model.backbone).evidence

    assert in_threads(ask, [ask(x) for x in IMAGES]) == 0
    assert all(m.training for m in model.modules())


def test_nobody_sees_anothers_intervention():
    model = half_awake().eval()

    def ask(x):
        with intervene(model, heads=[(0, 0)]):
            ablated = explain(model, x, classes=[0]).logits
        return torch.stack([explain(model, x, classes=[0]).logits, ablated])

    assert in_threads(ask, [ask(x) for x in IMAGES]) == 0


def test_a_model_may_be_looked_at_while_it_learns():
    def learn(watched):
        model, done = half_awake(), threading.Event()

        def watch():
            while not done.is_set():
                explain(model, IMAGES[0], classes=[0])

        watcher = threading.Thread(target=watch)
        watcher.start() if watched else None
        fit(model, (BIRDS, BIRDS), Recipe(epochs=2, batch_size=2), device="cpu", progress=False)
        done.set()
        watcher.join() if watched else None
        return model.state_dict().values()

    assert all(map(torch.equal, learn(True), learn(False)))


def test_two_threads_that_take_the_same_models_in_another_order_do_not_wait_for_each_other():
    a, b = torch.nn.Linear(1, 1), torch.nn.Sequential(torch.nn.Linear(1, 1))

    def take(models):
        for _ in range(200):
            with evaluating(*models), alone(models[1]):
                pass
        return True

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(take, [(a, b), (b, a)], timeout=20)) == [True, True]
