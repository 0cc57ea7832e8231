"""Kill -9 at random moments: nothing is lost but the running step, no file is unreadable, and what goes on
comes to the same bits. In CI a few moments each; all of them by hand: INTR_NB_KILLS=20 pytest tests/faults
"""

import json
import os
import random
import signal
import time
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.models.checkpoints import load, save
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.training.features import _write_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe
from intr_nb.training.run_folder import _RunFolder
from intr_nb.training.run_state import _read_run

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="children are forked, which this system can't"
)
KILLS = int(os.environ.get("INTR_NB_KILLS", 2))
FORK = get_context("fork") if hasattr(os, "fork") else None  # importing torch takes longer than all the rest
RECIPE = Recipe(epochs=3, lr=3e-3, batch_size=16, erase=2)
BACKBONE = dict(name="patchnet", width=4, dim=16, stride=8)


@pytest.fixture(scope="module")
def birds():
    return [draw_birds(Aviary(n, species=4, seed=n), progress=False) for n in (48, 16)]


def small(seed=0):
    torch.manual_seed(seed)
    return OneBlockINTR(4, BACKBONE, dim=16, num_heads=2, score_bound=1.0)


def weights(model):
    return torch.cat([v.detach().flatten().double() for v in model.state_dict().values()])


def quiet(work, *args):
    "What a child does: on one thread, saying nothing"
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    work(*args)


def start(work, *args):
    child = FORK.Process(target=quiet, args=(work, *args))
    child.start()
    return child


def killed(work, args, after, seed, most=KILLS):
    """Kill children at random moments, until so many were; `after(folder)` looks at what each has left. They go on
    in one folder until one comes to its end; then another is begun. The folders are returned"""
    begun = time.perf_counter()
    start(work, *args("whole")).join()
    takes, chance, kills, run = time.perf_counter() - begun, random.Random(seed), 0, 0
    for _ in range(20 * most):
        folder = f"run{run}"
        child = start(work, *args(folder))
        child.join(chance.uniform(0.02, takes))
        child.kill()
        child.join()
        after(folder)
        kills, run = kills + (child.exitcode == -signal.SIGKILL), run + (child.exitcode == 0)
        if kills == most:
            return [f"run{i}" for i in range(run + 1)]
    raise AssertionError(f"only {kills} of {20 * most} children lived until they were killed")


# -- training --


def learn(folder, birds, done=None, recipe=RECIPE, save_every=0, model=None):
    real = _RunFolder.checkpoint

    def checkpoint(self, run):
        real(self, run)
        done.value = run.steps_done()  # what must not be lost

    if done is not None:
        _RunFolder.checkpoint = checkpoint
    return fit(model or small(), birds, recipe, folder, device="cpu", save_every=save_every, progress=False)


DEMO = Recipe(epochs=2, lr=3e-3, batch_size=16, erase=3)


def demo(seed=0):
    torch.manual_seed(seed)
    return OneBlockINTR(num_classes=16, score_bound=1.0)


