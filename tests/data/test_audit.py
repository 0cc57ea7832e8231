"""The door for pictures, and the report: whole or not at all."""

import numpy as np
import pytest
import torch
from PIL import Image

from intr_nb.core.images import pad_batch, to_rgb, to_tensor
from intr_nb.core.report import Report

PICTURE = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)


def test_all_kinds_of_one_picture_agree():
    rgb, grey = Image.fromarray(PICTURE), Image.fromarray(PICTURE).convert("L")
    for same in (
        rgb,
        PICTURE,
        PICTURE.astype(np.float32) / 255,
        PICTURE.astype(np.uint16) * 257,
        rgb.convert("RGBA"),
    ):
        assert np.array_equal(to_rgb(same), PICTURE)
    for same in (
        grey,
        np.asarray(grey),
        np.asarray(grey)[..., None],
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
    ):
        assert np.array_equal(to_rgb(same), np.asarray(grey)[..., None].repeat(3, -1))
    assert np.abs(to_rgb(rgb.quantize(256)).astype(int) - PICTURE).mean() < 30
    assert to_rgb(Image.new("CMYK", (9, 9), (255, 0, 0, 0)))[0, 0].tolist()[0] < 60


def test_camera_rotation_is_applied(tmp_path):
    picture = Image.fromarray(PICTURE)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "phone.png", exif=exif)
    assert np.array_equal(to_rgb(Image.open(tmp_path / "phone.png")), np.rot90(PICTURE, -1))


@pytest.mark.parametrize(
    "bad, words",
    [
        (np.zeros((1, 1, 3), np.uint8), "1 x 1 pixels"),
        (np.full((9, 9), np.nan), "NaN"),
        (np.full((9, 9), 7.0), "values 7 to 7"),
        (np.zeros((9, 9, 7), np.uint8), "shape"),
        (np.full((9, 9), -4), "values -4"),
    ],
)
def test_unreadable_pictures_say_why(bad, words):
    with pytest.raises(ValueError, match=words):
        to_rgb(bad)


def test_tensors_pass_and_batches_do_not():
    x = to_tensor(PICTURE, size=32)
    assert x.shape == (3, 32, 32) and to_tensor(x) is x
    with pytest.raises(ValueError, match="take one"):
        to_tensor(x[None])


def test_padding_is_masked():
    batch = pad_batch([torch.ones(3, 10, 20), torch.ones(3, 18, 5)], labels=[1, 0], multiple=8)
    assert batch.images.shape == (2, 3, 24, 24) and batch.labels.tolist() == [1, 0]
    assert torch.equal(batch.images[:, 0] == 0, batch.mask) and (~batch.mask[1]).sum() == 18 * 5


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="can't write the report to .*choose a folder"):
        Report("x").save(tmp_path / "file" / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_report_that_fails_halfway_keeps_the_old_one(tmp_path, monkeypatch):
    import os

    path = Report("old").save(tmp_path / "report.html")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        Report("new").save(path)
    assert "old" in path.read_text() and [p.name for p in tmp_path.iterdir()] == ["report.html"]
