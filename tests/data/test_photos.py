"""Folders, tables and data sets as people have them: read whole, or an error that names the file."""

import io
import os
import pickle
import shutil
import sys
import unicodedata
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from intr_nb.core.images import to_rgb
from intr_nb.data.photos import ImageFolders, Photos, _pick
from intr_nb.data.readers import read_table
from intr_nb.data.transforms import collate, square_transforms


def save(path, seed=None, size=(30, 20), **more):
    "A small picture of noise: another seed, other pixels"
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(str(path).encode()) if seed is None else seed
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)).save(
        path, **more
    )
    return path


@pytest.fixture
def tree(tmp_path):
    for c in ("robin", "wren"):
        for i in range(10):
            save(tmp_path / "birds" / c / f"{i}.png")
    return tmp_path / "birds"


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


def test_known_split():
    "The same on every machine and in every version: changing it silently would leak training photographs into validation"
    assert sorted(_pick([f"a/{i}.jpg" for i in range(10)], [0] * 10, 0.3)) == [0, 5, 7]


def test_one_more_photograph_moves_at_most_one():
    files = [f"{i}.jpg" for i in range(50)]
    before, after = ({files[i] for i in _pick(files[:n], [0] * n, 0.2)} for n in (49, 50))
    assert len(before ^ after) <= 2


@pytest.mark.parametrize(
    "n, share, expected", [(1, 0.2, 0), (2, 0.2, 1), (2, 0.9, 1), (3, 0.01, 1), (10, 0.2, 2), (10, 0, 0)]
)
def test_every_class_keeps_and_gives(n, share, expected):
    assert len(_pick(list("abcdefghij")[:n], [0] * n, share)) == expected


@pytest.mark.parametrize("share", [1, -0.1, 20])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match="less than 1"):
        _pick(["a"], [0], share)


@pytest.mark.parametrize(
    "folders", [("train", "val"), ("train", "valid"), ("Train", "VALIDATION"), ("training", "dev", "test")]
)
def test_folders_that_are_split(tmp_path, folders):
    for f in folders:
        for c in ("a", "b"):
            save(tmp_path / f / c / "1.png")
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
                save(tmp_path / f / c / f"{i}.png")
    data = ImageFolders(tmp_path)
    assert [len(p) for p in (data.train, data.valid, data.test)] == [8, 2, 6]
    assert ImageFolders(tmp_path, valid=0).valid is None


def test_a_class_may_be_called_train(tmp_path):
    for c in ("train", "bus"):
        save(tmp_path / c / "1.png")
        save(tmp_path / c / "2.png")
    assert ImageFolders(tmp_path).class_names == ["bus", "train"]


def test_what_systems_leave_behind(tree):
    for f in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden.png"):
        (tree / "robin" / f).write_bytes(b"x")
    for f in (".ipynb_checkpoints", "__MACOSX", ".git"):
        save(tree / f / "robin" / "0.png")
        save(tree / "robin" / f / "0.png")
    (tree / "robin" / "notes.txt").write_text("seen")
    (tree / "wren" / "phone.HEIC").write_bytes(b"x")
    save(tree / "stray.png")
    data = ImageFolders(tree)
    assert len(data.train) + len(data.valid) == 20 and data.class_names == ["robin", "wren"]
    assert "1 .txt" in repr(data) and "1 .heic" in repr(data) and "stray.png" in repr(data)


def test_endings_nesting_links_and_odd_names(tmp_path):
    root = tmp_path / "root"
    save(root / "a" / "LOUD.PNG")
    save(root / "a" / "deep" / "er" / "x.JpEg")
    save(root / "a" / "Zoë 🐦 & <b>.png")
    save(root / "b" / "2.tif")
    save(root / "b" / "3.png")
    (root / "b" / "link.png").symlink_to(save(tmp_path / "outside.png"))
    (root / "a" / "loop").symlink_to(root / "a", target_is_directory=True)
    (root / "c").symlink_to(tmp_path / "farther", target_is_directory=True)
    save(tmp_path / "farther" / "1.png")
    data = ImageFolders(root, square_transforms(8), valid=0)
    assert np.bincount(data.train.labels).tolist() == [3, 3, 1] and len(list(data.train)) == 7
    assert "&lt;b&gt;" not in repr(data) and not data.report.unreadable


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows names that are no text")
def test_names_that_are_no_text(tree):
    os.rename(os.fsencode(tree / "robin" / "0.png"), os.fsencode(tree / "robin") + b"/\xff.png")
    (tree / "robin" / "1.png").write_bytes(b"junk")
    os.rename(os.fsencode(tree / "robin" / "1.png"), os.fsencode(tree / "robin") + b"/\xfe.png")
    data = ImageFolders(tree)
    for text in (data.report._repr_html_(), repr(data.report)):
        text.encode("utf-8")
    assert len(data.report.unreadable) == 1


