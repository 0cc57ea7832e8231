"What can't be kept is refused before the first step; a folder has one owner; caches notice what changed."

import copy
import json
import os
import pickle
import signal
import warnings
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from intr_nb.core.files import _owned
from intr_nb.core.images import normalise
from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.data.photos import Photos
from intr_nb.models.freezing import freeze_norms
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.patchnet import PatchNet
from intr_nb.training.epoch import _too_large
from intr_nb.training.feature_files import _batches
from intr_nb.training.features import Features, _write_features
from intr_nb.training.history import History
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe, _make_schedule
from intr_nb.training.run import _start_run

BIRDS = draw_birds(Aviary(16, species=4), progress=False)
ONCE = Recipe(epochs=1, batch_size=8)


def small(backbone=None):
    torch.manual_seed(0)
    return OneBlockINTR(4, backbone or PatchNet(width=4, dim=16, stride=8), dim=16, num_heads=2)


def learn(model, data=(BIRDS, BIRDS), recipe=ONCE, folder=None, **how):
    return fit(model, data, recipe, folder, device="cpu", progress=False, **how)


def weights(model):
    return torch.cat([v.detach().flatten().double() for v in model.state_dict().values()])


class Asked(Dataset):
    "Birds that note which process asked for them, in a folder."

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir()

    def __len__(self):
        return len(BIRDS)

    def __getitem__(self, i):
        (self.folder / str(os.getpid())).touch()
        return BIRDS[i]


# -- refused before the first step --


class Mean(torch.nn.Module):
    "A user's backbone, with a config as other packages have it."

    num_channels, stride = 3, 8

    def __init__(self, config):
        super().__init__()
        self.config = config

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 8)


class Other(OneBlockINTR):
    "A user's model."


def tied():
    model = small()
    model.also = torch.nn.Module()
    model.also.w = model.block.w.weight
    return model


def changed():
    model = small()
    model.block.w = torch.nn.Linear(16, 2)
    return model


def own_model():
    torch.manual_seed(0)
    model = Other(4, PatchNet(width=4, dim=16, stride=8), dim=16, num_heads=2)
    model.config = object()
    return model


