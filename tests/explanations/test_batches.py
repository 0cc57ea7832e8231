"""Any number of pictures: each once, whatever happens, with the numbers that `explain` gives."""

import os
import random
import signal
import weakref
from multiprocessing import get_context
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from intr_nb.core import files as files_module
from intr_nb.data.photos import Photos
from intr_nb.explanations.batch_margins import _batch_margins
from intr_nb.explanations.batches import batch_explain
from intr_nb.explanations.explainer import explain
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.patchnet import PatchNet
from intr_nb.models.pooled import PooledClassifier

N, HOW = 23, dict(top=2, shard_size=4, batch_size=3, progress=False)


def small(seed=0, classes=16, size=32, **kwargs):
    torch.manual_seed(seed)
    model = OneBlockINTR(classes, PatchNet(width=8, dim=16), dim=16, num_heads=2, **kwargs).eval()
    torch.nn.init.normal_(model.block.w.weight)  # so that maps are no rounding
    model.metadata, model.class_names = dict(image_size=size), None
    return model


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(N):
        noise = np.random.default_rng(i).integers(0, 256, (32, 40 + i % 3, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i:02d}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def whole(model, files, tmp_path_factory):
    "The results of a run that nothing disturbed"
    return table(batch_explain(model, files[0].parent, tmp_path_factory.mktemp("found") / "whole", **HOW))


def table(folder):
    return pd.read_parquet(folder).sort_values("index", ignore_index=True)


def same(a, b, names=True):
    assert list(a["index"]) == list(b["index"])
    if names:
        assert list(a["picture"]) == list(b["picture"])
    assert list(a["class_1"]) == list(b["class_1"])
    np.testing.assert_allclose(a["margin"], b["margin"], atol=1e-5)
    np.testing.assert_allclose(a[["peak_x", "peak_y"]], b[["peak_x", "peak_y"]])
    assert len({*a["margin"]}) > len(a) / 2  # they differ, so that a mistaken order would be seen


# -- the numbers --


def check_against_explain(model, images):
    found = _batch_margins(model, images)
    readings = found.readings()
    for i, image in enumerate(images):
        e = explain(model, image)
        m = e.margin()
        h, w = m.total.shape
        y, x = divmod(int(m.total.argmax()), w)
        assert found.logits[i].argmax() == m.a
        assert abs(readings["margin"][i] - m.value) < 1e-4
        assert (found.maps[i] - m.total).abs().max() < 1e-3 * m.total.abs().max()
        assert readings["peak_x"][i] == (x + 0.5) / w and readings["peak_y"][i] == (y + 0.5) / h
        yx = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), -1).float()
        near = (yx - torch.tensor([y, x])).norm(dim=-1) <= 0.1 * w
        share = (m.total.clamp(min=0) * near).sum() / m.total.clamp(min=0).sum()
        assert abs(readings["peak_share"][i] - share) < 1e-4
        assert readings["evidence_share"][i].item() == pytest.approx(
            (m.total.sum() / m.value).item(), rel=0.01
        )


@pytest.mark.parametrize("fc", [False, True])
@pytest.mark.parametrize("count", [3, 8])  # 16 classes: by way of those asked for, and all at once
def test_margins_are_those_of_explain(fc, count):
    check_against_explain(small(fc=fc), torch.randn(count, 3, 48, 48, generator=torch.manual_seed(1)))


def test_margins_of_a_full_decoder_are_those_of_explain():
    torch.manual_seed(0)
    full = INTR(
        5, backbone="patchnet", dim=16, num_heads=2, encoder_layers=0, decoder_layers=2, ffn_dim=16
    ).eval()
    with torch.no_grad():
        check_against_explain(full, torch.randn(2, 3, 32, 32))


