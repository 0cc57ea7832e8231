"""Folders as people have them: read whole, or an error that names the file."""

import os
import shutil
import unicodedata

import numpy as np
import pytest
import torch
from layouts import save_noise
from PIL import Image

from intr_nb.data.image_folders import ImageFolders
from intr_nb.data.photos import Photos
from intr_nb.data.transforms import square_transforms


def names(photos):
    return sorted(os.path.relpath(photos.name(i), photos.root) for i in range(len(photos)))


def test_a_folder_in_one_call(tree):
    data = ImageFolders(tree, square_transforms(16))
    assert data.class_names == ["robin", "wren"] and (len(data.train), len(data.valid), data.test) == (
        16,
        4,
        None,
    )
    assert np.bincount(data.valid.labels).tolist() == [2, 2] and not set(names(data.train)) & set(
        names(data.valid)
    )
    image, label = data.train[0]
    assert image.shape == (3, 16, 16) and type(image) is torch.Tensor and label == 0
    assert torch.equal(data.valid[0][0], data.valid[0][0])
    r = data.report
    assert (
        r is data.report
        and not r.unreadable
        and not r.duplicates
        and r.counts["train"].tolist() == [8, 8]
        and r.sizes.tolist() == [[20, 30]] * 20
    )


def test_the_split_is_the_same_everywhere(tree, tmp_path, monkeypatch):
    data = ImageFolders(tree)
    moved = tmp_path / "elsewhere" / "far"
    shutil.copytree(tree, moved)
    scandir = os.scandir

    class Backwards:
        def __init__(self, folder):
            self.entries = list(scandir(folder))[::-1]

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *a):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    again = ImageFolders(str(moved))
    assert names(again.valid) == names(data.valid) and again.train.files == data.train.files
    assert names(ImageFolders(tree, seed=1).valid) != names(data.valid)
    whole = Photos([data.train.name(i) for i in range(16)], data.train.labels, data.class_names)
    there = Photos([str(moved / f) for f in data.train.files], data.train.labels, data.class_names)
    assert [os.path.basename(f) for f in whole.split(0.25)[1].files] == [
        os.path.basename(f) for f in there.split(0.25)[1].files
    ]


@pytest.mark.parametrize(
    "folders", [("train", "val"), ("train", "valid"), ("Train", "VALIDATION"), ("training", "dev", "test")]
)
def test_folders_that_are_split(tmp_path, folders):
    for f in folders:
        for c in ("a", "b"):
            save_noise(tmp_path / f / c / "1.png")
    data = ImageFolders(tmp_path)
    assert [len(p or []) for p in (data.train, data.valid, data.test)] == [
        2,
        2,
        2 if "test" in folders else 0,
    ]


def test_train_and_test_only(tmp_path):
    for f, n in (("train", 5), ("test", 3)):
        for i in range(n):
            for c in "ab":
                save_noise(tmp_path / f / c / f"{i}.png")
    data = ImageFolders(tmp_path)
    assert [len(p) for p in (data.train, data.valid, data.test)] == [8, 2, 6]
    assert ImageFolders(tmp_path, valid=0).valid is None


def test_a_class_may_be_called_train(tmp_path):
    for c in ("train", "bus"):
        save_noise(tmp_path / c / "1.png")
        save_noise(tmp_path / c / "2.png")
    assert ImageFolders(tmp_path).class_names == ["bus", "train"]


def test_what_systems_leave_behind(tree):
    for f in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden.png"):
        (tree / "robin" / f).write_bytes(b"x")
    for f in (".ipynb_checkpoints", "__MACOSX", ".git"):
        save_noise(tree / f / "robin" / "0.png")
        save_noise(tree / "robin" / f / "0.png")
    (tree / "robin" / "notes.txt").write_text("seen")
    (tree / "wren" / "phone.HEIC").write_bytes(b"x")
    save_noise(tree / "stray.png")
    data = ImageFolders(tree)
    assert len(data.train) + len(data.valid) == 20 and data.class_names == ["robin", "wren"]
    assert "1 .txt" in repr(data) and "1 .heic" in repr(data) and "stray.png" in repr(data)


def test_endings_nesting_links_and_odd_names(tmp_path):
    root = tmp_path / "root"
    save_noise(root / "a" / "LOUD.PNG")
    save_noise(root / "a" / "deep" / "er" / "x.JpEg")
    save_noise(root / "a" / "Zoë 🐦 & <b>.png")
    save_noise(root / "b" / "2.tif")
    save_noise(root / "b" / "3.png")
    (root / "b" / "link.png").symlink_to(save_noise(tmp_path / "outside.png"))
    (root / "a" / "loop").symlink_to(root / "a", target_is_directory=True)
    (root / "c").symlink_to(tmp_path / "farther", target_is_directory=True)
    save_noise(tmp_path / "farther" / "1.png")
    data = ImageFolders(root, square_transforms(8), valid=0)
    assert np.bincount(data.train.labels).tolist() == [3, 3, 1] and len(list(data.train)) == 7
    assert "&lt;b&gt;" not in repr(data) and not data.report.unreadable


