"""A disk that is full, a quota that is reached, a folder that is closed: words, and everything as it was."""

import builtins
import errno
import io
import os
import resource
import tempfile
from pathlib import Path

import pytest
import torch

from intr_nb.core.report import Report
from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.experiments.edits import Edit, save_edits
from intr_nb.models.checkpoints import load, save
from intr_nb.models.hub import save_pretrained
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.prediction import predict
from intr_nb.training.features import cache_features
from intr_nb.training.history import History
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

BIRDS = draw_birds(Aviary(8, species=4, size=64), progress=False)


def model():
    torch.manual_seed(0)
    return OneBlockINTR(4, dict(name="patchnet", width=4, dim=16, stride=8), dim=16, num_heads=2)


def report(path):
    page = Report("birds")
    page.add("Notes", "a line " * 999)
    page.save(path)


def learn(path):
    fit(model(), (BIRDS, None), Recipe(epochs=1, batch_size=8), path, "cpu", progress=False)


WRITERS = {
    "checkpoint": lambda p: save(model(), p / "a"),
    "folder of a model": lambda p: save_pretrained(model(), p / "a"),
    "run": lambda p: learn(p / "a"),
    "features": lambda p: cache_features(model().backbone, (BIRDS, None), p / "a", progress=False),
    "predictions": lambda p: predict(model(), [BIRDS[i][0].float() / 255 for i in range(8)] * 9).to_csv(
        p / "a"
    ),
    "history": lambda p: History([dict(epoch=i, loss=0.1) for i in range(999)]).to_csv(p / "a"),
    "report": lambda p: report(p / "a.html"),
    "edits": lambda p: save_edits(p / "a.json", edits()),
}


def edits():
    return [Edit("blur", dict(box=[0.0, 0.0, 4.0, 4.0]), {}, 1) for _ in range(99)]


def left_in(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.parametrize("what", WRITERS)
def test_a_file_may_not_be_larger(what, tmp_path):
    "The system itself refuses, in the middle of a write, as it does where the disk is full"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
        with pytest.raises(OSError, match=r"File too large.*(Choose|Take|make room|as it was)"):
            WRITERS[what](tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert all(Path(name).name.startswith(".") for name in left_in(tmp_path))
    WRITERS[what](tmp_path)  # once there is room


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS], ids=os.strerror)
@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_a_quota_a_disk_to_be_read_only(what, number, tmp_path, monkeypatch):
    "What was there is as it was"
    WRITERS[what](tmp_path)
    before = left_in(tmp_path)
    real = io.open

    def refused(file, mode="r", *args, **more):
        if isinstance(file, (str, os.PathLike)) and str(tmp_path) in str(file) and set(mode) & set("wxa+"):
            raise OSError(number, os.strerror(number), str(file))
        return real(file, mode, *args, **more)

    with monkeypatch.context() as m:
        m.setattr(io, "open", refused)
        m.setattr(builtins, "open", refused)
        if what in ("run", "features"):  # the same again is not written again
            for file in [
                *tmp_path.rglob("checkpoint*"),
                *tmp_path.rglob("train.*"),
                *tmp_path.rglob("best*"),
            ]:
                file.unlink()
            before = left_in(tmp_path)
        with pytest.raises(OSError, match=rf"{os.strerror(number)}.*(Choose|Take|make room|as it was)"):
            WRITERS[what](tmp_path)
    assert left_in(tmp_path) == before


@pytest.mark.skipif(os.name != "posix", reason="needs folders that can be closed")
@pytest.mark.parametrize("what", WRITERS)
def test_a_closed_folder(what):
    "Root may write anywhere, so it plays nobody"
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name) / "closed", os.geteuid() == 0
        folder.mkdir(), folder.chmod(0o555), Path(name).chmod(0o755)
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(
                PermissionError, match=r"can't be written \(Permission denied\).*Choose a folder"
            ):
                WRITERS[what](folder)
        finally:
            if root:
                os.seteuid(0)
        assert not list(folder.iterdir())


def test_the_model_is_there_after_all_of_this(tmp_path):
    save(model(), tmp_path / "a")
    assert load(tmp_path / "a").num_classes == 4
