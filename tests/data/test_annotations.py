"""Masks, boxes and part points beside photographs: found by name, aligned, or an error that says why not."""

import json
import pickle
import sys

import numpy as np
import pytest
import torch
from layouts import save_noise
from PIL import Image
from torchvision.transforms import v2

from intr_nb.data.image_folders import ImageFolders
from intr_nb.data.mask_files import _match
from intr_nb.data.masks import _draw_outlines, _read_mask
from intr_nb.data.photos import Photos
from intr_nb.data.transforms import square_transforms

OBJECT = np.zeros((20, 30), np.uint8)  # the photographs of `tree` are 30 x 20
OBJECT[4:12, 6:20] = 255
NAMES = [f"{c}/{i}" for c in ("robin", "wren") for i in range(10)]


def save(path, mask=OBJECT):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def coco(tmp_path, names=NAMES, **more):
    images = [dict(id=i, file_name=f"{n}.png", height=20, width=30) for i, n in enumerate(names)]
    one = dict(segmentation=[[6, 4, 20, 4, 20, 12, 6, 12]], bbox=[6, 4, 14, 8]) | more
    path = tmp_path / "instances.json"
    path.write_text(
        json.dumps(dict(images=images, annotations=[dict(image_id=i["id"], **one) for i in images]))
    )
    return path


def table(tmp_path, header, *lines):
    (tmp_path / "table.csv").write_text("\n".join([header, *lines]))
    return tmp_path / "table.csv"


def plain(data):
    "Every photograph's mask in its own size"
    photos = data.train.with_transform(None)
    return [photos.sample(i)["masks"] for i in range(len(photos))]


# -- layouts --


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_that_mirrors_the_photographs(tree, tmp_path, inside):
    home = tree / "masks" if inside else tmp_path / "masks"
    for n in NAMES[:-1]:
        save(home / f"{n}.png")
    save(home / "robin" / "lost.png")
    data = ImageFolders(tree, valid=0, masks=str(home))
    assert data.class_names == ["robin", "wren"] and len(data.train) == 20
    masks = plain(data)
    assert masks[-1] is None and all((m.numpy() == (OBJECT > 0)).all() for m in masks[:-1])
    assert data.notes[0].startswith("masks for 19 of 20 photographs; the others don't count")
    assert "fit no photograph: 1 (robin/lost)" in data.notes[1] and len(data.notes) == 2
    assert pickle.loads(pickle.dumps(data.train)).sample(0)["masks"].shape == (224, 224)


def test_files_beside_the_photographs_are_no_photographs(tree):
    before = ImageFolders(tree)
    for n in NAMES[:5]:
        save(tree / f"{n}_mask.png")
    save(tree / "wren" / "gone_mask.png")
    assert len(ImageFolders(tree, valid=0).train) == 26  # nobody said that they are masks
    data = ImageFolders(tree, valid=0, masks="_mask")
    assert len(data.train) == 20 and sum(m is not None for m in plain(data)) == 5
    assert "masks for 5 of 20" in data.notes[0] and "gone_mask.png" in data.notes[1]
    assert ImageFolders(tree, masks="_mask").train.files == before.train.files


def test_coco_outlines_and_boxes(tree, tmp_path):
    path = coco(tmp_path)
    data = ImageFolders(tree, valid=0, masks=path, boxes=path)
    assert all((m.numpy() == (OBJECT > 0)).all() for m in plain(data))
    assert data.train.with_transform(None).sample(3)["boxes"].tolist() == [6, 4, 20, 12]
    assert pickle.loads(pickle.dumps(data.train)).sample(0)["masks"].any()


def test_run_lengths():
    rle = {"size": [20, 30], "counts": [124, *[8, 12] * 13, 8, 600 - 124 - 20 * 13 - 8]}
    assert (_draw_outlines([rle], (20, 30)) == (OBJECT > 0)).all()
    with pytest.raises(ValueError, match="add up to 5: expected 20 x 30"):
        _draw_outlines([{"size": [20, 30], "counts": [2, 3]}], (20, 30))


