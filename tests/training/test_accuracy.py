"""`evaluate` and `fit` on data of others: by name, by number, and an error that names the image."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from intr_nb.data.image_folders import ImageFolders
from intr_nb.data.transforms import square_transforms
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.training.accuracy import evaluate
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

COLOURS = {"ant": (220, 20, 20), "bee": (20, 220, 20), "cat": (20, 20, 220), "dog": (200, 200, 20)}
ONE = Recipe(epochs=1, schedule="constant", batch_size=4)


class Perfect(torch.nn.Module):
    "Knows red, green and blue, and calls them ant, bee and cat"

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.weight, self.class_names = torch.nn.Parameter(torch.tensor(10.0)), ["ant", "bee", "cat"]

    def forward(self, images, mask=None):
        return type("Output", (), dict(logits=self.weight * images.mean((2, 3))))


def tiny(classes=2):
    return OneBlockINTR(classes, dict(name="patchnet", width=8, dim=8, stride=4), dim=8, num_heads=1)


def photographs(folder, names, n=4):
    for c in names:
        (folder / c).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(np.full((16, 16, 3), COLOURS[c], np.uint8)).save(folder / c / f"{i}.png")
    return folder


class Given(Dataset):
    def __init__(self, labels, images=None, broken=None, dies=None):
        self.labels_, self.broken, self.dies = labels, broken, dies
        self.images = torch.rand(len(labels), 3, 16, 16) if images is None else images

    def __len__(self):
        return len(self.labels_)

    def __getitem__(self, i):
        if i == self.broken:
            raise KeyError("colour")
        if i == self.dies:
            os._exit(9)
        return self.images[i], self.labels_[i]


# -- by name --


@pytest.mark.parametrize("names", [["bee", "cat"], ["ant", "bee", "cat"], ["cat"]])
def test_a_perfect_model_is_perfect_on_some_of_its_classes(tmp_path, names):
    root, how = photographs(tmp_path / "t", names), dict(valid=0, transforms=square_transforms(16))
    if len(names) > 1:
        assert evaluate(Perfect(), ImageFolders(root, **how).train)["accuracy"] == 1
    mapped = ImageFolders(root, class_names=Perfect().class_names, **how).train
    assert evaluate(Perfect(), mapped)["accuracy"] == 1
    assert evaluate(torch.nn.DataParallel(Perfect()), mapped)["accuracy"] == 1


def test_another_order_is_translated_and_an_unknown_class_is_refused(tmp_path):
    pixels = torch.tensor([COLOURS[c] for c in ("cat", "ant", "bee")], dtype=torch.uint8)
    data = TensorDataset(pixels[:, :, None, None].expand(-1, -1, 8, 8).contiguous(), torch.arange(3))
    data.class_names = ["cat", "ant", "bee"]
    assert evaluate(Perfect(), data)["accuracy"] == 1
    root = photographs(tmp_path / "t", COLOURS)
    with pytest.raises(ValueError, match="class 'dog' that the model does not know"):
        evaluate(Perfect(), ImageFolders(root, square_transforms(16), valid=0).train)


def test_validation_is_scored_by_name_too(tmp_path):
    train = Given([0, 1] * 4)
    valid = Given([0, 1, 1, 1], images=torch.rand(4, 3, 16, 16))
    train.class_names, valid.class_names = ["ant", "bee"], ["bee", "ant"]
    model = tiny()
    history = fit(model, (train, valid), ONE, progress=False)
    same = Given([1, 0, 0, 0], images=valid.images)
    assert model.class_names == ["ant", "bee"]
    assert history.rows[0]["valid_accuracy"] == evaluate(model, same)["accuracy"]
    assert evaluate(model, valid) == evaluate(model, same)


# -- samples --

LABELS = {
    "from 1": ([1, 2], "label 2: .*from 0 to 1.*count from 1"),
    "texts": (["a", "b"], "label '[ab]': expected the number"),
    "left out": ([0, -100], "label -100: .*Leave out"),
    "floats": ([0.0, 1.0], r"label [01]\.0: expected the number"),
    "tensors of floats": (
        [torch.tensor(0.0), torch.tensor(1.0)],
        r"label tensor\([01]\.\): expected the number",
    ),
    "truth": ([True, False], "label (True|False): expected the number"),
    "none": ([None, None], "label None"),
    "lists": ([[0], [1]], r"label \[[01]\]"),
    "too large": ([0, 7], "label 7: expected the number of its class, from 0 to 1"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_are_no_classes_are_named(kind):
    labels, words = LABELS[kind]
    data = Given(labels * 4)
    with pytest.raises((TypeError, ValueError), match=f"image number [0-7] has the {words}"):
        evaluate(tiny(), data)
    with pytest.raises((TypeError, ValueError), match=f"image number [0-7] has the {words}"):
        fit(tiny(), (data, None), ONE, progress=False)


def test_labels_of_any_whole_type_are_taken():
    images = torch.rand(4, 3, 16, 16)
    for one in (0, 1), (np.int64(0), np.int8(1)), (torch.tensor(0), torch.tensor(1, dtype=torch.int32)):
        assert fit(tiny(), (Given([*one] * 2, images), None), ONE, progress=False).rows
    shares = Given([torch.tensor([0.5, 0.5])] * 4, images)
    assert fit(tiny(), (shares, None), ONE, progress=False).rows
    with pytest.raises(TypeError, match="expected the number"):
        evaluate(tiny(), shares)


def test_what_is_no_data_set_is_told_apart():
    datasets = pytest.importorskip("datasets")
    loader, hub = DataLoader(Given([0, 1])), datasets.Dataset.from_dict(dict(image=[1, 2], label=[0, 1]))
    for wrong, words in (loader, "DataLoader.*loader.dataset"), (hub, "ImageFolders.from_dataset"):
        with pytest.raises(TypeError, match=words):
            evaluate(tiny(), wrong)
        with pytest.raises(TypeError, match=words):
            fit(tiny(), (wrong, None), ONE, progress=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_data_set_names_the_image(workers):
    data = Given([0, 1] * 4, broken=5)
    with pytest.raises(RuntimeError, match=r"image number 5 can't be had: KeyError 'colour'"):
        evaluate(tiny(), data, workers=workers)
    with pytest.raises(RuntimeError, match=r"image number 5 can't be had: KeyError 'colour'"):
        fit(tiny(), (data, None), ONE, workers=workers, progress=False)


def test_a_process_that_dies_is_explained():
    with pytest.raises(RuntimeError, match="process that loads images has died.*workers=0"):
        evaluate(tiny(), Given([0, 1] * 2, dies=3), workers=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_validation_image_is_named(value):
    images = torch.rand(8, 3, 16, 16)
    images[3] = value
    with pytest.raises(ValueError, match="image number 3 holds NaN or infinite"):
        fit(tiny(), (Given([0, 1] * 4), Given([0, 1] * 4, images)), ONE, progress=False)


def test_pixels_of_another_type_are_refused():
    pixels = torch.randint(0, 256, (4, 3, 16, 16))
    for wrong, words in (pixels, "torch.int64.*uint8"), (pixels.float(), "pixels from 0 to 255"):
        with pytest.raises((TypeError, ValueError), match=f"image number 0.*{words}"):
            evaluate(tiny(), Given([0, 1] * 2, wrong))
    assert evaluate(tiny(), Given([0, 1] * 2, pixels.byte()))["loss"] > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_in_another_precision_is_evaluated(dtype):
    torch.manual_seed(0)
    model, data = tiny(), Given([0, 1] * 4)
    expected = evaluate(model, data)["loss"]
    assert abs(evaluate(model.to(dtype), data)["loss"] - expected) < 0.02


def test_a_model_in_double_precision_is_trained():
    data = Given([0, 1] * 4)
    assert fit(tiny().double(), (data, data), ONE, progress=False).rows[0]["valid_loss"] > 0


@pytest.mark.parametrize("block", [torch.no_grad, torch.inference_mode])
def test_no_training_without_gradients(block):
    with block(), pytest.raises(RuntimeError, match="needs gradients: call fit outside"):
        fit(tiny(), (Given([0, 1] * 4), None), ONE, progress=False)