def test_one_spelling_of_a_class(tmp_path):
    save(tmp_path / "train" / unicodedata.normalize("NFC", "zoë") / "1.png")
    save(tmp_path / "train" / "b" / "1.png")
    save(tmp_path / "val" / unicodedata.normalize("NFD", "zoë") / "1.png")
    assert ImageFolders(tmp_path).valid.labels == [1]


def test_names_are_escaped(tmp_path):
    for c in ("<script>alert(1)<", "b&b"):
        for i in range(3):
            save(tmp_path / c / f"<img src=x>{i}.png", seed=1)
    (tmp_path / "b&b" / "<i>.png").write_bytes(b"no")
    data = ImageFolders(tmp_path)
    for page in (data._repr_html_(), data.report._repr_html_()):
        assert "<script>" not in page and "<img" not in page and "<i>" not in page
    assert "&lt;img src=x&gt;" in data.report._repr_html_() and "&lt;i&gt;" in data.report._repr_html_()


def test_an_empty_class_is_named_and_left_out(tree):
    (tree / "owl").mkdir()
    data = ImageFolders(tree)
    assert data.class_names == ["robin", "wren"] and "owl" in repr(data)


def test_a_class_with_one_photograph_is_named(tree):
    save(tree / "owl" / "1.png")
    data = ImageFolders(tree)
    assert "fewer than 5 to train with: owl (1)" in repr(data) and "none in valid: owl" in repr(data)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda r: save(r / "1.png"), "two are needed"),
        (lambda r: save(r / "a" / "1.png"), "found 1 classes"),
        (lambda r: [save(r / "data" / c / "1.png") for c in "ab"], "one above or below"),
        (lambda r: [save(r / s / c / "1.png") for s in ("val", "test") for c in "ab"], "no train/"),
        (
            lambda r: [save(r / s / c / "1.png") for s in ("train", "val", "valid") for c in "ab"],
            "both 'val' and 'valid'",
        ),
        (
            lambda r: [
                save(r / "train" / "robin" / "1.png"),
                save(r / "train" / "wren" / "1.png"),
                save(r / "val" / "Robin" / "1.png"),
            ],
            "'Robin'.*is it 'robin'",
        ),
        (
            lambda r: [save(r / "train" / c / "1.png") for c in "ab"] + [save(r / "val" / "zebra" / "1.png")],
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


def break_files(tree):
    "Three faults: cut in half, no image, and too small"
    noise = save(tree / "robin" / "cut.jpg", size=(200, 200))
    noise.write_bytes(noise.read_bytes()[:5000])
    (tree / "robin" / "text.jpg").write_text("not a picture")
    save(tree / "wren" / "dot.png", size=(2, 2))
    return {"cut.jpg": "truncated", "text.jpg": "not an image", "dot.png": "2 x 2"}


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
    with pytest.raises(ValueError, match=r"can't read .*\.jpg"):
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


def test_empty_files_and_dead_links_are_found_at_once(tree):
    (tree / "wren" / "nothing.png").write_bytes(b"")
    (tree / "wren" / "dead.png").symlink_to(tree / "gone.png")
    with pytest.raises(
        ValueError, match=r"2 of 22 .*dead.png' \(no such file\).*nothing.png' \(0 bytes\).*on_error"
    ):
        ImageFolders(tree)
    with pytest.raises(ValueError, match="expected \"raise\" or \"skip\""):
        ImageFolders(tree, on_error="ignore")


def test_nothing_is_opened_before_it_is_asked_for(tree, monkeypatch):
    opened, real = [], Image.open
    monkeypatch.setattr(Image, "open", lambda f, *a: opened.append(f) or real(f, *a))
    data = ImageFolders(tree)
    repr(data), data._repr_html_()
    assert not opened
    data.train[3]
    assert opened == [data.train.name(3)]


def test_a_worker_names_the_file(tree):
    break_files(tree)
    loader = DataLoader(
        ImageFolders(tree, square_transforms(8), valid=0).train, 4, num_workers=1, collate_fn=collate
    )
    with pytest.raises(ValueError, match="can't read .*cut.jpg"):
        list(loader)


def test_duplicates_are_found_by_content(tmp_path):
    for s, n in (("train", 4), ("val", 2)):
        for c in "ab":
            for i in range(n):
                save(tmp_path / s / c / f"{i}.png")
    jpeg = save(tmp_path / "train" / "a" / "photo.jpg", size=(40, 30))
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
        Image.new("RGB", size).save((tmp_path / f"{c}.png"))
    assert (
        not ImageFolders.from_photos(
            {"train": Photos([tmp_path / "a.png", tmp_path / "b.png"], [0, 1], "ab")}, valid=0
        )
        .check(False)
        .duplicates
    )


def picture_in(mode):
    rgb = Image.new("RGB", (12, 10), (200, 40, 60))
    if mode == "LAB":
        from PIL import ImageCms

        return ImageCms.applyTransform(
            rgb,
            ImageCms.buildTransform(
                ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
            ),
        )
    return rgb.convert("RGBA").convert("RGBa") if mode == "RGBa" else rgb.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa"])
def test_every_mode_is_the_same_red(mode):
    assert np.abs(to_rgb(picture_in(mode)).astype(int) - (200, 40, 60)).max() <= 4


def test_kinds_of_files(tmp_path):
    rgb, grey = Image.new("RGB", (12, 10), (200, 40, 60)), Image.new("L", (12, 10), 78)
    deep = Image.fromarray(np.full((10, 12), 78 * 257, np.uint16))
    made = [
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("palette.png", rgb.quantize(4), {}),
        ("cut out.png", rgb, {"transparency": (200, 40, 60)}),
        ("clear.webp", Image.new("RGBA", (12, 10), (200, 40, 60, 0)), {"lossless": True}),
        ("deep.png", deep, {}),
        ("deep.tif", deep, {}),
        ("grey.jpg", grey, {}),
        ("bits.png", Image.new("1", (12, 10), 1), {}),
        ("odd tag.jpg", grey, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0"}),
    ]
    for name, picture, more in made:
        picture.save(tmp_path / name, **more)
    photos = Photos([n for n, _, _ in made], [0] * len(made), ["a"], root=tmp_path)
    colours = [photos.image(i)[5, 5].tolist() for i in range(len(made))]
    red, white, dark = [200, 40, 60], [255] * 3, [78] * 3
    for got, expected in zip(colours, [red, red, white, white, dark, dark, dark, white, dark]):
        assert np.abs(np.subtract(got, expected)).max() <= 3, (colours, expected)


def test_camera_rotation_and_points(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "phone.jpg", size=(60, 30), exif=exif)
    photos = Photos(
        ["phone.jpg"],
        [0],
        ["a"],
        square_transforms(24)[1],
        root=tmp_path,
        points=[[[15, 30, 1], [70, 3, 1], [1, 1, 0]]],
        boxes=[[0, 0, 30, 60]],
    )
    assert photos.image(0).shape == (60, 30, 3)
    s = photos.sample(0)
    assert s["points"].tolist() == [
        [12, 12, 1],
        [pytest.approx(56), pytest.approx(1.2), 0],
        [pytest.approx(0.8), pytest.approx(0.4), 0],
    ]
    assert s["boxes"].tolist() == [0, 0, 24, 24] and s["label"] == 0 and torch.equal(s["image"], photos[0][0])


def test_subsets_keep_what_belongs_together(tmp_path):
    n = 6
    photos = Photos(
        [save(tmp_path / f"{i}.png", seed=i) for i in range(n)],
        [i % 2 for i in range(n)],
        ["a", "b"],
        points=np.arange(n)[:, None, None] * np.ones((1, 2, 3)),
        boxes=np.arange(n)[:, None] * np.ones(4),
        attributes=np.arange(n)[:, None],
    )
    part = photos.subset([5, 2]).subset(np.array([False, True]))
    assert (
        part.files == photos.files[2:3]
        and part.labels == [0]
        and part.points[0, 0, 0] == part.boxes[0, 0] == part.attributes[0, 0] == 2
    )
    assert np.array_equal(part.image(0), photos.image(2)) and len(photos) == n and photos.points.shape[0] == n
    assert photos.with_transform(len).transform is len and photos.transform is None
    assert len(list(photos)) == n and photos[-1][1] == photos.labels[-1]
    residual, share = photos.split(1 / 3, seed=2)
    assert sorted(residual.files + share.files) == photos.files and np.bincount(share.labels).tolist() == [
        1,
        1,
    ]


@pytest.mark.parametrize(
    "more, words",
    [
        ({"labels": [0]}, "labels: 1 for 2"),
        ({"labels": [0, 2]}, "'b.png' has label 2: expected 0 to 1"),
        ({"labels": [0, -1]}, "label -1"),
        ({"points": np.zeros((3, 1, 3))}, "points: 3 for 2"),
        ({"points": np.zeros((2, 5, 2))}, r"points of shape \(2, 5, 2\)"),
        ({"boxes": np.zeros((2, 5))}, "boxes of shape"),
    ],
)
def test_what_does_not_fit_together(more, words):
    with pytest.raises(ValueError, match=words):
        Photos(["a.png", "b.png"], more.pop("labels", [0, 1]), ["x", "y"], **more)


def write_csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "mark, encoding, end", [(",", "utf-8", "\n"), (";", "utf-8-sig", "\r\n"), ("\t", "utf-8", "\n")]
)
def test_tables(tree, mark, encoding, end):
    rows = [["path", "species, full", "split", "remark"]] + [
        [
            f"{c}\\{i}.png" if i == 3 else f"{c}/{i}.png",
            f'"Zoë\'s {c}, adult"',
            "val" if i > 7 else "Train",
            '"two\nlines"',
        ]
        for c in ("robin", "wren")
        for i in range(10)
    ]
    if mark == ",":
        rows[0][1] = '"species, full"'
    table = write_csv(tree / "list.csv", end.join(mark.join(r) for r in rows), encoding)
    data = ImageFolders.from_csv(table, label="species, full", transforms=square_transforms(8))
    assert (
        data.class_names == ["Zoë's robin, adult", "Zoë's wren, adult"]
        and (len(data.train), len(data.valid)) == (16, 4)
        and len(list(data.train)) == 16
    )
    again = ImageFolders.from_csv(table, label="species, full", split=None, valid=0.5)
    assert (len(again.train), len(again.valid)) == (10, 10)


def test_numbers_are_sorted_as_numbers(tree):
    table = write_csv(
        tree / "list.csv",
        "path,label\n" + "\n".join(f"robin/{i}.png,{i}" for i in range(10)) + "\nwren/1.png,10",
    )
    assert ImageFolders.from_csv(table).class_names == [str(i) for i in range(11)]


@pytest.mark.parametrize(
    "text, words",
    [
        ("file,label\na.png,x", "no column 'path', but 'file', 'label'"),
        ("path,label\na.png,", "line 2: no label"),
        ("path,label,split\na.png,x,holdout", "'holdout'; expected train"),
        ("path,label,split\na.png,x,train\nb.png,y,", "1 lines have no split"),
        ("", "no column 'path'"),
        ("path,label\nrobin/0.png,a\ngone.png,b", "gone.png' .no such file"),
        ("path,label,split\nrobin/0.png,a,test", "none to train with"),
        ("path,label\nrobin/0.png,a\n,\n,b", "line 4: no path"),
        ("path,label\nphotos/robin/0.png,a\nphotos/robin/1.png,b", "root="),
    ],
)
def test_tables_that_are_wrong(tree, text, words):
    with pytest.raises(ValueError, match=words):
        ImageFolders.from_csv(write_csv(tree / "list.csv", text))


def test_a_table_from_a_spreadsheet(tree):
    text = (
        "path, label\n"
        + "\n".join(f"robin/{i}.png,a" for i in range(4))
        + "\n,\n\n"
        + "\n".join(f"wren/{i}.png,b" for i in range(4))
        + "\n,\n"
    )
    data = ImageFolders.from_csv(write_csv(tree / "list.csv", text))
    assert data.class_names == ["a", "b"] and len(data.train) + len(data.valid) == 8


def test_a_table_that_is_none(tree):
    with pytest.raises(FileNotFoundError, match="no table .*Check the path"):
        ImageFolders.from_csv(tree / "lost.csv")
    with pytest.raises(OSError, match=r"folder: read it with ImageFolders\(folder\)"):
        ImageFolders.from_csv(tree)


def test_a_table_in_another_encoding(tree):
    with pytest.raises(ValueError, match="CSV UTF-8"):
        read_table(write_csv(tree / "list.csv", "path,label\na.png,Zoë", "latin-1"))


datasets = pytest.importorskip("datasets")


def rows(n=8, labels=None, feature=None, broken=()):
    def data(i):
        b = io.BytesIO()
        Image.new("RGB", (20, 10), (20 * i, 0, 0)).save(b, "PNG")
        return {"bytes": b"junk" if i in broken else b.getvalue(), "path": None}

    feature = feature or datasets.ClassLabel(names=["wren", "robin"])
    return datasets.Dataset.from_dict(
        {"image": [data(i) for i in range(n)], "label": labels or [i % 2 for i in range(n)]},
        features=datasets.Features({"image": datasets.Image(decode=False), "label": feature}),
    ).cast_column("image", datasets.Image())


def test_a_dataset_from_memory_and_disk(tmp_path):
    data = ImageFolders.from_dataset(rows(), transforms=square_transforms(8, augment=False), valid=0.25)
    assert data.class_names == ["wren", "robin"] and (len(data.train), len(data.valid)) == (6, 2)
    for p in (data.train, data.valid):
        for i in range(len(p)):
            assert (
                p.image(i)[0, 0, 0] == 20 * int(p.name(i)[4:-1]) and p.labels[i] == int(p.name(i)[4:-1]) % 2
            )
    datasets.DatasetDict(train=rows(), validation=rows(4), test=rows(2)).save_to_disk(tmp_path / "saved")
    saved = ImageFolders.from_dataset(tmp_path / "saved")
    assert [len(p) for p in (saved.train, saved.valid, saved.test)] == [8, 4, 2] and saved.test.name(
        1
    ) == "test[1]"
    assert len(saved.report.across) == 4 and not saved.report.unreadable


def test_labels_as_text_and_numbers():
    assert ImageFolders.from_dataset(rows(4, ["b", "a", "b", "a"], datasets.Value("string"))).class_names == [
        "a",
        "b",
    ]
    numbers = ImageFolders.from_dataset(rows(4, [10, 9, 10, 9], datasets.Value("int64")), valid=0)
    assert numbers.class_names == ["9", "10"] and numbers.train.labels == [1, 0, 1, 0]


def test_rows_that_cannot_be_read():
    data = ImageFolders.from_dataset(rows(broken=(3,)), valid=0)
    with pytest.raises(ValueError, match=r"can't read 'all\[3\]'"):
        data.train[3]
    skipped = ImageFolders.from_dataset(rows(broken=(3,)), valid=0, on_error="skip")
    assert (
        len(skipped.train) == 7
        and skipped.skipped[0][0] == "all[3]"
        and skipped.train.image(3)[0, 0, 0] == 80
    )


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: rows(4, [0, -1, 1, 0]), "label is -1"),
        (lambda: rows().rename_column("label", "y"), "no column 'label', but 'image', 'y'"),
        (lambda: datasets.DatasetDict(validation=rows(), test=rows()), "none to train with"),
    ],
)
def test_datasets_that_are_wrong(make, words):
    with pytest.raises(ValueError, match=words):
        ImageFolders.from_dataset(make())


def test_streams_are_refused():
    with pytest.raises(TypeError, match="streaming"):
        ImageFolders.from_dataset(rows().to_iterable_dataset())


def test_they_go_to_other_processes(tree):
    for data in (
        ImageFolders(tree, square_transforms(8)),
        ImageFolders.from_dataset(rows(), transforms=square_transforms(8)),
    ):
        loader = DataLoader(pickle.loads(pickle.dumps(data.train)), 4, num_workers=1, collate_fn=collate)
        assert next(iter(loader)).images.shape == (4, 3, 8, 8)


CUB = os.environ.get("INTR_NB_CUB100")


@pytest.mark.skipif(not CUB, reason="set INTR_NB_CUB100 to the folder of the CUB-100 crops")
def test_cub_crops():
    data = ImageFolders.from_csv(
        os.path.join(CUB, "annotations.csv"), root=os.path.join(CUB, "images"), label="class_name", valid=0
    )
    assert (len(data.train), len(data.test), len(data.class_names)) == (2999, 2903, 100)
