"A folder has one owner, room is taken before it is needed, and ~ is the home folder."

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torchvision
from PIL import Image

from intr_nb.core.files import _home_path, _owned, _reserve, write_files
from intr_nb.data.image_folders import ImageFolders
from intr_nb.models.backbones import build_backbone
from intr_nb.models.hub import _hub_folder, save_pretrained
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.prediction import predict

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom intr_nb.core.files import _owned\n"
    "with _owned(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def test_a_second_owner_is_refused_and_a_dead_one_does_not_count(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OSError, match=rf"run' is in use by process {other.pid} on .*since 20"):
            with _owned(tmp_path / "run"):
                pass
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / ".run.owner").exists()  # it could not clear up
    with _owned(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / ".run.owner").read_text()
    assert not (tmp_path / ".run.owner").exists()


def test_who_would_do_the_same_work_waits(tmp_path, capsys):
    done = []

    def work(_):
        with _owned(tmp_path / "features", wait=True):
            done.append("in")
            assert done.count("in") == done.count("out") + 1
            done.append("out")

    with ThreadPoolExecutor(2) as pool:
        with _owned(tmp_path / "features"):
            both = pool.map(work, range(2))
            while capsys.readouterr().out.count("waiting until it is done") < 1:
                pass
            assert not done
        list(both)
    assert done == ["in", "out"] * 2


def test_a_place_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="can't be written"):
        with _owned(tmp_path / "file" / "run"):
            pass


@pytest.mark.parametrize("reserves", [True, False])
def test_room_is_taken_and_nothing_written_is_lost(reserves, tmp_path, monkeypatch):
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    path = tmp_path / "array"
    path.write_bytes(b"header")
    os.truncate(path, 3 * 2**20)
    assert path.stat().st_blocks * 512 < 2**20
    _reserve(path, start=6)
    assert path.stat().st_blocks * 512 >= path.stat().st_size == 3 * 2**20
    assert path.read_bytes()[:8] == b"header\0\0"


@pytest.mark.parametrize("reserves", [True, False])
def test_a_full_disk_says_what_is_missing(reserves, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    if reserves:
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "array"
    path.touch()
    os.truncate(path, 2 * 10**6)
    with pytest.raises(OSError, match=r"No space left on device.*needs 2.0 MB.* are free"):
        _reserve(path)
    assert not path.exists()


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_files({Path("~/notes/a.txt"): b"here"})
    assert (tmp_path / "notes" / "a.txt").read_bytes() == b"here" and not Path("~").exists()
    assert _home_path("~nobody-such/a") == Path("~nobody-such/a") and _home_path("a~") == Path("a~")


def test_the_home_folder_wherever_a_path_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for c in ("ant", "bee"):
        (tmp_path / "photos" / c).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "photos" / c / "0.png")
    (tmp_path / "photos" / "list.csv").write_text("path,label\nant/0.png,ant\nbee/0.png,bee\n")
    for data in (
        ImageFolders("~/photos", valid=0),
        ImageFolders.from_csv("~/photos/list.csv", valid=0),
        ImageFolders.from_csv("photos/list.csv", root="~/photos", valid=0),
    ):
        assert data.class_names == ["ant", "bee"] and data.train.image(0).shape == (20, 20, 3)
    model = OneBlockINTR(2, dim=16, num_heads=2)
    assert len(predict(model, "~/photos")) == 2 and predict(model, "~/photos/ant/0.png").classes
    weights = torchvision.models.resnet18(weights=None).state_dict()
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")
    for name in ("resnet18", "torchvision/resnet18"):
        built = build_backbone(dict(name=name, weights="~/weights.safetensors"))
        assert built.state_dict()
    save_pretrained(model, "~/kept")
    assert _hub_folder("a/b", ["config.json"], "~/kept") == tmp_path / "kept"
    assert not Path("~").exists()
