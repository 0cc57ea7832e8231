"""Data sets of the hub: rows as photographs, or an error that names the row."""

import io
import pickle

import pytest
from PIL import Image
from torch.utils.data import DataLoader

from intr_nb.core.images import collate
from intr_nb.data.image_folders import ImageFolders
from intr_nb.data.transforms import square_transforms

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
    with pytest.raises(ValueError, match=r"'all\[3\]' can't be read as a picture"):
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


@pytest.mark.parametrize(
    "labels, feature, words",
    [
        ([0.0, 1.0, float("nan")], "float64", "row 2: label is nan, that is, unknown"),
        ([[0, 1], [1]], datasets.Sequence(datasets.Value("int64")), r"row 0: label is \[0, 1\], a list"),
        ([True, False], "bool", "row 0: label is True, a bool"),
        (["1", "1.0"], "string", "row 1: label: the class '1.0' is the same number as '1'"),
        (["a", " "], "string", "row 1: label is ' '"),
    ],
)
def test_labels_that_are_no_class(labels, feature, words):
    feature = datasets.Value(feature) if isinstance(feature, str) else feature
    with pytest.raises(ValueError, match=words):
        ImageFolders.from_dataset(rows(len(labels), labels, feature))


def test_whole_floats_and_spaces_are_one_class():
    floats = ImageFolders.from_dataset(rows(4, [10.0, 9.0, 10.0, 9.0], datasets.Value("float64")), valid=0)
    assert floats.class_names == ["9", "10"]
    texts = ImageFolders.from_dataset(rows(4, ["a", "b ", "a ", " b"], datasets.Value("string")), valid=0)
    assert texts.class_names == ["a", "b"]


def test_no_split_vanishes():
    for only in "test", "validation":
        with pytest.raises(ValueError, match=f"only '{only}', none to train with: pass the data set itself"):
            ImageFolders.from_dataset({only: rows()})
    with pytest.raises(ValueError, match="both 'validation' and 'dev' are for valid"):
        ImageFolders.from_dataset(dict(train=rows(), validation=rows(4), dev=rows(2)))
    data = ImageFolders.from_dataset(dict(train=rows(), test=rows(2), unsupervised=rows(6), extra=rows(2)))
    assert data.notes == ["splits left out: 'unsupervised', 'extra'"]


def test_the_order_of_a_model_goes_before_that_of_the_hub():
    data = ImageFolders.from_dataset(rows(4), valid=0, class_names=["robin", "tit", "wren"])
    assert data.class_names == ["robin", "tit", "wren"] and data.train.labels == [2, 0, 2, 0]