def test_one_spelling_of_a_class(tmp_path):
    save_noise(tmp_path / "train" / unicodedata.normalize("NFC", "zoë") / "1.png")
    save_noise(tmp_path / "train" / "b" / "1.png")
    save_noise(tmp_path / "val" / unicodedata.normalize("NFD", "zoë") / "1.png")
    assert ImageFolders(tmp_path).valid.labels == [1]


def test_an_empty_class_is_named_and_left_out(tree):
    (tree / "owl").mkdir()
    data = ImageFolders(tree)
    assert data.class_names == ["robin", "wren"] and "owl" in repr(data)


def test_a_class_with_one_photograph_is_named(tree):
    save_noise(tree / "owl" / "1.png")
    data = ImageFolders(tree)
    assert "fewer than 5 to train with: owl (1)" in repr(data) and "none in valid: owl" in repr(data)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda r: save_noise(r / "1.png"), "two are needed"),
        (lambda r: save_noise(r / "a" / "1.png"), "found 1 classes"),
        (lambda r: [save_noise(r / "data" / c / "1.png") for c in "ab"], "one above or below"),
        (lambda r: [save_noise(r / s / c / "1.png") for s in ("val", "test") for c in "ab"], "no train/"),
        (
            lambda r: [save_noise(r / s / c / "1.png") for s in ("train", "val", "valid") for c in "ab"],
            "both 'val' and 'valid'",
        ),
        (
            lambda r: [
                save_noise(r / "train" / "robin" / "1.png"),
                save_noise(r / "train" / "wren" / "1.png"),
                save_noise(r / "val" / "Robin" / "1.png"),
            ],
            "'Robin'.*is it 'robin'",
        ),
        (
            lambda r: (
                [save_noise(r / "train" / c / "1.png") for c in "ab"]
                + [save_noise(r / "val" / "zebra" / "1.png")]
            ),
            "val|valid has a class 'zebra'.*add some",
        ),
    ],
)
def test_layouts_that_mean_nothing(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(ValueError, match=words):
        ImageFolders(tmp_path)


def test_no_folder():
    with pytest.raises(FileNotFoundError, match="a folder per class"):
        ImageFolders("nowhere at all")


def test_a_folder_too_high_and_capitals_are_noticed(tree):
    (tree / "Wren").mkdir()
    (tree / "wren" / "0.png").rename(tree / "Wren" / "0.png")
    if (tree / "wren").samefile(tree / "Wren"):
        pytest.skip("this disk does not tell capitals apart")
    assert "classes that differ in capitals only: 'Wren' and 'wren'" in repr(ImageFolders(tree))
    assert "if those are the classes" not in repr(ImageFolders(tree))
    (tree.parent / "above").mkdir()
    tree.rename(tree.parent / "above" / "birds")
    shutil.copytree(tree.parent / "above" / "birds", tree.parent / "above" / "more birds")
    assert "lie in folders within the classes' folders (birds/" in repr(ImageFolders(tree.parent / "above"))


def test_empty_files_and_dead_links_are_found_at_once(tree):
    (tree / "wren" / "nothing.png").write_bytes(b"")
    (tree / "wren" / "dead.png").symlink_to(tree / "gone.png")
    with pytest.raises(
        ValueError, match=r"2 of 22 .*dead.png' \(no such file\).*nothing.png' \(0 bytes\).*on_error"
    ):
        ImageFolders(tree)
    with pytest.raises(ValueError, match="expected 'raise' or 'skip'"):
        ImageFolders(tree, on_error="ignore")


def test_nothing_is_opened_before_it_is_asked_for(tree, monkeypatch):
    opened, real = [], Image.open
    monkeypatch.setattr(Image, "open", lambda f, *a: opened.append(f) or real(f, *a))
    data = ImageFolders(tree)
    repr(data), data._repr_html_()
    assert not opened
    data.train[3]
    assert opened == [data.train.name(3)]


CUB = os.environ.get("INTR_NB_CUB100")


@pytest.mark.skipif(not CUB, reason="set INTR_NB_CUB100 to the folder of the CUB-100 crops")
def test_cub_crops():
    data = ImageFolders.from_csv(
        os.path.join(CUB, "annotations.csv"), root=os.path.join(CUB, "images"), label="class_name", valid=0
    )
    assert (len(data.train), len(data.test), len(data.class_names)) == (2999, 2903, 100)