def test_packed_run_lengths_name_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ImportError, match="need pycocotools: pip install pycocotools"):
        _draw_outlines([{"size": [20, 30], "counts": "PPYo0"}], (20, 30))


def test_packed_run_lengths():
    coco_mask = pytest.importorskip("pycocotools.mask")
    packed = coco_mask.encode(np.asfortranarray(OBJECT > 0).astype(np.uint8))
    packed["counts"] = packed["counts"].decode()
    assert (_draw_outlines([packed], (20, 30)) == (OBJECT > 0)).all()


def test_tables_of_boxes_and_points(tree, tmp_path):
    boxes = table(tmp_path, "path;x;y;w;h", "robin/0.png;6;4;14;8", "robin/0.png;1;5;2;2").rename(
        tmp_path / "b.csv"
    )
    lines = "robin/0.png,beak,7,5,1", "robin/0.png,tail,,,0", "wren\\3.png,tail,9,9,1"
    points = table(tmp_path, "path,part,x,y,visible", *lines)
    photos = ImageFolders(tree, valid=0, boxes=boxes, points=points).train.with_transform(None)
    assert photos.point_names == ["beak", "tail"]
    s = photos.sample(0)
    assert s["boxes"].tolist() == [1, 4, 20, 12] and s["points"].tolist() == [[7, 5, 1], [0, 0, 0]]
    assert photos.sample(1)["boxes"] is None and photos.sample(13)["points"][1].tolist() == [9, 9, 1]
    assert photos.subset([13]).sample(0)["points"][1].tolist() == [9, 9, 1]


def test_tables_and_hub_rows_take_masks_too(tree, tmp_path):
    rows = table(tmp_path, "path,label", *[f"{n}.png,{n.split('/')[0]}" for n in NAMES])
    data = ImageFolders.from_csv(rows, root=tree, valid=0, masks=coco(tmp_path))
    assert len(plain(data)) == 20 and plain(data)[0].sum() == 14 * 8


# -- alignment --


@pytest.mark.parametrize(
    "steps",
    [
        [v2.Resize((40, 40))],
        [v2.Resize(40), v2.CenterCrop(32)],
        [v2.Resize((40, 90))],
        [v2.RandomHorizontalFlip(1)],
        [v2.CenterCrop((14, 22))],
    ],
    ids=["square", "crop", "rectangle", "flip", "centre"],
)
def test_a_mask_stays_on_the_photograph(steps):
    transform = v2.Compose([v2.ToImage(), *steps, v2.ToDtype(torch.float32, scale=True)])
    pixels = np.repeat(OBJECT[..., None], 3, 2)
    s = Photos(["a"], [0], ["a"], transform, masks=[OBJECT], opener=lambda i: pixels).sample(0)
    assert s["masks"].dtype == torch.bool and s["masks"].shape == s["image"].shape[1:] and s["masks"].any()
    assert (s["masks"] != (s["image"][0] > 0.5)).float().mean() < 0.02  # halves of pixels at the outline


