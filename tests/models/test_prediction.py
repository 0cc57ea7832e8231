"""Pictures in, names and probabilities out."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import DataParallel
from torchvision import transforms as v1
from torchvision.transforms import v2

from intr_nb.core.images import as_trained
from intr_nb.data.birds import Aviary
from intr_nb.data.image_folders import ImageFolders
from intr_nb.data.photos import Photos
from intr_nb.data.transforms import square_transforms
from intr_nb.models.checkpoints import load, pretrained, save
from intr_nb.models.hub import save_pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.prediction import Prediction, Predictions, predict
from intr_nb.training.accuracy import evaluate
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (40, 40 + 8 * (i % 3), 3), dtype=np.uint8) for i in range(7)]


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = OneBlockINTR(4, dim=16, num_heads=2)
    model.class_names = ["<b>robin</b>", "wren", "tit", "finch"]
    return model


def test_one_of_every_kind(model, tmp_path):
    Image.fromarray(PICTURES[0]).save(tmp_path / "a.png")
    kinds = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        PICTURES[0],
        Image.fromarray(PICTURES[0]),
        as_trained(model, PICTURES[0]),
    ]
    expected = model.eval()(as_trained(model, PICTURES[0])[None]).logits[0].softmax(0)
    for image in kinds:
        p = predict(model, image)
        assert isinstance(p, Prediction) and p.classes == expected.argsort(descending=True).tolist()
        assert p.probabilities == pytest.approx(expected.sort(descending=True).values.tolist(), abs=1e-6)
        assert p.names == [model.class_names[c] for c in p.classes] and (p.name, p.probability) == (
            p.names[0],
            p.probabilities[0],
        )
    assert [predict(model, image).picture for image in kinds[:3]] == [str(tmp_path / "a.png")] * 2 + [
        "picture 0"
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_several_keep_their_order(model, batch_size):
    equal = [PICTURES[0], PICTURES[3], PICTURES[6]]
    alone = [predict(model, p) for p in equal]
    for images in (
        equal,
        tuple(equal),
        iter(equal),
        np.stack(equal),
        torch.stack([as_trained(model, p) for p in equal]),
    ):
        together = predict(model, images, batch_size=batch_size)
        assert isinstance(together, Predictions) and [p.picture for p in together] == [
            "picture 0",
            "picture 1",
            "picture 2",
        ]
        for a, b in zip(alone, together, strict=True):
            assert a.classes == b.classes and a.probabilities == pytest.approx(b.probabilities, abs=1e-5)
    assert len({p.probability for p in alone}) == 3


def test_several_sizes_are_padded_with_a_mask(model):
    "Without the mask the padding would be looked at."
    one = OneBlockINTR(4, LookAlone(), dim=8, num_heads=2).eval()
    together = predict(one, PICTURES, batch_size=7)
    for p, image in zip(together, PICTURES):
        assert p.probabilities == pytest.approx(predict(one, image).probabilities, abs=1e-5)
    wide = predict(model, PICTURES, batch_size=7)
    assert [p.classes[0] for p in wide] == [predict(model, p).classes[0] for p in PICTURES]


class LookAlone(nn.Module):
    "Cells that see nothing but themselves, so that a neighbour's padding can't reach them."

    num_channels, stride = 8, 4

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)

    def forward(self, images):
        return self.conv(images)


def test_the_size_that_it_was_trained_with(model):
    sizes = []
    model.metadata = dict(image_size=24)
    model.backbone.register_forward_pre_hook(lambda m, args: sizes.append(tuple(args[0].shape)))
    predict(model, PICTURES)
    assert sizes == [(7, 3, 24, 24)]


def test_the_model_is_left_as_it_was(model):
    model.train(), model.backbone.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    predict(model, PICTURES[0])
    assert (
        model.training
        and not model.backbone.training
        and all(v.equal(before[k]) for k, v in model.state_dict().items())
    )


def test_top(model):
    assert (
        len(predict(model, PICTURES[0], top=2).names) == 2
        and len(predict(model, PICTURES[0], top=50).names) == 4
    )
    assert sum(predict(model, PICTURES[0], top=50).probabilities) == pytest.approx(1)
    for wrong in (dict(top=0), dict(top=1.5), dict(batch_size=0)):
        with pytest.raises(ValueError, match="expected a whole number, 1 or more"):
            predict(model, PICTURES[0], **wrong)


def test_without_names():
    assert predict(OneBlockINTR(3, dim=16, num_heads=2), PICTURES[0]).name.startswith("class ")


def test_nothing(model):
    assert predict(model, []) == [] and "picture" in predict(model, [])._repr_html_()


def test_bfloat16_and_the_full_model():
    full = INTR(3, "resnet18", dim=32, num_heads=4, encoder_layers=1, decoder_layers=1, ffn_dim=64).bfloat16()
    assert sum(predict(full, PICTURES[0], top=3).probabilities) == pytest.approx(1)


def test_shown_text_is_escaped(model):
    one = predict(model, PICTURES[0])
    one.picture = "<img src=x>.jpg"
    for shown in (one._repr_html_(), Predictions([one])._repr_html_()):
        assert "&lt;b&gt;robin" in shown and "<b>" not in shown and "<img" not in shown and "&lt;img" in shown


def test_the_faulty_picture_is_named(model, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no")
    Image.fromarray(PICTURES[0]).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="bad.jpg' can't be read"):
        predict(model, [tmp_path / "a.png", tmp_path / "bad.jpg"])
    with pytest.raises(ValueError, match=r"^picture 5: picture of shape \(40, 40, 2\)"):
        predict(model, [*PICTURES[:5], PICTURES[0][..., :2]], batch_size=2)
    with pytest.raises(ValueError, match="^picture 0: "):
        predict(model, [torch.zeros(3, 40, 40, dtype=torch.uint8)])
    with pytest.raises(ValueError, match="^picture 0: "):
        predict(model, [(as_trained(model, PICTURES[0]), 3)])


def test_what_is_no_picture_is_said(model, tmp_path):
    Image.fromarray(PICTURES[0]).save(tmp_path / "a.png")
    photos = {"train": Photos([tmp_path / "a.png"] * 2, [0, 1], ["a", "b"])}
    parts = ImageFolders.from_photos(photos, valid=0)
    for images, words in (
        (None, "is a NoneType"),
        (3, "is a int"),
        (parts, r"predict\(model, data\.valid\)"),
    ):
        with pytest.raises(TypeError, match=words):
            predict(model, images)
    Image.new("RGB", (3, 3)).save(tmp_path / "tiny.png")
    with pytest.raises(ValueError, match=r"3 x 3 pixels.*empty crop\?$"):
        predict(model, tmp_path / "tiny.png")
    with pytest.raises(TypeError, match=r"such as data\.valid"):
        evaluate(model, object())


@pytest.mark.parametrize("batch_size", (1, 2, 16))
def test_faulty_pictures_can_be_left_out(model, tmp_path, batch_size):
    good, bad = tmp_path / "good.png", tmp_path / "<b>.png"
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(good)
    bad.write_text("no picture")
    found = predict(
        model,
        [bad, good, tmp_path / "none.png", np.zeros((4, 4), np.uint8), good],
        batch_size=batch_size,
        on_error="skip",
    )
    assert [p.picture for p in found] == [str(good)] * 2 and found[0].probabilities == pytest.approx(
        predict(model, good).probabilities, abs=1e-5
    )
    assert [Path(p).name for p, _ in found.skipped] == [
        "<b>.png",
        "none.png",
        "picture 3",
    ] and "no picture" in found.skipped[1][1]
    assert (
        "skipped: " in repr(found)
        and "&lt;b&gt;.png" in found._repr_html_()
        and "<b>.png" not in found._repr_html_()
    )
    assert predict(model, [bad], on_error="skip") == [] and predict(model, [good]).skipped == []
    assert repr(predict(model, [good, good])).count("\n") == 1
    broken = OneBlockINTR(2, dim=16, num_heads=2)
    broken.metadata = dict(image_size="large")
    with pytest.raises(ValueError, match="large"):
        predict(broken, [good], on_error="skip")  # not the picture's fault
    with pytest.raises(ValueError, match="can't be read"):
        predict(model, bad, on_error="skip")  # of one picture there is nothing else to say
    with pytest.raises(ValueError, match='on_error=.ignore.: expected .raise. or .skip.'):
        predict(model, [good], on_error="ignore")


# -- folders, data sets, generators --


@pytest.fixture
def folder(tmp_path):
    "Three pictures, one of them deeper down, among what is none"
    (tmp_path / "b" / "@eaDir").mkdir(parents=True)
    for name in ("b/1.JPG", "a.png", "c.webp", ".hidden.png", "b/@eaDir/1.jpg"):
        Image.fromarray(PICTURES[len(name) % 3]).save(tmp_path / name)
    (tmp_path / "LICENCE.txt").write_text("do what you like")
    return tmp_path


@pytest.mark.parametrize("kind", [Path, str])
def test_a_folder_is_its_pictures(model, folder, kind):
    found = predict(model, kind(folder), batch_size=1)
    assert [Path(p.picture).relative_to(folder).as_posix() for p in found] == ["a.png", "b/1.JPG", "c.webp"]
    assert found[1].probabilities == pytest.approx(
        predict(model, folder / "b" / "1.JPG").probabilities, abs=1e-5
    )
    with pytest.raises(ValueError, match="no picture in .*expected files such as .jpg"):
        (folder / "empty").mkdir()
        predict(model, folder / "empty")


def test_data_sets(model, folder):
    files = [folder / "a.png", folder / "c.webp"]
    photos = Photos(files, [0, 1], ["a", "b"], transform=square_transforms(16)[1])
    found = predict(model, photos)
    assert [p.picture for p in found] == [str(f) for f in files]
    expected = [p.probabilities for p in predict(model, files)]
    assert [p.probabilities for p in found] == expected  # not at the transform's 16 pixels
    rows = photos._with(opener=lambda i: Image.open(files[i]))  # a table's or the hub's
    assert [p.probabilities for p in predict(model, rows)] == expected
    pairs = torch.utils.data.TensorDataset(torch.stack([as_trained(model, files[0])] * 2), torch.zeros(2))
    assert [p.picture for p in predict(model, pairs)] == ["picture 0", "picture 1"]
    assert predict(model, pairs)[1].probabilities == pytest.approx(expected[0], abs=1e-5)
    (folder / "bad.png").write_text("no")
    bad = Photos([*files, folder / "bad.png"], [0, 1, 0], ["a", "b"])
    with pytest.raises(ValueError, match=r"^'.*bad.png' can't be read"):
        predict(model, bad)
    assert [name for name, _ in predict(model, bad, on_error="skip").skipped] == [str(folder / "bad.png")]


def test_a_generator_is_never_ahead_by_more_than_a_batch(model):
    given, seen = [], []
    model.backbone.register_forward_pre_hook(lambda m, args: seen.append(len(given)))

    def pictures():
        for p in PICTURES:
            given.append(p)
            yield p

    assert len(predict(model, pictures(), batch_size=3)) == 7 and seen == [3, 6, 7]


def test_the_table_has_everything(model, folder, monkeypatch):
    (folder / "bad, or not.png").write_text("no")
    model.class_names[0] = 'robin, "the" wet\nbird'
    found = predict(model, folder, top=2, on_error="skip")
    found.to_csv(folder / "new" / "t.csv")
    with open(folder / "new" / "t.csv", newline="", encoding="utf-8") as f:
        titles, *rows = csv.reader(f)
    assert titles == ["picture", "class_1", "probability_1", "class_2", "probability_2", "skipped"]
    for row, p in zip(rows, found):
        assert row == [
            p.picture,
            *map(str, (p.names[0], p.probabilities[0], p.names[1], p.probabilities[1])),
            "",
        ]
    assert rows[3][0].endswith("bad, or not.png") and rows[3][1:5] == [""] * 4 and "can't be" in rows[3][5]
    frame = found.to_frame()
    assert list(frame.columns) == titles and len(frame) == 4 and frame["probability_2"].dtype == float
    assert Predictions().to_frame().shape == (0, 2)
    with pytest.raises(OSError, match="can't be written"):
        found.to_csv(folder / "new")
    monkeypatch.setitem(sys.modules, "pandas", None)
    found.to_csv(folder / "t.csv")
    with pytest.raises(ImportError, match="a data frame needs pandas: pip install"):
        found.to_frame()


# -- prediction is validation --

HALF = v1.Normalize([0.5] * 3, [0.5] * 3)
EVALUATIONS = {
    "a crop": v1.Compose([v1.Resize(36), v1.CenterCrop(24), v1.ToTensor(), HALF]),
    "grey": v2.Compose([v2.Grayscale(3), square_transforms(24)[1]]),
    "a rectangle": v2.Compose([v2.ToImage(), v2.Resize((24, 36)), v2.ToDtype(torch.float32, scale=True)]),
}


def noise(folder, n=4):
    for k, c in enumerate(("ant", "bee")):
        (folder / c).mkdir(parents=True)
        for i in range(n):
            pixels = np.random.default_rng(10 * k + i).integers(0, 256, (50, 70, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / c / f"{i}.png")
    return folder


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_a_photograph_is_predicted_as_it_was_validated(kind, tmp_path):
    data = ImageFolders(noise(tmp_path / "t"), (EVALUATIONS[kind], EVALUATIONS[kind]))
    torch.manual_seed(0)
    model = OneBlockINTR(2, dict(name="patchnet", width=8, dim=8, stride=4), dim=8, num_heads=1)
    fit(model, data, Recipe(epochs=1, schedule="constant", batch_size=3), progress=False)
    save(model, tmp_path / "kept")
    save_pretrained(model, tmp_path / "folder")
    with torch.no_grad():
        expected = [model(x[None]).logits.softmax(1)[0] for x, _ in data.valid]
    files = [data.valid.name(i) for i in range(len(data.valid))]
    for known in model, load(tmp_path / "kept"), load(tmp_path / "folder/config.json"), DataParallel(model):
        for p, probabilities in zip(predict(known, files), expected):
            assert p.name == ("ant", "bee")[probabilities.argmax()]
            assert abs(p.probability - probabilities.max().item()) < 1e-6
    assert "prepared as in validation" in (tmp_path / "folder/README.md").read_text()


def test_a_transform_that_cannot_be_kept_is_told(tmp_path):
    by_hand = v2.Compose([square_transforms(24)[1], v2.Lambda(lambda x: x * 2)])
    data = ImageFolders(noise(tmp_path / "t"), (by_hand, by_hand))
    model = OneBlockINTR(2, dict(name="patchnet", width=8, dim=8, stride=4), dim=8, num_heads=1)
    with pytest.warns(
        UserWarning, match="transform of the validation images can't go with the model: Lambda"
    ):
        fit(model, data, Recipe(epochs=1, schedule="constant", batch_size=3), progress=False)
    assert model.metadata["image_size"] == 24 and "transform" not in model.metadata


def test_a_size_said_anew_replaces_the_transform(tmp_path):
    model = OneBlockINTR(2, dict(name="patchnet", width=8, dim=8, stride=4), dim=8, num_heads=1)
    model.metadata = dict(image_size=24, transform=[dict(step="ToImage"), dict(step="ToFloat")])
    save_pretrained(model, tmp_path, image_size=32)
    assert load(tmp_path / "config.json").metadata["image_size"] == 32
    assert "transform" not in load(tmp_path / "config.json").metadata


def test_the_shipped_models_know_their_size():
    aviary = Aviary(16, size=144, seed=3)
    birds = [aviary.bird(i).image for i in range(16)]
    assert [p.classes[0] for p in predict(pretrained(), birds)] == [aviary.label(i) for i in range(16)]
    for name in "aviary16", "aviary16-full":
        assert pretrained(name).metadata["image_size"] == 96


@pytest.mark.parametrize("name", ["aviary16", "aviary16-full"])
def test_in_bf16_logits_move_by_at_most_2_percent_of_their_range(name):
    model, birds = pretrained(name), Aviary(64, seed=5)
    exact, rough = (predict(model, birds, top=16, precision=p) for p in (None, "bf16"))
    for a, b in zip(exact, rough):
        there, here = (dict(zip(p.classes, np.log(p.probabilities))) for p in (a, b))
        moved = np.array([here[c] - there[c] for c in range(16)])  # but for a constant, that of softmax
        assert 0 < np.ptp(moved) < 2 * 0.02 * np.ptp(list(there.values()))
        assert a.classes[0] == b.classes[0]


def test_other_precisions_are_named():
    with pytest.raises(ValueError, match="precision='fp16'.*bf16"):
        predict(pretrained(), Aviary(1), precision="fp16")
