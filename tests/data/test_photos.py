"""A list of photographs: opened rightly, split alike everywhere, and what belongs together stays together."""

import numpy as np
import pytest
import torch
from layouts import save_noise
from PIL import Image

from intr_nb.data.photos import Photos, _pick
from intr_nb.data.transforms import square_transforms


def test_known_split():
    "The same on every machine and in every version: a silent change would leak training photographs into validation"
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
    save_noise(tmp_path / "phone.jpg", size=(60, 30), exif=exif)
    photos = Photos(
        ["phone.jpg"],
        [0],
        ["a"],
        square_transforms(24)[1],
        root=tmp_path,
        points=[[[15, 30, 1], [70, 3, 0], [1, 1, 0]]],
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
        [save_noise(tmp_path / f"{i}.png", seed=i) for i in range(n)],
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