def test_a_mask_lies_as_the_camera_held_the_photograph(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # upright, it is 20 wide and 30 high
    save_noise(tmp_path / "phone.jpg", exif=exif)
    upright = Photos(["phone.jpg"], [0], ["a"], root=tmp_path, masks=[OBJECT.T])
    assert (upright.sample(0)["masks"].numpy() == (OBJECT.T > 0)).all()
    turned = upright._with(masks=[OBJECT])
    with pytest.raises(
        ValueError, match="30 x 20 pixels for .*phone.jpg' of 20 x 30.*same proportions.*turned"
    ):
        turned.sample(0)


def test_kinds_of_files(tmp_path):
    palette = Image.fromarray(OBJECT // 100)
    palette.putpalette([0, 0, 0, 0, 0, 0, 0, 0, 0])  # all black to the eye, numbered all the same
    clear = np.dstack([np.full_like(OBJECT, 255)] * 3 + [OBJECT])
    kinds = {"grey.png": Image.fromarray(OBJECT), "palette.png": palette, "clear.png": Image.fromarray(clear)}
    kinds |= {"bits.bmp": Image.fromarray(OBJECT > 0), "deep.tif": Image.fromarray(OBJECT.astype(np.uint16))}
    kinds["colour.png"] = Image.fromarray(np.dstack([OBJECT, 0 * OBJECT, 0 * OBJECT]))
    for name, picture in kinds.items():
        picture.save(tmp_path / name)
        assert (_read_mask(tmp_path / name) == (OBJECT > 0)).all(), name
    Image.fromarray(OBJECT).save(tmp_path / "lossy.jpg", quality=30)
    assert (_read_mask(tmp_path / "lossy.jpg") != (OBJECT > 0)).mean() < 0.02
    assert (
        np.asarray(Image.open(tmp_path / "lossy.jpg")).astype(bool).mean() > 0.3
    )  # why it is not "not zero"


def test_a_smaller_mask_is_brought_to_the_photographs_size(tree, tmp_path):
    for n in NAMES:
        save(tmp_path / "masks" / f"{n}.png", OBJECT[::2, ::2])
    assert (plain(ImageFolders(tree, valid=0, masks=tmp_path / "masks"))[0].numpy() == (OBJECT > 0)).all()


# -- bad input --


def test_masks_that_do_not_fit_are_named_by_sample_and_by_the_report(tree, tmp_path):
    for n in NAMES:
        save(tmp_path / "masks" / f"{n}.png")
    save(tmp_path / "masks" / "robin" / "0.png", OBJECT[:, :15])
    save(tmp_path / "masks" / "robin" / "1.png", OBJECT | 1)
    save(tmp_path / "masks" / "robin" / "2.png", 0 * OBJECT)
    (tmp_path / "masks" / "robin" / "3.png").write_bytes(b"no picture")
    data = ImageFolders(tree, square_transforms(24), valid=0, masks=tmp_path / "masks")
    with pytest.raises(
        ValueError, match="15 x 20 pixels for .*0.png' of 30 x 20: .*proportions. Is it cropped"
    ):
        data.train.sample(0)
    with pytest.raises(
        ValueError, match="1.png' has no pixel that is 0: expected 0 on the background. Is it a trimap"
    ):
        data.train.sample(1)
    assert not data.train.sample(2)["masks"].any()
    with pytest.raises(ValueError, match="3.png' can't be read: not an image.*Mend"):
        data.train.sample(3)
    notes = data.report.notes
    assert sum(n.startswith("does not fit: mask") for n in notes) == 3
    assert any(n.startswith("masks without an object: 1 (") and "2.png" in n for n in notes)


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere", "masks='.*nowhere': expected a folder of masks, a COCO file.*suffix such as \"_mask\""),
        ("_seg", "none of the 20 photographs has one: expected files such as '0_seg.png'"),
        ("empty", "names none of the 20 photographs: it has no names"),
        ("other", "names none of the 20 photographs: it has 'owl/0'.*Expected names in which"),
        ("two", "two masks of one photograph, .*0.png' and .*0.tif'.*Remove the other"),
        ("flat", "'0' fits 2 photographs .*expected as many folders"),
        ("birds", "holds the photographs, too: expected a folder of their own.*suffix"),
    ],
)
def test_masks_that_cannot_be_found(tree, tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    for path in ("other/owl/0.png", "two/robin/0.png", "two/robin/0.tif", "flat/0.png"):
        save(tmp_path / path)
    with pytest.raises(ValueError, match=message):
        ImageFolders(tree, masks=name if name.startswith("_") else str(tmp_path / name))


def test_coco_files_that_are_none(tree, tmp_path):
    def message(**more):
        with pytest.raises(ValueError) as e:
            ImageFolders(tree, **more)
        return str(e.value)

    assert "names none of the 20 photographs" in message(masks=coco(tmp_path, ["owl/1", "owl/2"]))
    assert "has no segmentation" in message(masks=coco(tmp_path, segmentation=[])) and "boxes=" in message(
        masks=coco(tmp_path, segmentation=[])
    )
    (tmp_path / "instances.json").write_text("{")
    assert "is no JSON" in message(masks=tmp_path / "instances.json")
    (tmp_path / "instances.json").write_text('{"images": [{"id": 1}]}')
    assert "KeyError 'file_name': expected a COCO file" in message(masks=tmp_path / "instances.json")


@pytest.mark.parametrize(
    "what, header, line, message",
    [
        ("boxes", "path,x,y,w", "robin/0.png,1,2,3", "has no column 'h', but 'path', 'x', 'y', 'w'"),
        (
            "boxes",
            "path,x,y,w,h",
            "robin/0.png,1,2,0,3",
            "line 2: w = 0, h = 3: expected width and height above 0",
        ),
        ("boxes", "path,x,y,w,h", "robin/0.png,1,2,wide,3", "line 2: w is no number: expected pixels"),
        ("boxes", "path,x,y,w,h", "owl/0.png,1,2,3,4", "names none of the 20 photographs"),
        (
            "points",
            "path,part,x,y,visible",
            "robin/0.png,beak,1,2,perhaps",
            "visible is 'perhaps': expected 1 or 0",
        ),
        (
            "points",
            "path,part,x,y",
            "robin/0.png,beak,1,2\nrobin/0.png,beak,3,4",
            "line 3: 'beak' a second time",
        ),
        ("points", "path,part,x,y", "robin/0.png,beak,,2", "line 2: x is no number"),
    ],
)
def test_tables_with_a_fault(tree, tmp_path, what, header, line, message):
    with pytest.raises(ValueError, match=message):
        ImageFolders(tree, **{what: table(tmp_path, header, line)})


def test_a_table_is_a_table(tree):
    with pytest.raises(ValueError, match="points='a.json': expected a table that ends in .csv$"):
        ImageFolders(tree, points="a.json")


def test_boxes_and_points_outside_the_photograph(tree, tmp_path):
    boxes = table(tmp_path, "path,x,y,w,h", "robin/0.png,6,4,50,8", "robin/1.png,6,4,25,8")
    photos = ImageFolders(tree, valid=0, boxes=boxes).train
    with pytest.raises(
        ValueError, match="box of .*0.png' at x = 56, y = 12: expected it in the picture of 30 x 20.*larger"
    ):
        photos.sample(0)
    assert photos.sample(1)["boxes"] is not None  # a pixel beside it is how people click
    lines = "robin/0.png,beak,70,5,1", "robin/1.png,beak,70,5,0"
    photos = ImageFolders(tree, valid=0, points=table(tmp_path, "path,part,x,y,visible", *lines)).train
    with pytest.raises(ValueError, match="part point of .*0.png' at x = 70.*set visible to 0"):
        photos.sample(0)
    assert photos.sample(1)["points"][0, 2] == 0


def test_as_many_masks_as_photographs():
    with pytest.raises(ValueError, match="masks: 1 for 2 photographs"):
        Photos(["a", "b"], [0, 0], ["a"], masks=[OBJECT])
    photos = Photos(["a"], [0], ["a"], masks=[OBJECT[None]], opener=lambda i: np.dstack([OBJECT] * 3))
    with pytest.raises(ValueError, match="mask of shape .1, 20, 30. for 'a': expected .height, width."):
        photos.sample(0)


def test_the_longest_names_decide():
    keys = ["/d/train/robin/1.jpg", "/d/valid/robin/1.jpg"]
    assert _match(["valid/robin/1.jpg", "x.jpg"], keys, "t") == ({"valid/robin/1.jpg": keys[1]}, ["x.jpg"])