def test_classes_that_matter_to_each_other_are_all_asked(model, monkeypatch):
    images = torch.randn(2, 3, 32, 32, generator=torch.manual_seed(1))
    expected, search = _batch_margins(model, images), type(model).search

    def crowded(self, features, padding, classes, attention):
        logits, alphas = search(self, features, padding, classes, attention)
        return logits + (0 if classes == list(range(16)) or isinstance(classes, slice) else 1), alphas

    monkeypatch.setattr(type(model), "search", crowded)
    assert torch.allclose(_batch_margins(model, images).maps, expected.maps)


def test_rows_are_what_explain_says_of_the_files(model, files, whole):
    assert list(whole["picture"]) == list(map(str, files)) and whole["skipped"].isna().all()
    for i in (0, 13, N - 1):
        e = explain(model, files[i])
        assert whole["class_1"][i] == f"class {e.prediction}"
        assert abs(whole["probability_1"][i] - e.probability(e.prediction)) < 1e-5
        assert abs(whole["margin"][i] - e.margin().value) < 1e-4


def test_maps_in_half_precision(model, files, tmp_path):
    found = table(batch_explain(model, files[:3], tmp_path / "maps", maps=True, **HOW))
    m = explain(model, files[2]).margin().total
    shape = found["map_height"][2], found["map_width"][2]
    np.testing.assert_allclose(found["map"][2].reshape(shape), m, atol=2e-3)
    assert found["map"][2].dtype == np.float16


def test_pictures_of_different_sizes_do_not_touch_each_other(files, tmp_path):
    free = small(size=None)
    found = table(batch_explain(free, files[:5], tmp_path / "found", **HOW))
    for i in range(5):
        assert abs(found["margin"][i] - explain(free, files[i]).margin().value) < 1e-5


# -- every kind of pictures --


class Pairs(torch.utils.data.Dataset):
    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return Image.open(self.files[i]), 0


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, files):
        self.files = files

    def __iter__(self):
        return ((Image.open(file), 0) for file in self.files)


def hub(files):
    rows = datasets.Dataset.from_dict(dict(label=[0] * len(files), image=list(map(str, files))))
    return rows.cast_column("image", datasets.Image())


SOURCES = dict(
    files=lambda f: list(map(str, f)),
    generator=lambda f: (np.asarray(Image.open(p)) for p in f),
    pairs=Pairs,
    stream_of_pairs=Stream,
    photos=lambda f: Photos(
        [p.name for p in f], [0] * len(f), ["one", "two"], opener=lambda i: Image.open(f[i])
    ),
    hub=hub,
    hub_stream=lambda f: hub(f).to_iterable_dataset(num_shards=2),
    hub_with_transform=lambda f: hub(f).with_transform(lambda rows: dict(x=[0] * len(rows["image"]))),
)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_pictures(model, files, whole, tmp_path, kind):
    same(table(batch_explain(model, SOURCES[kind](files), tmp_path / "found", **HOW)), whole, names=False)


@pytest.mark.parametrize("kind", ["files", "generator"])
def test_workers_do_a_share_each_and_nothing_twice(model, files, whole, tmp_path, kind):
    found = batch_explain(model, SOURCES[kind](files), tmp_path / "found", workers=2, **HOW)
    same(table(found), whole, names=False)


def test_a_stream_is_never_in_memory(model, tmp_path):
    alive, most = [0], [0]

    def one_less():
        alive[0] -= 1

    def endless():
        for i in range(40):
            picture = Image.new("RGB", (32, 32), (i, 2 * i, 3 * i))
            alive[0] += 1
            weakref.finalize(picture, one_less)
            most[0] = max(most[0], alive[0])
            yield picture

    assert len(table(batch_explain(model, endless(), tmp_path / "found", **HOW))) == 40
    assert most[0] <= 2 * HOW["batch_size"] + 2


