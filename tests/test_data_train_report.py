"""The door for pictures, the training loop's promises, and the report: whole or not at all."""
import numpy as np
import pytest
import torch
from PIL import Image

from intr_nb.aviary import Aviary, draw
from intr_nb.backbones import PatchNet
from intr_nb.data import pad_batch, to_rgb, to_tensor
from intr_nb.model import OneBlockINTR
from intr_nb.report import Report
from intr_nb.train import evaluate, fit, random_erase

PICTURE = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)


def test_all_kinds_of_one_picture_agree():
    rgb, grey = Image.fromarray(PICTURE), Image.fromarray(PICTURE).convert("L")
    for same in (rgb, PICTURE, PICTURE.astype(np.float32) / 255, PICTURE.astype(np.uint16) * 257, rgb.convert("RGBA")):
        assert np.array_equal(to_rgb(same), PICTURE)
    for same in (grey, np.asarray(grey), np.asarray(grey)[..., None], Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)):
        assert np.array_equal(to_rgb(same), np.asarray(grey)[..., None].repeat(3, -1))
    assert np.abs(to_rgb(rgb.quantize(256)).astype(int) - PICTURE).mean() < 30
    assert to_rgb(Image.new("CMYK", (9, 9), (255, 0, 0, 0)))[0, 0].tolist()[0] < 60


def test_camera_rotation_is_applied(tmp_path):
    picture = Image.fromarray(PICTURE)
    exif = picture.getexif(); exif[0x0112] = 6
    picture.save(tmp_path / "phone.png", exif=exif)
    assert np.array_equal(to_rgb(Image.open(tmp_path / "phone.png")), np.rot90(PICTURE, -1))


@pytest.mark.parametrize("bad, words", [
    (np.zeros((1, 1, 3), np.uint8), "1 x 1 pixels"), (np.full((9, 9), np.nan), "NaN"), (np.full((9, 9), 7.), "values 7 to 7"),
    (np.zeros((9, 9, 7), np.uint8), "shape"), (np.full((9, 9), -4), "values -4")])
def test_unreadable_pictures_say_why(bad, words):
    with pytest.raises(ValueError, match=words): to_rgb(bad)


def test_tensors_pass_and_batches_do_not():
    x = to_tensor(PICTURE, size=32)
    assert x.shape == (3, 32, 32) and to_tensor(x) is x
    with pytest.raises(ValueError, match="take one"): to_tensor(x[None])


def test_padding_is_masked():
    batch = pad_batch([torch.ones(3, 10, 20), torch.ones(3, 18, 5)], labels=[1, 0], multiple=8)
    assert batch.images.shape == (2, 3, 24, 24) and batch.labels.tolist() == [1, 0]
    assert torch.equal(batch.images[:, 0] == 0, batch.mask) and (~batch.mask[1]).sum() == 18 * 5


@pytest.fixture(scope="module")
def birds(): return draw(Aviary(96, species=4), progress=False), draw(Aviary(32, species=4, seed=1), progress=False)


def small(seed=0):
    torch.manual_seed(seed)
    return OneBlockINTR(4, backbone=PatchNet(width=8, stride=8), saliency_bound=1.)


def test_the_best_epoch_is_kept(birds):
    model = small()
    history = fit(model, *birds, epochs=4, progress=False, device="cpu")
    assert len(history.rows) == 4 and evaluate(model, birds[1])["accuracy"] == history.best["valid_accuracy"] == max(r["valid_accuracy"] for r in history.rows)
    assert evaluate(model, birds[1])["loss"] == pytest.approx(history.best["valid_loss"], abs=1e-6)
    assert "valid_accuracy" in history._repr_html_() and not model.training


def test_same_seed_same_weights(birds):
    def weights(seed):
        model = small()
        fit(model, *birds, epochs=1, progress=False, device="cpu", seed=seed)
        return torch.cat([p.flatten() for p in model.parameters()])
    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))


def test_interrupting_leaves_a_usable_model(birds, monkeypatch, capsys):
    import intr_nb.train as train
    model, run, calls = small(), train.run_epoch, []
    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3: raise KeyboardInterrupt
        return run(*args)
    monkeypatch.setattr(train, "run_epoch", interrupted)
    history = fit(model, *birds, epochs=5, progress=False, device="cpu")
    assert len(history.rows) == 2 and "interrupted after 2 epochs" in capsys.readouterr().out
    assert evaluate(model, birds[1])["loss"] == pytest.approx(history.best["valid_loss"], abs=1e-6)


def test_a_loss_that_is_no_number_stops_and_restores(birds):
    model = small()
    model.block.w.weight.data.fill_(1e38)  # logits beyond float32, unless bounded
    model.block.bound = None
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(FloatingPointError, match="loss is .* in step"): fit(model, *birds, epochs=1, progress=False, device="cpu")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_erasing_hides_patches_and_repeats():
    images = torch.zeros(64, 3, 48, 48)
    a, b = (random_erase(images, 1, torch.Generator().manual_seed(s)) for s in (0, 0))
    assert torch.equal(a, b) and images.abs().sum() == 0
    touched = (a != 0).any(1).flatten(1).float().mean(1)
    assert .2 < (touched > 0).float().mean() < .8 and touched.max() < .15
    assert torch.equal(random_erase(images, 0), images)


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="can't write the report to .*choose a folder"): Report("x").save(tmp_path / "file" / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_report_that_fails_halfway_keeps_the_old_one(tmp_path, monkeypatch):
    import os
    path = Report("old").save(tmp_path / "report.html")
    def full(*args): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"): Report("new").save(path)
    assert "old" in path.read_text() and [p.name for p in tmp_path.iterdir()] == ["report.html"]
