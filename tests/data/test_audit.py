"""What is wrong with photographs is found, named and told without harm."""

import os
import shutil
import sys

import pytest
from layouts import save_noise
from PIL import Image
from torch.utils.data import DataLoader

from intr_nb.core.images import collate
from intr_nb.data.image_folders import ImageFolders
from intr_nb.data.photos import Photos
from intr_nb.data.transforms import square_transforms


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows names that are no text")
def test_names_that_are_no_text(tree):
    os.rename(os.fsencode(tree / "robin" / "0.png"), os.fsencode(tree / "robin") + b"/\xff.png")
    (tree / "robin" / "1.png").write_bytes(b"junk")
    os.rename(os.fsencode(tree / "robin" / "1.png"), os.fsencode(tree / "robin") + b"/\xfe.png")
    data = ImageFolders(tree)
    for text in (data.report._repr_html_(), repr(data.report)):
        text.encode("utf-8")
    assert len(data.report.unreadable) == 1


def test_names_are_escaped(tmp_path):
    for c in ("<script>alert(1)<", "b&b"):
        for i in range(3):
            save_noise(tmp_path / c / f"<img src=x>{i}.png", seed=1)
    (tmp_path / "b&b" / "<i>.png").write_bytes(b"no")
    data = ImageFolders(tmp_path)
    for page in (data._repr_html_(), data.report._repr_html_()):
        assert "<script>" not in page and "<img" not in page and "<i>" not in page
    assert "&lt;img src=x&gt;" in data.report._repr_html_() and "&lt;i&gt;" in data.report._repr_html_()


def break_files(tree):
    "Three faults: cut in half, no image, and too small"
    noise = save_noise(tree / "robin" / "cut.jpg", size=(200, 200))
    noise.write_bytes(noise.read_bytes()[:5000])
    (tree / "robin" / "text.jpg").write_text("not a picture")
    save_noise(tree / "wren" / "dot.png", size=(2, 2))
    return {"cut.jpg": "truncated", "text.jpg": "not an image", "dot.png": "2 x 2"}


def test_faults_are_reported_by_name(tree):
    faults = break_files(tree)
    data = ImageFolders(tree)
    found = {os.path.basename(f): why for f, why in data.report.unreadable}
    assert (
        set(found) == set(faults)
        and all(faults[f] in found[f] for f in faults)
        and "the file ends too early" in found["cut.jpg"]
        and 'leave them out with on_error="skip"' in repr(data.report)
    )
    i = next(
        i
        for i in range(len(data.train))
        if data.train.name(i).endswith("cut.jpg") or data.train.name(i).endswith("text.jpg")
    )
    with pytest.raises(ValueError, match=r"\.jpg' can't be read as a picture: .*on_error=\"skip\"$"):
        data.train[i]


def test_faults_are_skipped_and_listed(tree):
    faults = break_files(tree)
    (tree / "wren" / "nothing.png").write_bytes(b"")
    data = ImageFolders(tree, on_error="skip")
    assert {os.path.basename(f) for f, _ in data.skipped} == {*faults, "nothing.png"} and len(
        data.train
    ) + len(data.valid) == 20
    assert (
        len(data.report.unreadable) == 4
        and len(data.check(progress=False).unreadable) == 4
        and "cut.jpg" in repr(data)
    )
    assert all(why.endswith("; left out") for _, why in data.report.unreadable) and "on_error" not in repr(
        data.report
    )
    for p in (data.train, data.valid):
        assert len(list(p)) == len(p)


def test_a_worker_names_the_file(tree):
    break_files(tree)
    loader = DataLoader(
        ImageFolders(tree, square_transforms(8), valid=0).train, 4, num_workers=1, collate_fn=collate
    )
    with pytest.raises(ValueError, match="cut.jpg' can't be read as a picture"):
        list(loader)


def test_duplicates_are_found_by_content(tmp_path):
    for s, n in (("train", 4), ("val", 2)):
        for c in "ab":
            for i in range(n):
                save_noise(tmp_path / s / c / f"{i}.png")
    jpeg = save_noise(tmp_path / "train" / "a" / "photo.jpg", size=(40, 30))
    Image.open(jpeg).save(tmp_path / "val" / "a" / "saved again.png")
    turned = Image.open(jpeg).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "train" / "b" / "turned by its tag.png", exif=exif)
    shutil.copy(tmp_path / "train" / "b" / "0.png", tmp_path / "train" / "b" / "0 (copy).png")
    r = ImageFolders(tmp_path).check(progress=False)
    assert len(r.duplicates) == 2 and len(r.across) == 1 and r.contradictory == r.across
    assert {os.path.basename(f) for _, _, f in r.across[0]} == {
        "photo.jpg",
        "saved again.png",
        "turned by its tag.png",
    }
    assert "0 (copy).png" in repr(r) and "saved again.png" in r._repr_html_()


def test_same_bytes_of_another_shape_are_no_duplicates(tmp_path):
    for c, size in (("a", (16, 9)), ("b", (9, 16))):
        Image.new("RGB", size).save(tmp_path / f"{c}.png")
    assert (
        not ImageFolders.from_photos(
            {"train": Photos([tmp_path / "a.png", tmp_path / "b.png"], [0, 1], "ab")}, valid=0
        )
        .check(False)
        .duplicates
    )