def test_a_stream_that_has_grown_goes_on(model, files, whole, tmp_path):
    batch_explain(model, iter(files[:10]), tmp_path / "found", **HOW)
    first = (tmp_path / "found" / "pictures-0000000000.parquet").stat().st_mtime_ns
    same(table(batch_explain(model, iter(files), tmp_path / "found", **HOW)), whole)
    assert (tmp_path / "found" / "pictures-0000000000.parquet").stat().st_mtime_ns == first


# -- what can't be read --


def test_what_cannot_be_read_is_a_row(model, files, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "empty.png").touch()
    (broken / "truncated.png").write_bytes(files[0].read_bytes()[:500])
    (broken / "text.jpg").write_text("no picture")
    Image.new("RGB", (1, 1)).save(broken / "tiny.png")
    nan = torch.full((3, 32, 32), torch.nan)
    wrong = [*sorted(broken.iterdir()), broken / "gone.png", nan, torch.zeros(3, 2, 2), None, dict(image=3)]
    found = table(batch_explain(model, [files[0], *wrong, files[1]], tmp_path / "found", **HOW))
    assert list(found["skipped"].isna()) == [True] + [False] * len(wrong) + [True]
    reasons = dict(zip([Path(p).name for p in found["picture"]], found["skipped"]))
    assert "not an image" in reasons["text.jpg"] and "no picture" in reasons["gone.png"]
    assert "NaN" in reasons["picture 6"] and "at least" in reasons["tiny.png"]


