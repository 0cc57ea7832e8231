"""The loop's promises: repeatable, resumed to the last bit, the same on one device or two, clear in failure."""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import intr_nb.training.epoch as epoch
from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.models.checkpoints import load
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.patchnet import PatchNet
from intr_nb.training.accuracy import evaluate
from intr_nb.training.distributed import fit_distributed
from intr_nb.training.features import Features, _FeatureData, _write_features, cache_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe
from intr_nb.training.run_state import _read_run

TINY = dict(dim=16, num_heads=2, encoder_layers=1, decoder_layers=2, ffn_dim=16)
RECIPE = Recipe(epochs=3, lr=3e-3, batch_size=16, erase=2)
MIXED = replace(RECIPE, mixup=0.3)


@pytest.fixture(scope="module")
def birds():
    return draw_birds(Aviary(48, species=4), progress=False), draw_birds(
        Aviary(16, species=4, seed=1), progress=False
    )


def small(seed=0, bound=1.0):
    torch.manual_seed(seed)
    return OneBlockINTR(
        4, backbone=PatchNet(width=4, dim=16, stride=8), dim=16, num_heads=2, score_bound=bound
    )


class Mean(torch.nn.Module):
    "A backbone without norms: a mean over squares of 8 x 8 pixels."

    num_channels, stride, config = 3, 8, None

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 8)


def normless():
    torch.manual_seed(0)
    return OneBlockINTR(4, backbone=Mean(), dim=16, num_heads=2, score_bound=1.0)


def learn(model, data, recipe=RECIPE, folder=None, **how):
    return fit(model, data, recipe, folder, device="cpu", progress=False, **how)


def weights(model):
    return torch.cat([v.detach().flatten().double() for v in model.state_dict().values()])


class Named(Dataset):
    "Birds with names, and perhaps one that is broken."

    def __init__(self, birds, broken=None):
        self.birds, self.broken = birds, broken

    def __len__(self):
        return len(self.birds)

    def name(self, i):
        return f"photos/bird{i:02}.jpg"

    def __getitem__(self, i):
        image, label = self.birds[i]
        return image.float() / 255 * (float("nan") if i == self.broken else 1), label


# -- what it learns, and that it can be had again --


def test_the_best_epoch_is_kept(birds):
    model = small()
    history = learn(model, birds, replace(RECIPE, epochs=5))
    scores = evaluate(model, birds[1])
    assert len(history) == 5 and scores["accuracy"] == history.best["valid_accuracy"] == max(
        r["valid_accuracy"] for r in history.rows
    )
    assert scores["loss"] == pytest.approx(history.best["valid_loss"], abs=1e-6) and not model.training
    assert {"entropy", "peak", "similarity", "lr", "seconds"} <= history.rows[0].keys()


def test_without_validation_the_last_weights_are_kept(birds):
    model = small()
    assert "valid_loss" not in learn(model, (birds[0], None), replace(RECIPE, epochs=2)).rows[0]
    longer = small()
    learn(longer, birds, replace(RECIPE, epochs=2, schedule="constant"))
    assert not torch.equal(weights(model), weights(small()))


def test_same_seed_same_weights(birds):
    def trained(**changed):
        model = small()
        learn(model, birds, replace(RECIPE, epochs=1, **changed))
        return weights(model)

    assert torch.equal(trained(), trained()) and not torch.equal(trained(), trained(seed=1))


class Jittered(Named):
    "Augmentation from torch's generator."

    def __getitem__(self, i):
        image, label = super().__getitem__(i)
        return image + 0.1 * torch.randn(image.shape), label


def test_loading_in_processes_changes_nothing(birds):
    def trained(workers):
        model = small()
        learn(model, (Jittered(birds[0]), birds[1]), replace(RECIPE, epochs=2), workers=workers)
        return weights(model)

    assert torch.equal(trained(0), trained(2))


