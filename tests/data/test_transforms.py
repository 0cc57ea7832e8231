"""Points, boxes and masks stay on the picture; sizes are DETR's; batches have a mask only where they need
one."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from intr_nb.core.images import collate, to_tensor
from intr_nb.data.transforms import _carry, _point_boxes, _RandomSizeCrop, detr_transforms, square_transforms

PICTURE = np.random.RandomState(0).randint(0, 256, (300, 450, 3)).astype(np.uint8)


def spot(x, y, size=(300, 450), radius=12):
    "A white disc on black, its mask, and its middle as a point"
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    mask = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    return Image.fromarray((mask[..., None] * np.full(3, 255)).astype(np.uint8)), mask, [[x, y, 1.0]]


def spot_of(image):
    return image[0].nonzero().float().mean(0).flip(0) + 0.5


@pytest.mark.parametrize(
    "transform",
    [*square_transforms(128), *detr_transforms()],
    ids=["square train", "square", "detr train", "detr"],
)
def test_points_masks_and_boxes_stay_on_the_picture(transform):
    picture, mask, point = spot(200, 140)
    for seed in range(12):
        torch.manual_seed(seed)
        out = _carry(transform, picture, point, [[188, 128, 212, 152]], [mask])
        light = out["image"][0] > 0
        assert (
            out["masks"].shape[1:] == out["image"].shape[1:]
            and (out["masks"][0] != light).float().mean() < 0.02
        )
        edge = light[0].any() or light[-1].any() or light[:, 0].any() or light[:, -1].any()
        if edge or not out["points"][0, 2]:
            continue
        middle = spot_of(light[None])
        assert (middle - out["points"][0, :2]).abs().max() < 0.6 and (
            middle - out["boxes"][0].view(2, 2).mean(0)
        ).abs().max() < 0.6


def test_a_point_that_leaves_is_invisible_and_keeps_its_row():
    crop = v2.Compose([v2.ToImage(), v2.CenterCrop((100, 100))])
    out = _carry(
        crop,
        PICTURE,
        [[225, 150, 1], [10, 10, 1], [225, 150, 0], [float("nan"), 3, 1]],
        [[0, 0, 450, 300], [0, 0, 5, 5]],
    )
    assert out["points"][:, 2].tolist() == [1, 0, 0, 0] and out["points"][1, :2].tolist() == [
        10 - 175,
        10 - 100,
    ]
    assert (
        out["boxes"][0].tolist() == [0, 0, 100, 100]
        and (out["boxes"][1, 2:] - out["boxes"][1, :2] <= 0).any()
    )
    assert out["masks"] is None


def test_points_need_a_torchvision_that_does_not_move_them(monkeypatch):
    class Old:
        def __new__(cls, data, *, format, canvas_size):
            return super().__new__(cls)

    monkeypatch.setattr(tv_tensors, "BoundingBoxes", Old)
    with pytest.raises(ImportError, match="newer torchvision"):
        _point_boxes(torch.zeros(1, 2), (8, 8))


def test_points_are_mirrored_and_enlarged_exactly():
    enlarge = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(1), v2.Resize((3000, 4500))])
    assert _carry(enlarge, PICTURE, [[0, 0, 1], [225, 150, 1], [449.9, 299, 1]])["points"].tolist() == [
        [4500, 0, 0],
        [2250, 1500, 1],
        [pytest.approx(1, abs=0.01), 2990, 1],
    ]


@pytest.mark.parametrize(
    "transform", [v2.RandomRotation(30), v2.RandomVerticalFlip(1), v2.RandomPerspective(0.4, p=1), v2.Pad(20)]
)
def test_points_follow_torchvisions_other_transforms(transform):
    picture, _, point = spot(200, 140)
    torch.manual_seed(0)
    out = _carry(v2.Compose([v2.ToImage(), transform]), picture, point)
    assert (spot_of(out["image"] > 128) - out["points"][0, :2]).abs().max() < 1


def test_sizes_are_detrs():
    train, evaluation = detr_transforms()
    assert evaluation(PICTURE).shape == (3, 800, 1200) and evaluation(PICTURE.transpose(1, 0, 2)).shape == (
        3,
        1200,
        800,
    )
    assert evaluation(np.zeros((200, 900, 3), np.uint8)).shape == (3, 296, 1333)
    torch.manual_seed(0)
    shapes = [train(PICTURE).shape for _ in range(40)]
    whole = [s for s in shapes if abs(s[2] / s[1] - 1.5) < 0.01]
    assert {min(s[1:]) for s in shapes if max(s[1:]) < 1333} <= set(range(480, 801, 32))
    assert 8 < len(whole) < 32 and max(max(s) for s in shapes) <= 1333


def test_width_and_height_of_the_crop_are_drawn_separately():
    torch.manual_seed(0)
    sizes = np.array([_RandomSizeCrop(384, 600)(Image.new("RGB", (900, 500))).size for _ in range(60)])
    assert (
        sizes.min() >= 384
        and sizes[:, 0].max() <= 600
        and sizes[:, 1].max() <= 500
        and sizes[:, 1].max() > 480
    )
    assert abs(np.corrcoef(sizes.T)[0, 1]) < 0.4
    assert _RandomSizeCrop(384, 600)(Image.new("RGB", (50, 700))).size[0] == 50


def test_evaluation_is_antialiased():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    out = square_transforms(64)[1](stripes)
    assert (
        out.std((1, 2)).max() < 0.05
        and (out - to_tensor(np.full((64, 64, 3), 128, np.uint8))).abs().max() < 0.1
    )


def test_pictures_arrays_and_no_augmentation():
    plain, evaluation = square_transforms(32, augment=False)
    assert (
        torch.equal(plain(PICTURE), evaluation(Image.fromarray(PICTURE)))
        and type(plain(PICTURE)) is torch.Tensor
    )
    assert torch.equal(plain(PICTURE), plain(PICTURE))


def test_training_mirrors_about_half():
    ramp = np.linspace(0, 255, 64).astype(np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2)
    train, _ = square_transforms(32)
    torch.manual_seed(0)
    mirrored = sum(bool(x[0, :, 0].mean() > x[0, :, -1].mean()) for x in (train(ramp) for _ in range(60)))
    assert 15 < mirrored < 45


def test_a_mask_only_where_sizes_differ():
    a, b = torch.ones(3, 8, 8), torch.ones(3, 6, 10)
    same, padded = collate([(a, 1), (a, 0)]), collate([(a, 1), (b, 0)])
    assert same.mask is None and same.images.shape == (2, 3, 8, 8) and same.labels.tolist() == [1, 0]
    assert (
        padded.images.shape == (2, 3, 8, 10)
        and torch.equal(padded.images[:, 0] == 0, padded.mask)
        and padded.labels.dtype == torch.int64
    )


class Squares(torch.utils.data.Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return self.transform(PICTURE), i


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_worker_processes(method):
    loader = DataLoader(
        Squares(square_transforms(16)[0]),
        4,
        num_workers=1,
        collate_fn=collate,
        multiprocessing_context=method,
    )
    assert next(iter(loader)).images.shape == (4, 3, 16, 16)


def test_all_is_picklable_and_repeatable():
    for transform in (*square_transforms(24), *detr_transforms()):
        copy = pickle.loads(pickle.dumps(transform))
        torch.manual_seed(3)
        a = transform(PICTURE)
        torch.manual_seed(3)
        b = copy(PICTURE)
        assert torch.equal(a, b)
