"""What a model was validated with, kept as text: the same numbers, and nothing that isn't a step."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.models import ResNet18_Weights
from torchvision.transforms import v2

from intr_nb.core.display import to_pixels
from intr_nb.core.images import _as_trained_of, as_trained
from intr_nb.core.transform_steps import _described, _steps_of
from intr_nb.data.transforms import detr_transforms, square_transforms

PICTURE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (60, 90, 3), np.uint8))
HALF = v1.Normalize([0.5] * 3, [0.5] * 3)
FLOATS = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
TRANSFORMS = {
    "crop": v1.Compose([v1.Resize(48), v1.CenterCrop(32), v1.ToTensor(), HALF]),
    "grey": v2.Compose([v2.Grayscale(3), *FLOATS]),
    "rectangle": v2.Compose([*FLOATS, v2.Resize((24, 36), interpolation=v2.InterpolationMode.BICUBIC)]),
    "padding": v1.Compose([v1.Pad((3, 5), fill=7), v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)]),
    "detr": detr_transforms()[1],
    "square": square_transforms(40)[1],
    "preset": ResNet18_Weights.DEFAULT.transforms(),
    "sequential": torch.nn.Sequential(
        v2.ToImage(), v2.CenterCrop(100), v2.ToDtype(torch.float32, scale=True)
    ),
}


def model_of(transform):
    model = torch.nn.Identity()
    model.metadata = json.loads(json.dumps(dict(image_size=8, transform=_described(transform))))
    return model


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_photograph_is_prepared_as_in_validation(kind):
    transform = TRANSFORMS[kind]
    model = model_of(transform)
    for one, picture in (model, PICTURE), (torch.nn.DataParallel(model), np.asarray(PICTURE)):
        assert torch.allclose(as_trained(one, picture), transform(PICTURE), atol=1e-6)


def test_timm_evaluates_as_it_says():
    timm = pytest.importorskip("timm")
    transform = timm.data.create_transform(32, is_training=False)
    assert torch.allclose(as_trained(model_of(transform), PICTURE), transform(PICTURE), atol=1e-6)


@pytest.mark.parametrize(
    "kind, aspect", [("crop", 1.0), ("rectangle", 1.5), ("square", 1.5), ("padding", 1.37)]
)
def test_figures_undo_what_resizing_did(kind, aspect):
    assert abs(_as_trained_of(model_of(TRANSFORMS[kind]), PICTURE)[1] - aspect) < 0.01


@pytest.mark.parametrize(
    "transform", [v2.RandomHorizontalFlip(), v2.Lambda(abs), abs, v2.ToDtype(torch.float64, scale=True)]
)
def test_what_cannot_be_kept_is_named(transform):
    with pytest.raises(ValueError, match="RandomHorizontalFlip|Lambda|abs|float64"):
        _described(v2.Compose([v2.ToImage(), transform]))


@pytest.mark.parametrize(
    "steps",
    [
        [dict(step="Lambda", lambd="os.system")],
        [dict(step="Resize", size=8, weights="http://x")],
        [dict(step="__class__")],
        ["Resize"],
        "Resize",
        [dict(step="Resize", size=8)],  # ends in a picture, not in floats
    ],
)
def test_steps_of_strangers_are_checked(steps):
    model = torch.nn.Identity()
    model.metadata = dict(transform=steps)
    with pytest.raises(ValueError, match="the model's transform"):
        as_trained(model, PICTURE)


def test_a_transform_by_lot_is_found_out_although_its_steps_are_known():
    class Photos:
        transform = square_transforms(16)[1]

        def image(self, i):
            return np.asarray(PICTURE)

        def __getitem__(self, i):
            return torch.rand(3, 16, 16), 0

    assert _steps_of(Photos()) == (None, "it gives other numbers when it is run again")


def test_a_models_own_mean_and_std_are_undone_where_its_pictures_are_shown():
    "Shown with ImageNet's, a picture normalised with 0.5 is too pale"
    from intr_nb.browsers.head_browser import HeadBrowser
    from intr_nb.browsers.paint_editor import PaintEditor
    from intr_nb.browsers.scene import _data_uri
    from intr_nb.explanations.class_activation import grad_cam
    from intr_nb.explanations.explainer import explain
    from intr_nb.models.one_block import OneBlockINTR

    pixels = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    model = OneBlockINTR(2, dict(name="patchnet", width=4, dim=8, stride=4), dim=8, num_heads=2).eval()
    model.metadata = dict(transform=_described(v2.Compose(steps)))
    for method in (explain, grad_cam):
        e = method(model, pixels)
        assert np.array_equal(e.picture, pixels) and not np.array_equal(to_pixels(e.image), pixels)
    assert HeadBrowser(model, [pixels]).copy_of(0, 32) == _data_uri(pixels)
    editor = PaintEditor(model, [pixels])
    assert np.array_equal(editor.picture(0, ""), pixels)
    assert torch.allclose(editor.seen(0, "")[0], e.image, atol=1e-6)