REFUSED = {
    "an object": (lambda: small(Mean(type("Config", (), {}))), "JSON|plain names"),
    "weights to fetch": (lambda: small(Mean(dict(name="resnet18", pretrained=True))), "weights=True"),
    "a path": (lambda: small(Mean(dict(name="/home/me/net"))), "plain names"),
    "no such backbone": (lambda: small(Mean(dict(name="none_such"))), "none_such"),
    "tied weights": (tied, "share one tensor"),
    "other than its config": (changed, "block.w"),
    "an own model's config": (own_model, "JSON"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused_before_the_first_step(case, tmp_path):
    make, words = REFUSED[case]
    model = make()
    before = weights(model)
    with pytest.raises((TypeError, ValueError), match=f"nothing was trained.*({words})"):
        learn(model, folder=tmp_path / "run")
    assert torch.equal(weights(model), before) and not (tmp_path / "run").exists()


def test_without_a_folder_it_is_said_and_trained():
    with pytest.warns(UserWarning, match="can be trained, but not saved.*share one tensor"):
        assert len(learn(tied())) == 1


def test_a_users_model_with_tied_weights_is_resumed(tmp_path):
    def model():
        torch.manual_seed(0)
        other = Other(4, PatchNet(width=4, dim=16, stride=8), dim=16, num_heads=2)
        other.also = torch.nn.Module()
        other.also.w = other.block.w.weight
        return other

    whole, two = model(), replace(ONCE, epochs=2)
    learn(whole, recipe=two, folder=tmp_path)
    again = model()
    learn(again, recipe=two, folder=tmp_path)
    assert torch.equal(weights(again), weights(whole)) and again.also.w is again.block.w.weight


def test_a_place_that_cannot_be_written_is_noticed_at_the_start(tmp_path):
    (tmp_path / "file").write_text("kept")
    model = small()
    before = weights(model)
    with pytest.raises(OSError, match="can't be written.*nothing was changed"):
        learn(model, folder=tmp_path / "file" / "run")
    assert torch.equal(weights(model), before)


# -- one owner --


def test_a_folder_in_use_is_left_alone(tmp_path):
    learn(small(), folder=tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with _owned(tmp_path / "run"):
        with pytest.raises(OSError, match="is in use by process"):
            learn(small(), folder=tmp_path)
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    learn(small(), folder=tmp_path)  # and a call that was refused keeps nothing back


def test_what_was_refused_lets_the_folder_go(tmp_path):
    learn(small(), folder=tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match="another run"):
            learn(small(), recipe=replace(ONCE, lr=1e-4), folder=tmp_path)
    learn(small(), folder=tmp_path)


# -- features --


def photographs(folder):
    folder.mkdir()
    for i in range(4):
        Image.fromarray(np.full((32, 32, 3), 50 * i, np.uint8)).save(folder / f"{i}.png")
    return Photos([f"{i}.png" for i in range(4)], [0, 0, 1, 1], ["a", "b"], root=str(folder))


def test_a_photograph_exchanged_under_its_name_is_noticed(tmp_path):
    photos, backbone = photographs(tmp_path / "photos"), PatchNet(width=4, dim=16, stride=8)
    first = _write_features(backbone, photos, tmp_path / "f", progress=False)
    again = _write_features(backbone, photos, tmp_path / "f", progress=False)
    assert np.array_equal(first.maps, again.maps)
    Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(tmp_path / "photos" / "2.png")
    with pytest.raises(ValueError, match="other images"):
        _write_features(backbone, photos, tmp_path / "f", progress=False)


def test_so_is_an_image_that_is_no_file(tmp_path):
    images, labels = (t.clone() for t in BIRDS.tensors)
    backbone = PatchNet(width=4, dim=16, stride=8)
    data = torch.utils.data.TensorDataset(images, labels)
    _write_features(backbone, data, tmp_path / "f", progress=False)
    images[-1] = 0
    with pytest.raises(ValueError, match="other images"):
        _write_features(backbone, data, tmp_path / "f", progress=False)


def test_processes_get_the_name_of_the_file(tmp_path):
    features = _write_features(PatchNet(width=4, dim=16, stride=8), BIRDS, tmp_path / "f", progress=False)
    part = features.subset([5, 3])
    for whole in features, part:
        sent = pickle.dumps(whole)
        assert len(sent) < features.maps.nbytes / 20
        again = pickle.loads(sent)
        assert all(torch.equal(again[i][0], whole[i][0]) for i in range(len(whole)))
        assert again.labels == whole.labels and torch.equal(copy.deepcopy(whole)[1][0], whole[1][0])
    in_memory = Features(np.array(features.maps), features.labels)
    for other in in_memory, Features(features.maps[:, 4:], features.labels[4:]):
        assert torch.equal(pickle.loads(pickle.dumps(other))[1][0], other[1][0])


def test_a_full_disk_ends_a_cache_in_words(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device.*MB are free"):
        _write_features(PatchNet(width=4, dim=16, stride=8), BIRDS, tmp_path / "f", progress=False)
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.npy")) and not list(tmp_path.glob(".*.npy.part"))
    cached = _write_features(PatchNet(width=4, dim=16, stride=8), BIRDS, tmp_path / "f", progress=False)
    assert os.stat(tmp_path / "f.npy").st_blocks * 512 >= cached.maps.nbytes


def features_child(backbone, folder, rank, count, die):
    "A process's share; die after so many images"
    torch.set_num_threads(1)
    os.environ |= dict(RANK=str(rank), WORLD_SIZE=str(count))

    class Dies(torch.utils.data.Dataset):
        asked = 0

        def __len__(self):
            return len(BIRDS)

        def __getitem__(self, i):
            Dies.asked += 1
            if Dies.asked == die:
                os.kill(os.getpid(), signal.SIGKILL)
            return BIRDS[i]

    _write_features(backbone, Dies(), folder / "f", 2, batch_size=1, progress=False)
    os._exit(0)


def test_several_processes_fill_one_file_whoever_dies(tmp_path, monkeypatch):
    monkeypatch.setattr("intr_nb.training.feature_files._BLOCK", 3)
    backbone, context = PatchNet(width=4, dim=16, stride=8).eval(), get_context("fork")

    def run(count, deaths):
        made = [
            context.Process(target=features_child, args=(backbone, tmp_path, r, count, deaths[r]))
            for r in range(count)
        ]
        for process in made:
            process.start()
        for process in made:
            process.join(60)
        return [process.exitcode for process in made]

    def noted():
        found = [json.loads(p.read_text())["labels"] for p in tmp_path.glob(".f.*.note")]
        return {(b, i) for labels in found for b in labels for i in range(len(labels[b]))}

    assert run(2, [17, 20]) == [-signal.SIGKILL] * 2 and not (tmp_path / "f.json").exists()
    before = noted()
    assert before and run(3, [14, 15, 16]) == [-signal.SIGKILL] * 3
    assert before < noted()  # another number of processes goes on with what is there
    assert run(2, [16, None])[1] == 0  # one dies, the other does its share as well
    alone = _write_features(backbone, BIRDS, tmp_path / "alone", 2, progress=False)
    together = _write_features(backbone, BIRDS, tmp_path / "f", 2, progress=False)
    assert np.allclose(together.maps, alone.maps, atol=1e-2) and together.labels == alone.labels
    assert not list(tmp_path.glob(".f.*.note")) and not list(tmp_path.glob(".f*.part"))


def test_samples_are_looked_at_before_they_are_cached(tmp_path):
    images, labels = (t.clone() for t in BIRDS.tensors)
    labels[5] = -1
    with pytest.raises(ValueError, match="image number 5 has the label -1"):
        backbone = PatchNet(width=4, dim=16, stride=8)
        _write_features(
            backbone, torch.utils.data.TensorDataset(images, labels), tmp_path / "f", progress=False
        )


def test_a_finished_cache_needs_no_place_to_write(tmp_path, monkeypatch):
    backbone = PatchNet(width=4, dim=16, stride=8)
    _write_features(backbone, BIRDS, tmp_path / "f", progress=False)
    (tmp_path / ".f.lock").unlink()
    monkeypatch.setattr("intr_nb.training.features._owned", None)
    assert len(_write_features(backbone, BIRDS, tmp_path / "f", progress=False)) == 16


# -- processes that load --


def test_processes_are_started_once_for_all_epochs(tmp_path):
    train, valid = Asked(tmp_path / "train"), Asked(tmp_path / "valid")
    learn(small(), (train, valid), replace(ONCE, epochs=3), workers=1)
    for asked in train, valid:
        assert len(set(os.listdir(asked.folder)) - {str(os.getpid())}) == 1


def test_and_once_for_all_views(tmp_path):
    data = Asked(tmp_path / "asked")
    parts = [
        (view, i, len(b.images))
        for view, i, b in _batches(data, [(1, 4, 16), (2, 0, 16)], 0, batch_size=12, workers=1)
    ]
    assert parts == [(1, 4, 12), (2, 0, 12), (2, 12, 4)]
    assert len(os.listdir(data.folder)) == 1


# -- portions, schedules, and no validation --


def test_portions_under_batch_norms_are_warned_of_and_frozen_ones_do_not_care():
    portions = replace(ONCE, micro_batch=4)
    with pytest.warns(UserWarning, match="micro_batch=4 changes the result.*freeze_norms"):
        learn(small(), recipe=portions)

    def off(prepare):
        whole, parts = prepare(small()), prepare(small())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if prepare is not freeze_norms else "error", UserWarning)
            learn(whole), learn(parts, recipe=portions)
        return (weights(whole) - weights(parts)).norm()

    assert off(freeze_norms) < 0.01 * off(lambda model: model)
    run = _start_run(small(), ONCE, 2, False, "cpu")
    assert "BatchNorms see fewer" in str(_too_large(run, 8, 8))
    freeze_norms(run.model)
    assert "the result is the same, only slower" in str(_too_large(run, 8, 8))


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "step", "constant"])
def test_schedules_of_a_few_steps(schedule):
    for total in range(1, 13):
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        recipe = Recipe(epochs=total, lr=1.0, schedule=schedule)
        s, rates = _make_schedule(optimizer, recipe, 1), []
        for _ in range(total):
            rates += s.get_last_lr()
            optimizer.step()
            s.step()
        assert 0.9 < max(rates) <= 1 and min(rates) >= 0, (total, rates)


def test_five_epochs_of_a_few_photographs():
    few = torch.utils.data.TensorDataset(*(t[:5] for t in BIRDS.tensors))
    assert len(learn(small(), (few, few), Recipe(epochs=5))) == 5


class Turns(Dataset):
    "Birds that are called what the model takes them for, and from the second epoch on what it does not."

    def __init__(self):
        self.asked, model = 0, small().train()
        logits = model(normalise(BIRDS.tensors[0])).logits
        self.names = logits.argmax(1).tolist(), logits.argmin(1).tolist()

    def __len__(self):
        return 16

    def __getitem__(self, i):
        self.asked += 1
        return BIRDS[i][0], self.names[self.asked > 16 + 3][i]  # three are asked for their size


def test_without_validation_the_last_weights_are_kept():
    still = Recipe(epochs=1, lr=1e-4, batch_size=16, schedule="constant")
    first, both = small(), small()
    learn(first, (Turns(), None), still)
    history = learn(both, (Turns(), None), replace(still, epochs=2))
    assert history.rows[1]["loss"] > history.rows[0]["loss"] and history.best is history.rows[1]
    assert not torch.equal(weights(both), weights(first))
    assert repr(History(history.rows)).startswith("History of 2 epochs: last 2, loss")