class Raises(Pairs):
    def __getitem__(self, i):
        return super().__getitem__(i) if i != 2 else {}["no such key"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_that_raises(model, files, tmp_path, workers):
    found = table(batch_explain(model, Raises(files[:5]), tmp_path / "found", workers=workers, **HOW))
    assert list(found["skipped"].notna()) == [False, False, True, False, False]


def test_names_that_are_no_text(model, files, tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/\xff.png")
    Path(name).write_bytes(files[0].read_bytes())
    found = table(batch_explain(model, [name, name[:-1]], tmp_path / "found", **HOW))
    assert found["picture"][0].endswith("\\xff.png") and "\\udcff.pn" in found["skipped"][1]


# -- interrupted --


def work(model, files, folder, rank, count, moment):
    "A process's share; die when so many pictures were read, or at a write: half done, before or after the move"
    torch.set_num_threads(1)
    os.environ |= dict(RANK=str(rank), WORLD_SIZE=str(count))
    seen, move, write = dict(picture=0, write=0), os.replace, Path.write_bytes

    def die_at(kind):
        seen["picture" if kind == "picture" else "write"] += kind in ("picture", "half")
        if moment == (seen["picture" if kind == "picture" else "write"], kind):
            os.kill(os.getpid(), signal.SIGKILL)

    class Counted(Pairs):
        def name(self, i):
            return str(self.files[i])

        def image(self, i):
            die_at("picture")
            return self.files[i]

    def half(path, data):
        write(path, data[: len(data) // 2])
        die_at("half")
        return write(path, data)

    def moved(old, new):
        die_at("before")
        move(old, new)
        die_at("after")

    Path.write_bytes, os.replace = half, moved
    batch_explain(model, Counted(files), folder, **HOW)
    os._exit(0)


def run(model, files, folder, count, moments):
    context = get_context("fork")
    all_ = [
        context.Process(target=work, args=(model, files, folder, r, count, moments[r])) for r in range(count)
    ]
    for process in all_:
        process.start()
    for process in all_:
        process.join(60)
    return [process.exitcode for process in all_]


def test_killed_at_twenty_moments_by_two_processes_then_three(model, files, whole, tmp_path):
    chance, folder, kills = random.Random(0), tmp_path / "found", 0
    for _ in range(10):  # the first write may be that of the card
        kinds = [
            (chance.randint(1, 2), "half"),
            (1, "before"),
            (1, "after"),
            (chance.randint(1, 6), "picture"),
        ]
        kills += run(model, files, folder, 2, chance.sample(kinds, 2)).count(-signal.SIGKILL)
        for file in folder.glob("*.parquet"):
            pd.read_parquet(file)  # whole at any moment
    assert kills >= 10
    assert run(model, files, folder, 3, [(99, "picture")] * 3) == [0, 0, 0]
    same(table(folder), whole)
    assert sorted(p.name for p in folder.iterdir() if "card.json." not in p.name) == [
        "_card.json",
        *(f"pictures-{i:010d}.parquet" for i in range(0, N, 4)),
    ]


def test_each_process_does_its_own_blocks(model, files, whole, tmp_path, monkeypatch):
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        batch_explain(model, iter(files), tmp_path / "found", **HOW)
        done = {i // 4 % 3 for i in table(tmp_path / "found")["index"]}
        assert done == set(range(rank + 1))
    same(table(tmp_path / "found"), whole)


def test_what_is_done_is_not_opened_again(model, files, tmp_path, monkeypatch):
    folder = batch_explain(model, files, tmp_path / "found", **HOW)
    (folder / "pictures-0000000008.parquet").write_bytes(b"damaged")
    opened, real = [], Image.open
    monkeypatch.setattr(Image, "open", lambda p, *a: opened.append(Path(p).name) or real(p, *a))
    batch_explain(model, files, folder, **HOW)
    assert opened == [f"{i:02d}.png" for i in range(8, 12)]


# -- refused --


def refused(match, *args, **how):
    with pytest.raises(ValueError, match=match):
        batch_explain(*args, **HOW | how)


def test_another_model_or_other_pictures_are_refused(model, files, tmp_path):
    own = [tmp_path / f.name for f in files]
    for f, to in zip(files, own):
        to.write_bytes(f.read_bytes())
    folder = batch_explain(model, own, tmp_path / "found", **HOW)
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    refused("another model", small(seed=1), own, folder)
    named = small()
    named.class_names = [f"species {i}" for i in range(16)]
    refused("another model", named, own, folder)
    refused("other pictures", model, own[1:], folder)
    refused("another maps", model, own, folder, maps=True)
    refused("another shard_size", model, own, folder, shard_size=5)
    own[3].write_bytes(files[4].read_bytes())  # exchanged under its name
    refused("other pictures", model, own, folder)
    refused("other pictures", model, iter(files[1:]), folder)
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_a_folder_that_becomes_anothers_meanwhile(model, files, tmp_path):
    def stream():
        for i, file in enumerate(files):
            if i == 6:
                (tmp_path / "found" / "_card.json").write_text("{}")
            yield file

    refused("another model", model, stream(), tmp_path / "found")


def test_work_that_cannot_be_done(model, files, tmp_path):
    refused("no folder", model, tmp_path / "photgraphs", tmp_path / "found")
    refused("one PngImageFile", model, Image.open(files[0]), tmp_path / "found")
    refused("no pictures", model, [], tmp_path / "found")
    refused("no pictures", model, iter([]), tmp_path / "found")
    refused("shard_size", model, files, tmp_path / "found", shard_size=0)
    with pytest.raises(TypeError, match=r"batch_explain\(model, data\['test'\]\)"):
        batch_explain(model, datasets.DatasetDict(test=hub(files)), tmp_path / "found")
    with pytest.raises(TypeError, match="no attention to explain"):
        batch_explain(PooledClassifier(3, PatchNet(width=8, dim=16)), files, tmp_path / "found", **HOW)
    assert not list((tmp_path / "found").glob("*.parquet"))


def test_a_full_disk_loses_nothing(model, files, tmp_path, monkeypatch):
    def full(self, data):
        if self.name.startswith(".pictures-0000000004"):
            raise OSError(28, "No space left on device")
        return write(self, data)

    write = Path.write_bytes
    monkeypatch.setattr(files_module.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left.*nothing was changed"):
        batch_explain(model, files, tmp_path / "found", **HOW)
    assert list(table(tmp_path / "found")["index"]) == [0, 1, 2, 3]