@pytest.mark.parametrize("kind", ["steps", "epochs", "demo"])
def test_training(kind, birds, tmp_path):
    "With a checkpoint after every step, with one after every epoch, and the demo's own training"
    build, recipe, every = small, RECIPE, 0 if kind == "steps" else 300
    data = birds
    if kind == "demo":
        build, recipe = demo, DEMO
        data = [draw_birds(Aviary(n, size=64, seed=n), progress=False) for n in (48, 16)]
    undisturbed, done = build(), {}
    learn(tmp_path / "undisturbed", data, None, recipe, every, undisturbed)

    def args(folder):
        counter = done.setdefault(folder, FORK.Value("i", 0, lock=False))
        return tmp_path / folder, data, counter, recipe, every, build()

    def after(folder):
        file = tmp_path / folder / "checkpoint.safetensors"
        if not file.exists():
            assert not done[folder].value
            return
        facts = _read_run(file)[1]
        steps = (facts["epoch"] - 1) * (48 // 16) + facts["step"]
        assert steps >= done[folder].value

    for folder in killed(learn, args, after, seed=len(kind)):
        kept = (tmp_path / folder / "checkpoint.safetensors").exists()
        model = build(seed=9 if kept else 0)  # the weights of the checkpoint count
        learn(tmp_path / folder, data, None, recipe, every, model)
        assert torch.equal(weights(model), weights(undisturbed))
        assert torch.equal(weights(load(tmp_path / folder / "best")), weights(undisturbed))
        assert [p.name for p in (tmp_path / folder).glob(".*")] == [".run.lock"]


def child(folder, birds, moment):
    """Train, and die: when so many images were read, at the n-th write after half the file,
    or before or after it gets its name, or while the best weights are written."""
    count, sync, move = dict(image=0, write=0), os.fsync, os.replace

    def die_at(kind, number):
        if moment == (number, kind):
            os.kill(os.getpid(), signal.SIGKILL)

    class Read(torch.utils.data.Dataset):
        def __len__(self):
            return len(birds[0])

        def __getitem__(self, i):
            count["image"] += 1
            die_at("image", count["image"])
            return birds[0][i]

    def half(number):
        count["write"] += 1
        if moment == (count["write"], "half"):
            os.ftruncate(number, os.fstat(number).st_size // 2)
        die_at("half", count["write"])
        sync(number)

    def named(old, new):
        last = str(new).endswith("checkpoint.safetensors")
        if last:
            die_at("before", count["write"])
        move(old, new)
        if last:
            die_at("after", count["write"])
        if str(new).endswith("best.safetensors"):
            die_at("best", 1)

    os.fsync, os.replace = half, named
    learn(folder, (Read(), birds[1]))


def test_training_at_chosen_moments(birds, tmp_path):
    "Where a random moment seldom falls: five in a run, each going on where the last one died"
    undisturbed, chance = small(), random.Random(0)
    learn(None, birds, model=undisturbed)
    for run in range(max(1, KILLS // 5)):
        folder = tmp_path / f"run{run}"
        writes = [(chance.randint(1, 2), kind) for kind in ("half", "before", "after")]
        for moment in [(chance.randint(4, 40), "image"), *chance.sample(writes, 3), (1, "best")]:
            worker = start(child, folder, birds, moment)
            worker.join(120)
            assert worker.exitcode == -signal.SIGKILL, moment
            if (folder / "checkpoint.safetensors").exists():
                _read_run(folder / "checkpoint.safetensors")  # whole at any moment
        model = small(seed=9)
        assert len(learn(folder, birds, model=model)) == RECIPE.epochs
        assert torch.equal(weights(model), weights(undisturbed))
        assert torch.equal(weights(load(folder / "best")), weights(undisturbed))


# -- a checkpoint's write --


def save_in_turn(path, models):
    for i in range(200):
        save(models[i % 2], path, number=i)


def test_a_checkpoint_is_the_old_one_or_the_new(tmp_path):
    models = [small(0), small(1)]

    def after(folder):
        if not (tmp_path / folder / "a.json").exists():
            return
        found = load(tmp_path / folder / "a")
        assert torch.equal(weights(found), weights(models[found.metadata["number"] % 2]))

    killed(save_in_turn, lambda folder: (tmp_path / folder / "a", models), after, seed=5)


@pytest.mark.parametrize("move", [1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_a_checkpoint_between_its_two_files(move, first, tmp_path):
    "The tensors have their name already, and what is said about them has not"

    def die(path):
        real, count = os.replace, [0]

        def replace_and_die(old, new):
            real(old, new)
            count[0] += 1
            if count[0] == move:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = replace_and_die
        save(small(1), path, number=1)

    if not first:
        save(small(0), tmp_path / "a", number=0)
    worker = start(die, tmp_path / "a")
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    if move == 1 and first:
        with pytest.raises(FileNotFoundError, match="a .safetensors and a .json"):
            load(tmp_path / "a")
    else:
        assert torch.equal(weights(load(tmp_path / "a")), weights(small(1)))
    save(small(2), tmp_path / "a")
    assert torch.equal(weights(load(tmp_path / "a")), weights(small(2)))


# -- features --


def compute(path, backbone, data):
    return _write_features(backbone, data, path, views=2, batch_size=1, progress=False)


def test_features(birds, tmp_path):
    backbone = small().backbone.eval()
    whole = compute(tmp_path / "undisturbed", backbone, birds[0])

    def after(folder):
        if (tmp_path / f"{folder}.npy").exists():
            assert np.array_equal(np.load(tmp_path / f"{folder}.npy"), whole.maps)
        for note in tmp_path.glob(f".{folder}.*.note"):
            assert sum(map(len, json.loads(note.read_text())["labels"].values())) <= 96

    for folder in killed(compute, lambda folder: (tmp_path / folder, backbone, birds[0]), after, seed=7):
        again = compute(tmp_path / folder, backbone, birds[0])
        assert np.array_equal(again.maps, whole.maps) and again.labels == whole.labels
        assert not list(tmp_path.glob(f".{folder}.*.part")) and not list(tmp_path.glob(f".{folder}.*.note"))


# -- SIGINT, clocks, a worker --


def test_the_stop_button(birds, tmp_path, capsys):
    "A real SIGINT, as Jupyter sends it, in the middle of a step"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    undisturbed, model = small(), small()
    learn(None, birds, model=undisturbed)

    class Stops(torch.utils.data.Dataset):
        read = 0

        def __len__(self):
            return len(birds[0])

        def __getitem__(self, i):
            self.read += 1
            if self.read == 70:
                signal.raise_signal(signal.SIGINT)
            return birds[0][i]

    history = learn(tmp_path, (Stops(), birds[1]), model=model)
    assert len(history) == 1 and "interrupted in epoch 2" in capsys.readouterr().out
    learn(tmp_path, birds, model=model)
    assert torch.equal(weights(model), weights(undisturbed))


@pytest.mark.parametrize("date", [4e9, 1e7])  # in the next century, in 1970
def test_the_clock_goes_back(date, birds, tmp_path, monkeypatch):
    "Nothing is decided by what the clock says: files from another time are used as any"
    undisturbed = small()
    learn(None, birds, model=undisturbed)
    learn(tmp_path / "run", birds, recipe=replace(RECIPE, epochs=3), model=small(), save_every=300)
    backbone = small().backbone.eval()
    kept = compute(tmp_path / "f", backbone, birds[0])
    for file in tmp_path.rglob("*"):
        os.utime(file, (date, date))
    monkeypatch.setattr(time, "time", lambda: 1e6)
    model = small(seed=3)
    assert len(learn(tmp_path / "run", birds, model=model)) == 3
    assert torch.equal(weights(model), weights(undisturbed))
    assert np.array_equal(compute(tmp_path / "f", backbone, birds[0]).maps, kept.maps)
    assert os.stat(tmp_path / "f.npy").st_mtime == date  # it was not computed anew


def test_a_process_that_loads_images_dies(birds, tmp_path):
    undisturbed, model = small(), small()
    learn(None, birds, model=undisturbed)

    class Dies(torch.utils.data.Dataset):
        def __len__(self):
            return len(birds[0])

        def __getitem__(self, i):
            if torch.utils.data.get_worker_info() and i == 30 and not (tmp_path / "died").exists():
                if list(tmp_path.glob("checkpoint*")):
                    (tmp_path / "died").touch()
                    os._exit(9)
            return birds[0][i]

    with pytest.raises(RuntimeError, match="process that loads images has died"):
        fit(model, (Dies(), birds[1]), RECIPE, tmp_path, "cpu", 1, save_every=0, progress=False)
    learn(tmp_path, birds, model=model)
    assert torch.equal(weights(model), weights(undisturbed))