def test_the_users_random_numbers_are_left_alone(birds):
    torch.manual_seed(5)
    model, expected = small(seed=5), torch.rand(3)
    torch.manual_seed(5)
    model = small(seed=5)
    learn(model, birds, replace(RECIPE, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_micro_batches_give_the_same_step(birds):
    def trained(micro):
        model = normless()
        learn(model, birds, replace(MIXED, micro_batch=micro))
        return weights(model)

    assert torch.allclose(trained(None), trained(5), atol=1e-6) and torch.allclose(
        trained(None), trained(1), atol=1e-6
    )


def test_photographs_of_several_sizes(birds):
    class Sizes(Named):
        def __getitem__(self, i):
            image, label = super().__getitem__(i)
            return image[:, : 96 - 16 * (i % 3)], label

    model = small()
    with pytest.raises(ValueError, match="mixup needs one size"):
        learn(small(), (Sizes(birds[0]), Sizes(birds[1])), MIXED)
    history = learn(model, (Sizes(birds[0]), Sizes(birds[1])), replace(RECIPE, epochs=1))
    assert history.rows[0]["valid_loss"] == pytest.approx(evaluate(model, Sizes(birds[1]))["loss"], rel=1e-4)


def test_the_full_model_and_intr_fc_learn_too(birds):
    torch.manual_seed(0)
    full = INTR(4, PatchNet(width=4, dim=16, stride=8), **TINY)
    fc = OneBlockINTR(4, PatchNet(width=4, dim=16, stride=8), dim=16, num_heads=2, fc=True)
    for model in (full, fc):
        before = weights(model)
        assert "entropy" in learn(model, birds, replace(RECIPE, epochs=1)).rows[0] and not torch.equal(
            weights(model), before
        )


def test_checkpointing_of_gradients_changes_nothing_but_memory(birds):
    ran = []
    whole, less = (INTR(4, dict(name="patchnet", width=4, dim=16, stride=8), **TINY) for _ in range(2))
    less.load_state_dict(whole.state_dict())
    for layer in less.decoder.layers:
        layer.linear1.register_forward_hook(lambda *_: ran.append(torch.is_grad_enabled()))
    recipe = replace(RECIPE, epochs=1)
    learn(whole, birds, recipe)
    learn(less, birds, replace(recipe, gradient_checkpointing=True))
    assert ran.count(True) == 2 * 2 * 3  # two layers, three steps, each computed twice
    assert all(map(torch.equal, whole.state_dict().values(), less.state_dict().values()))
    assert not any("forward" in vars(m) for m in less.modules())


def test_bfloat16(birds):
    model = small()
    assert learn(model, birds, replace(RECIPE, epochs=1, precision="bf16")).rows[0]["loss"] > 0
    assert next(model.parameters()).dtype == torch.float32 and "forward" not in vars(model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(birds):
    model = small()
    history = fit(model, birds, replace(RECIPE, precision="bf16"), progress=False)
    assert next(model.parameters()).is_cuda and len(history) == 3


# -- two devices --

TWO = """
import sys
from dataclasses import replace

sys.path.insert(0, {tests!r})
from test_loop import MIXED, Aviary, draw_birds, normless, weights

from intr_nb.training.distributed import fit_distributed
from intr_nb.training.loop import fit

KEYS = ("loss", "valid_loss", "valid_accuracy")


def birds_of(n, seed=0):
    return draw_birds(Aviary(n, species=4, seed=seed), progress=False)


if __name__ == "__main__":
    birds = birds_of(48), birds_of(15, seed=1)
    recipe, options = replace(MIXED, batch_size=15, micro_batch=4), dict(device="cpu", progress=False)
    two, one = normless(), normless()
    rows2 = fit_distributed(two, birds, recipe, "two", 2, **options).rows
    rows1 = fit(one, birds, recipe, "one", **options).rows
    apart = (weights(one) - weights(two)).abs().max().item()
    moved = (weights(one) - weights(normless())).abs().max().item()
    print(apart, moved, [abs(a[k] - b[k]) for a, b in zip(rows1, rows2) for k in KEYS])
"""


def test_two_processes_train_to_the_same_weights_as_one(tmp_path):
    (tmp_path / "two.py").write_text(TWO.format(tests=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, "two.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | dict(OMP_NUM_THREADS="1"),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    apart, moved, rows = done.stdout.strip().splitlines()[-1].split(" ", 2)
    assert float(apart) < 1e-5 < 0.001 < float(moved) and max(json.loads(rows)) < 1e-5


def test_two_processes_of_torchrun(tmp_path):
    "They find each other without being told that there is no GPU, and one of them keeps the run"
    script = TWO.split("    recipe, options")[0].format(tests=str(Path(__file__).parent)) + (
        '    fit(normless(), birds, replace(MIXED, epochs=1), "run", progress=False)\n'
        "    d = sys.modules['torch'].distributed\n"
        "    open(f'{d.get_rank()} of {d.get_world_size()}, {d.get_backend()}', 'w')\n"
    )
    (tmp_path / "script.py").write_text(script)
    options = "-m torch.distributed.run --nproc-per-node 2 --master-port 29531 script.py".split()
    done = subprocess.run(
        [sys.executable, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | dict(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(p.name for p in tmp_path.glob("* of *")) == ["0 of 2, gloo", "1 of 2, gloo"]
    assert len(_read_run(tmp_path / "run" / "checkpoint.safetensors")[1]["rows"]) == 1


def test_wrong_numbers_of_processes(birds, tmp_path):
    with pytest.raises(ValueError, match="2 or more"):
        fit_distributed(small(), birds, RECIPE, tmp_path, 1)
    with pytest.raises(ValueError, match="at most one for each of a step's 16"):
        fit_distributed(small(), birds, RECIPE, tmp_path, 17)


# -- the run that can't be lost --


class Breaks(Named):
    "Interrupts, as the stop button does, when it has given so many birds."

    def __init__(self, birds, after):
        self.birds, self.broken, self.left = birds, None, after

    def __getitem__(self, i):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.birds[i]


@pytest.mark.parametrize("after", [10, 40, 70, 100, 130])
def test_interrupted_anywhere_and_resumed(birds, tmp_path, capsys, after):
    undisturbed, model, again = (
        small(),
        small(),
        small(seed=0 if after < 16 else 7),
    )  # before the first checkpoint there is nothing to go on from
    learn(undisturbed, birds)
    history = learn(model, (Breaks(birds[0], after), birds[1]), folder=tmp_path, save_every=0)
    assert len(history) == after // 48 and "interrupted in epoch" in capsys.readouterr().out
    if history.rows:
        assert evaluate(model, birds[1])["loss"] == pytest.approx(history.best["valid_loss"], abs=1e-6)
    learn(again, birds, folder=tmp_path)
    assert torch.equal(weights(again), weights(undisturbed))
    assert ("resumed" in capsys.readouterr().out) == (after >= 16)


def test_another_split_or_size_of_the_same_classes_is_another_run(birds, tmp_path):
    class Split(Named):
        def __init__(self, birds, first, size=None):
            self.birds, self.first, self.size, self.broken = birds, first, size, None

        def __getitem__(self, i):
            x, c = self.birds[i]
            return (x if self.size is None else x[:, : self.size, : self.size]), c

        def name(self, i):
            return f"here/class/{self.first + i}.jpg"

    one = replace(RECIPE, epochs=1)
    learn(small(), (Split(birds[0], 0), birds[1]), one, tmp_path)
    card = (tmp_path / "best.json").read_text()
    moved = Split(birds[0], 0)
    moved.name = lambda i: f"there/class/{i}.jpg"
    learn(small(), (moved, birds[1]), one, tmp_path)  # the same photographs in another place
    for train, valid, words in (
        (Split(birds[0], 1), birds[1], "train_images"),
        (Split(birds[0], 0), Split(birds[1], 0, 40), "image_size 40, was 96"),
    ):
        model = small()
        model.metadata = dict(mine=1)
        with pytest.raises(ValueError, match=f"holds another run .*{words}"):
            learn(model, (train, valid), one, tmp_path)
        assert (tmp_path / "best.json").read_text() == card and model.metadata == dict(mine=1)


def test_features_of_another_backbone_are_another_run(tmp_path):
    labels, g = [0, 1] * 8, torch.Generator().manual_seed(0)

    def features():
        return Features(
            torch.rand(1, 16, 16, 6, 6, generator=g).half().numpy(), labels, [f"{i}.jpg" for i in range(16)]
        )

    one, model = (
        replace(RECIPE, epochs=1, erase=0),
        lambda: OneBlockINTR(2, dict(name="patchnet", width=8, dim=16, stride=8), dim=16, num_heads=2),
    )
    fit(model(), (features(), None), one, tmp_path, "cpu", progress=False)
    with pytest.raises(ValueError, match="train_images"):
        fit(model(), (features(), None), one, tmp_path, "cpu", progress=False)
    with pytest.raises(ValueError, match="erase=2 hides patches"):
        fit(model(), (features(), None), RECIPE, device="cpu", progress=False)


def test_a_model_with_other_classes_is_refused_at_once(birds):
    class Labelled(Named):
        def __init__(self, birds, labels):
            self.birds, self.labels, self.broken = birds, labels, None

    with pytest.raises(ValueError, match="has 4 classes, the data 17"):
        learn(small(), (Labelled(birds[0], [16] * len(birds[0])), None))
    data = _FeatureData(birds[0], birds[1], class_names=["a", "b"])
    with pytest.raises(ValueError, match="has 4 classes, the data 2"):
        learn(small(), data)
    with pytest.raises(TypeError, match="RECIPES"):
        learn(small(), birds, "frozen")


def test_a_runs_folder_is_no_model_but_holds_one(birds, tmp_path):
    learn(small(), birds, replace(RECIPE, epochs=1), tmp_path)
    with pytest.raises(FileNotFoundError, match="load.*best"):
        load(tmp_path)


def test_an_interrupt_before_the_first_epoch_says_what_is_left(birds, tmp_path, capsys):
    history = learn(small(), (Breaks(birds[0], 3), birds[1]), folder=tmp_path)
    said = capsys.readouterr().out
    assert "weights that it began with" in said and "nothing was kept" in said and "goes on" not in said
    with pytest.raises(ValueError, match="no epoch is finished"):
        _ = history.best


def test_a_finished_run_is_not_trained_again(birds, tmp_path, capsys):
    first, second = small(), small(seed=3)
    rows = learn(first, birds, folder=tmp_path).rows
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    assert learn(second, birds, folder=tmp_path).rows == rows and torch.equal(weights(first), weights(second))
    assert (
        "is finished" in capsys.readouterr().out
        and (tmp_path / "checkpoint.safetensors").read_bytes() == before
    )


def test_a_folder_belongs_to_one_run(birds, tmp_path):
    learn(small(), birds, replace(RECIPE, epochs=1), tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    other = TensorDataset(*birds[0][:40])
    for model, data, recipe, words in (
        (small(), birds, replace(RECIPE, epochs=1, lr=1.0), "lr 1.0, was 0.003"),
        (small(bound=2.0), birds, replace(RECIPE, epochs=1), "score_bound"),
        (small(), (other, birds[1]), replace(RECIPE, epochs=1), "train 40, was 48"),
    ):
        with pytest.raises(ValueError, match=f"holds another run .*{words}"):
            learn(model, data, recipe, tmp_path)
    with pytest.raises(ValueError, match=r"epochs 3, was 1.*For more epochs .*load\(.*best'\)"):
        learn(small(), birds, replace(RECIPE, epochs=3), tmp_path)
    learn(small(), birds, replace(RECIPE, epochs=1, micro_batch=3), tmp_path)  # changes memory only
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_spoiled_checkpoint_is_named_and_kept(birds, tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="checkpoint.safetensors' .13 bytes. is no checkpoint of a run"):
        learn(small(), birds, folder=tmp_path)
    assert file.read_bytes() == b"no checkpoint"


def test_a_folder_that_cannot_be_written(birds, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="can't be written"):
        learn(small(), birds, folder=tmp_path / "file" / "run")


def test_a_full_disk_keeps_the_old_checkpoint(birds, tmp_path, monkeypatch):
    learn(small(), (Breaks(birds[0], 60), birds[1]), folder=tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device.*older one is as it was"):
        learn(small(), birds, folder=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before and not list(tmp_path.glob(".*.part"))


# -- when it goes wrong --


def test_a_broken_image_is_named(birds, tmp_path):
    model = small()
    with pytest.raises((FloatingPointError, ValueError)) as error:
        learn(model, (Named(birds[0], broken=7), birds[1]), folder=tmp_path)
    assert "bird07.jpg" in str(error.value)


def test_a_loss_that_is_no_number_stops_and_restores(birds):
    model = small(bound=None)
    model.block.w.weight.data.fill_(1e38)  # logits beyond float32
    before = weights(model)
    with pytest.raises(FloatingPointError, match="loss is .* in epoch 1, step 1, .*bird"):
        learn(model, (Named(birds[0]), birds[1]))
    assert torch.equal(weights(model), before)


def test_what_is_left_after_an_error_is_said(birds, tmp_path, capsys):
    class Breaks(Named):
        def __getitem__(self, i):
            if self.count >= len(self):
                raise OSError("the disk is gone")
            self.count += 1
            return super().__getitem__(i)

    train = Breaks(birds[0])
    train.count = -3  # `fit` looks at three images first
    with pytest.raises(OSError, match="the disk is gone"):
        learn(small(), (train, birds[1]), folder=tmp_path)
    assert (
        "stopped in epoch 2; the model has the best weights so far; fit(..., folder="
        in (out := capsys.readouterr().out)
        and "goes on from the last checkpoint, once that is mended" in out
    )
    train.count = len(train) - 3
    with pytest.raises(OSError):
        learn(small(), (train, None))
    assert (
        "stopped in epoch 1; no epoch was finished, and the model has the weights that it began with; "
        "nothing was kept on the disk" in capsys.readouterr().out
    )


def test_a_loss_that_explodes_stops(birds):
    model = small(bound=None)
    model.block.w.weight.data.mul_(1e4)
    with pytest.raises(FloatingPointError, match="exploded.*step 2[0-9]"):
        learn(model, birds, replace(RECIPE, batch_size=1, epochs=1, lr=1e-6))


def test_too_little_memory_says_what_fits_next(birds, monkeypatch):
    real = epoch._take_step

    def short(run, batches, hidden, size):
        if max(len(b.images) for b in batches) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(run, batches, hidden, size)

    monkeypatch.setattr(epoch, "_take_step", short)
    with pytest.raises(MemoryError, match="16 images at once .*micro_batch=8"):
        learn(small(), birds)
    with pytest.raises(MemoryError, match="8 images at once .*micro_batch=4"):
        learn(small(), birds, replace(RECIPE, micro_batch=8))
    learn(small(), birds, replace(RECIPE, micro_batch=4, epochs=1))

    def never(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(epoch, "_take_step", never)
    with pytest.raises(MemoryError, match="Even one image"):
        learn(small(), birds, replace(RECIPE, micro_batch=1))


def test_other_errors_stay_what_they_are(birds, monkeypatch):
    def broken(*args):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(epoch, "_take_step", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        learn(small(), birds)


@pytest.mark.parametrize(
    "data, words",
    [
        (None, "no training images in this NoneType"),
        (([], None), "no training images"),
        ("birds", "no training images in this str"),
    ],
)
def test_data_that_is_none(data, words):
    with pytest.raises(ValueError, match=words):
        learn(small(), data)


def test_empty_validation(birds):
    with pytest.raises(ValueError, match="validation set is empty"):
        learn(small(), (birds[0], []))
    with pytest.raises(ValueError, match="dataset is empty"):
        evaluate(small(), [])


def test_a_device_that_is_none(birds):
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES"):
        fit(small(), birds, RECIPE, device="cuda:7")


def test_a_backbone_that_can_not_do_what_the_recipe_wants_is_noticed(birds):
    slow, model = replace(RECIPE, epochs=1, backbone_lr=1e-4), small()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        learn(model, birds, slow)
    model = small(1)
    model.backbone.requires_grad_(False)
    with pytest.warns(UserWarning, match="backbone_lr=0.0001 moves nothing.*unfreeze") as said:
        learn(model, birds, slow)
    assert any("random weights" in str(w.message) for w in said)
    model = small()
    for m in model.backbone.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.bias.data.fill_(0.1)
    with pytest.warns(UserWarning, match="folded.*freeze_norms"):
        learn(model, birds, slow)
    model = small()
    for m in model.backbone.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.bias.data.fill_(0.1)
    model.backbone.requires_grad_(False)  # stops the weights, not the mode
    with pytest.warns(UserWarning, match="folded.*freeze_norms"):
        fit(model, birds, replace(slow, backbone_lr=None), device="cpu", progress=False)


def test_warnings_point_to_the_users_line(birds, tmp_path):
    model = small(1)
    model.backbone.requires_grad_(False)
    with pytest.warns(UserWarning, match="random weights") as said:
        fit(model, birds, replace(RECIPE, epochs=1, backbone_lr=1e-4), device="cpu", progress=False)
        cache_features(small().backbone, birds, tmp_path, views=1, progress=False)
    assert len(said) == 3 and {w.filename for w in said} == {__file__}


def test_a_frozen_model_has_nothing_to_learn(birds):
    with pytest.raises(ValueError, match="frozen"):
        learn(small().requires_grad_(False), birds)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "step", "constant"])
def test_every_schedule_resumes(birds, tmp_path, schedule):
    recipe, undisturbed, model = (
        replace(RECIPE, schedule=schedule, drop_epoch=2, backbone_lr=1e-4),
        small(),
        small(),
    )
    learn(undisturbed, birds, recipe)
    learn(model, (Breaks(birds[0], 70), birds[1]), recipe, tmp_path, save_every=0)
    learn(model, birds, recipe, tmp_path)
    assert torch.equal(weights(model), weights(undisturbed))


# -- cached features --


def test_training_on_features_is_training_on_images(birds, tmp_path):
    from intr_nb.models.freezing import freeze

    direct, cached, recipe = small(), small(), replace(RECIPE, erase=0)
    freeze(direct.backbone)
    learn(direct, birds, recipe)
    with pytest.warns(UserWarning, match="random weights"):
        kept = cache_features(cached.backbone, birds, tmp_path, views=1, dtype="float32", progress=False)
    start = {k: v.clone() for k, v in cached.backbone.state_dict().items()}
    history = learn(cached, kept, recipe)
    assert all(torch.equal(v, start[k]) for k, v in cached.backbone.state_dict().items())
    assert (
        torch.allclose(weights(direct), weights(cached), atol=1e-4)
        and evaluate(cached, birds[1])["accuracy"] == history.best["valid_accuracy"]
    )


def test_views_are_different_draws_and_repeat(birds, tmp_path):
    backbone = small().backbone.eval()
    kept = [
        _write_features(backbone, Jittered(birds[0]), tmp_path / n, views=2, progress=False).maps
        for n in "ab"
    ]
    assert (kept[0] == kept[1]).all() and not (kept[0][0] == kept[0][1]).all()


def test_an_interrupted_cache_goes_on(birds, tmp_path):
    backbone = small().backbone.eval()
    whole = _write_features(backbone, Named(birds[0]), tmp_path / "whole", batch_size=2, progress=False).maps
    with pytest.raises(KeyboardInterrupt):
        _write_features(backbone, Breaks(birds[0], 52), tmp_path / "cut", batch_size=2, progress=False)
    assert not (tmp_path / "cut.npy").exists()

    class Counts(Named):
        asked = 0

        def __getitem__(self, i):
            Counts.asked += 1
            return self.birds[i]

    cut = _write_features(backbone, Counts(birds[0]), tmp_path / "cut", batch_size=2, progress=False)
    assert (
        (cut.maps == whole * 0 + cut.maps).all()
        and Counts.asked < 48
        and cut.labels == [int(l) for _, l in birds[0]]
    )


def test_features_of_something_else_are_refused(birds, tmp_path):
    _write_features(small().backbone.eval(), birds[0], tmp_path / "f", progress=False)
    before = (tmp_path / "f.npy").read_bytes()
    for backbone, data in ((small(seed=4).backbone.eval(), birds[0]), (small().backbone.eval(), birds[1])):
        with pytest.raises(ValueError, match="holds the features of another backbone"):
            _write_features(backbone, data, tmp_path / "f", progress=False)
    assert (tmp_path / "f.npy").read_bytes() == before


def test_features_need_one_size_and_finite_numbers(birds, tmp_path):
    class Sizes(Named):
        def __getitem__(self, i):
            return super().__getitem__(i)[0][:, : 96 - 16 * (i % 2)], 0

    with pytest.raises(ValueError, match="different sizes"):
        _write_features(small().backbone.eval(), Sizes(birds[0]), tmp_path / "s", progress=False)

    class Bright(Named):
        def __getitem__(self, i):
            return self.birds[i][0].float() * -1e6, 0

    with pytest.raises(ValueError, match="dtype=np.float32"):
        _write_features(Mean(), Bright(birds[0]), tmp_path / "b", progress=False)
