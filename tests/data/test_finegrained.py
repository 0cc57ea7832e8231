"""The paper's data sets: each read from a small tree in its true layout, counted, and what is missing is
said."""

import csv
import os
import pickle
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets as tv
from layouts import (
    FISH,
    MAKERS,
    OTHERS,
    lines,
    make_aircraft,
    make_bird,
    make_butterflies,
    make_cub,
    make_cub100,
    make_dog,
    make_fish,
    make_pet,
    quiet,
    save,
)
from PIL import Image

import intr_nb.data.finegrained
from intr_nb.data.birds_and_fish import _read_fish
from intr_nb.data.butterflies import _read_butterflies, _select_classes, _species_of
from intr_nb.data.cub import _id_table, _id_values, _read_cub, _read_cub100
from intr_nb.data.dataset_cards import CARDS, KEYS, dataset_card
from intr_nb.data.dataset_files import _count_found, _Counts, _gather, _present
from intr_nb.data.finegrained import _fetch, _FineGrained, _reader_of, load_finegrained

# -- every set --


def test_there_is_a_card_a_reader_and_a_test_for_every_key():
    assert set(CARDS) == set(MAKERS), (
        "tests/layouts.py makes a small tree of each data set: add make_<key> to MAKERS"
    )
    assert all(k == c.key and callable(_reader_of(k)) for k, c in CARDS.items())


def test_a_card_without_a_reader_says_so(monkeypatch):
    card = CARDS["fish"]
    monkeypatch.setitem(CARDS, "toads", replace(card, key="toads"))
    with pytest.raises(AttributeError, match="_read_toads, as the card of 'toads' says: define it"):
        _reader_of("toads")
    monkeypatch.setitem(CARDS, "toads", replace(card, key="toads", module="amphibians"))
    with pytest.raises(ModuleNotFoundError, match="module='amphibians'.*Write its notebook"):
        _reader_of("toads")


def test_cards_are_table_3():
    table = {
        "bird": (84635, 2625, 525),
        "cub": (5994, 5794, 200),
        "butterflies": (4697, 275, 65),
        "fish": (45162, 1830, 183),
        "dog": (12000, 8580, 120),
        "pet": (3680, 3669, 37),
        "car": (8144, 8041, 196),
        "aircraft": (3334, 3333, 100),
    }
    assert {k: (c.train, c.test, c.classes) for k, c in CARDS.items() if k != "cub100"} == table


@pytest.mark.parametrize("key", CARDS)
def test_true_layout(key, tmp_path):
    root, expected = MAKERS[key](tmp_path)
    data = quiet(key, root)
    assert isinstance(data, _FineGrained) and data.card is CARDS[key]
    for part in ("train", "valid", "test"):
        photos = getattr(data, part)
        if part not in expected:
            assert photos is None
            continue
        got = [(f, data.class_names[l]) for f, l in zip(photos.files, photos.labels)]
        assert sorted(got) == sorted(expected[part])
        assert all(Path(photos.name(i)).is_file() for i in range(len(photos)))
        image, label = photos[0]
        assert image.shape == (3, 224, 224) and label == photos.labels[0]
    assert data.class_names == data.test.class_names and len(set(data.class_names)) == len(data.class_names)
    assert sorted(set(data.train.labels)) == list(range(len(data.class_names)))
    assert (
        len(data.train) == data.counts.found["train"] and not data.counts.complete and not data.counts.missing
    )


INNER = dict(
    cub="CUB_200_2011",
    dog="stanford_dogs",
    pet="oxford-iiit-pet",
    car="stanford_cars",
    aircraft="fgvc-aircraft-2013b",
)


@pytest.mark.parametrize("key", INNER)
def test_root_may_be_the_folder_itself(key, tmp_path, monkeypatch):
    root, expected = MAKERS[key](tmp_path)
    assert len(quiet(key, root / INNER[key]).train) == len(expected["train"])
    monkeypatch.chdir(root)
    assert len(quiet(key, ".").train) == len(expected["train"])
    monkeypatch.chdir(root / INNER[key])
    inside = quiet(key, ".")
    assert len(inside.train) == len(expected["train"]) and inside.counts.notes == []


@pytest.mark.parametrize("key", CARDS)
@pytest.mark.parametrize("there", [False, True])
def test_nothing_there_says_what_to_get_and_where_to_put_it(key, there, tmp_path):
    root = tmp_path / "data"
    if there:
        root.mkdir()
    with pytest.raises(FileNotFoundError) as e:
        load_finegrained(key, root)
    card, said = CARDS[key], str(e.value)
    assert (
        str(root) in said
        and card.name in said
        and card.get in said
        and card.layout in said
        and card.terms in said
    )
    assert ("no such folder" in said) != there and ("lacks" in said) == there


@pytest.mark.parametrize("key", [k for k in CARDS if k not in ("fish", "butterflies")])
def test_a_photograph_that_is_listed_but_not_there_is_named(key, tmp_path):
    root, expected = MAKERS[key](tmp_path)
    gone = expected["train"][1][0]
    next(p for p in (root / gone, root / INNER.get(key, "") / gone) if p.exists()).unlink()
    with pytest.warns(UserWarning, match=f"^{key}: ") as warned:
        data = load_finegrained(key, root)
    n = len(expected["train"])
    assert data.counts.missing == [gone] and gone not in data.train.files and len(data.train) == n - 1
    said = f"{n - 1} of {CARDS[key].train:,} training photographs"
    assert (
        said in str(warned[0].message)
        and gone in str(warned[0].message)
        and said in repr(data)
        and gone in data._repr_html_()
    )
    assert [w.filename for w in warned] == [__file__]  # the user's line, not ours


@pytest.mark.parametrize("key", CARDS)
def test_the_whole_set_is_complete_and_one_photograph_less_is_not(key):
    def parts(train, test, classes):
        return {
            "train": _gather(
                Path("x"),
                {"t": ([f"x/{i}" for i in range(train)], [i % classes for i in range(train)])},
                list("c" * CARDS[key].classes),
            )["t"],
            "test": _gather(
                Path("x"),
                {"t": ([f"x/{i}" for i in range(test)], [0] * test)},
                list("c" * CARDS[key].classes),
            )["t"],
        }

    def counted(*n):
        photos = parts(*n)
        for p in photos.values():
            p.opener = len  # no files to look for
        return _count_found(key, photos)[1]

    card = CARDS[key]
    assert counted(card.train, card.test, card.classes).complete
    assert counted(card.train, card.test, card.classes).lines() == []
    less = counted(card.train - 1, card.test, card.classes)
    assert not less.complete and less.lines() == [
        f"{card.train - 1:,} of {card.train:,} training photographs"
    ]
    less = counted(card.train, card.test - 1, card.classes - 1)
    assert less.lines() == [
        f"{card.test - 1:,} of {card.test:,} test photographs",
        f"{card.classes - 1:,} of {card.classes:,} classes",
    ]


def test_a_complete_set_does_not_warn(tmp_path, monkeypatch):
    make_pet(tmp_path)
    monkeypatch.setitem(CARDS, "pet", replace(CARDS["pet"], name="three pets", train=9, test=3, classes=3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_finegrained("pet", tmp_path).counts.complete


def test_fish_are_complete_by_either_count():
    fish = CARDS["fish"]
    for n, complete in ((45162, True), (45166, True), (45164, False)):
        assert _Counts(fish, {"train": n, "test": 1830}, 183, [], []).complete == complete
    assert "where there should be" in _Counts(fish, {"train": 45170, "test": 1830}, 183, [], []).lines()[0]


def test_no_photograph_at_all_is_an_error(tmp_path):
    root, expected = make_cub(tmp_path)
    for f in (root / "CUB_200_2011/images").rglob("*.jpg"):
        f.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"0 training and 0 test .*; 12 are listed, but not there, such as images/001"
    ):
        load_finegrained("cub", root)


def test_an_empty_file_is_named_or_left_out(tmp_path):
    root, expected = make_pet(tmp_path)
    broken = root / "oxford-iiit-pet" / expected["train"][0][0]
    broken.write_bytes(b"")
    with pytest.raises(ValueError, match=broken.name):
        quiet("pet", root)
    data = quiet("pet", root, on_error="skip")
    assert len(data.train) == len(expected["train"]) - 1 and any(broken.name in f for f, _ in data.skipped)


def test_unknown_key_names_the_known_ones():
    for f in (dataset_card, lambda k: load_finegrained(k, ".")):
        with pytest.raises(ValueError, match="'birds': expected one of bird, cub, .*ImageFolders"):
            f("birds")


def test_report_has_the_counts_as_notes(tmp_path):
    root, _ = make_pet(tmp_path)
    report = quiet("pet", root).check(progress=False)
    assert "9 of 3,680 training photographs" in repr(report)


def test_names_from_the_disk_are_escaped():
    said = _Counts(CARDS["pet"], {"train": 1, "test": 1}, 1, ["<script>.jpg"], ["<b>"])._repr_html_()
    assert "<script>" not in said and "&lt;script&gt;" in said and "<b></li>" not in said
    assert "<SPECIES>" not in CARDS["bird"]._repr_html_()


# -- valid --


def test_own_validation_part_or_a_share(tmp_path):
    root, expected = make_aircraft(tmp_path)
    own, share, none = (quiet("aircraft", root, valid=v) for v in (None, 0.5, 0))
    assert sorted(own.valid.files) == sorted(f for f, _ in expected["valid"]) and len(own.train) == 8
    assert (
        len(share.valid) == 4
        and len(share.train) == 4
        and set(share.valid.files) | set(share.train.files) == set(own.train.files)
    )
    assert (
        none.valid is None and len(none.train) == 8 and own.test.files == share.test.files == none.test.files
    )
    assert share.counts.found["train"] == 8


def test_valid_is_a_share(tmp_path):
    root, _ = make_pet(tmp_path)
    for share in (1, 10, -0.1):
        with pytest.raises(ValueError, match="valid=.*: expected a share"):
            load_finegrained("pet", root, valid=share)


def test_a_share_of_a_set_without_a_validation_part_depends_on_the_seed_only(tmp_path):
    for n in ("a", "b"):
        make_cub(tmp_path / n)
    a, b, c = (quiet("cub", tmp_path / n, valid=0.34, seed=s) for n, s in (("a", 0), ("b", 0), ("b", 1)))
    assert a.valid.files == b.valid.files and a.valid.files != c.valid.files
    assert len(a.valid) == 3 and len(a.valid.points) == 3  # what belongs to a photograph goes with it
    assert quiet("cub", tmp_path / "a").valid is None


def test_transforms_go_to_the_right_part(tmp_path):
    root, _ = make_aircraft(tmp_path)
    data = quiet("aircraft", root, transforms=(lambda p: "train", lambda p: "evaluation"))
    assert [getattr(data, p)[0][0] for p in ("train", "valid", "test")] == [
        "train",
        "evaluation",
        "evaluation",
    ]


@pytest.mark.parametrize("key", CARDS)
def test_workers_can_have_it(key, tmp_path):
    root, _ = MAKERS[key](tmp_path)
    photos = quiet(key, root).test
    assert pickle.loads(pickle.dumps(photos))[0][0].equal(photos[0][0])


# -- CUB --


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_cub_points_boxes_attributes(tmp_path, end):
    root, _ = make_cub(tmp_path, end)
    data = quiet("cub", root)
    both = [(p, i) for p in (data.train, data.test) for i in range(len(p))]
    assert (
        data.train.point_names == ["back", "beak", "left eye"]
        and data.train.attribute_names[0] == "has_bill_shape::curved_(up_or_down)"
    )
    assert len(both) == 12 and data.counts.notes == []
    for photos, i in both:
        n = int(photos.files[i].rsplit("_", 1)[1][:-4]) * 3 + ["001", "002", "200"].index(
            photos.files[i][7:10]
        )  # the photograph's place in the lists
        v = n % 2
        np.testing.assert_allclose(
            photos.points[i], [[20.5 + n, 31, 1], [20.5 + n, 32, 1], [(20.5 + n) * v, 37 * v, v]]
        )
        np.testing.assert_allclose(photos.boxes[i], [10 + n, 27, 110 + n, 107])
        np.testing.assert_allclose(photos.attributes[i], [[(n + a) % 2, 1 + n % 4] for a in (1, 2)])
    assert data.class_names == ["Black footed Albatross", "Laysan Albatross", "Common Yellowthroat"]


def test_cub_points_follow_the_picture(tmp_path):
    root, _ = make_cub(tmp_path)
    data = quiet("cub", root)
    before, after = data.test.points[0], data.test.sample(0)["points"].numpy()
    seen = before[:, 2] == 1
    np.testing.assert_allclose(after[seen, :2], before[seen, :2] * [224 / 200, 224 / 150], rtol=1e-4)


@pytest.mark.parametrize(
    "gone",
    ["parts/part_locs.txt", "parts/parts.txt", "bounding_boxes.txt", "attributes/image_attribute_labels.txt"],
)
def test_cub_without_extras_says_so(tmp_path, gone):
    root, _ = make_cub(tmp_path)
    (root / "CUB_200_2011" / gone).unlink()
    data = quiet("cub", root)
    assert any(gone in note for note in data.counts.notes)
    assert (data.train.points is None, data.train.boxes is None, data.train.attributes is None) == tuple(
        gone.startswith(g) for g in ("parts", "bound", "attr")
    )


def test_cub_without_the_names_of_attributes_has_no_attributes(tmp_path):
    root, _ = make_cub(tmp_path)
    (root / "attributes.txt").unlink()
    data = quiet("cub", root)
    assert data.train.attributes is None and "attributes.txt" in data.counts.notes[0]


@pytest.mark.parametrize("where", ["attributes/attributes.txt", "attributes.txt"])
def test_cub_attribute_names_lie_in_three_places(tmp_path, where):
    root, _ = make_cub(tmp_path)
    (root / "attributes.txt").rename(root / "CUB_200_2011" / where)
    assert quiet("cub", root).train.attribute_names[1] == "has_wing_color::blue"


def test_cub_lists_need_not_be_in_order(tmp_path):
    root, _ = make_cub(tmp_path)
    before = _read_cub(root)[0]["train"]
    for f in ("images", "image_class_labels", "train_test_split", "bounding_boxes"):
        path = root / f"CUB_200_2011/{f}.txt"
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    after = _read_cub(root)[0]["train"]
    assert (
        before.files == after.files
        and before.labels == after.labels
        and np.array_equal(before.boxes, after.boxes)
    )


@pytest.mark.parametrize(
    "file, text, said",
    [
        ("images.txt", "1 a.jpg\nbroken\n", "images.txt, line 2: 'broken'"),
        ("images.txt", "1\n", "images.txt, line 1"),
        ("image_class_labels.txt", "1 1\n", "image_class_labels.txt lacks image 2"),
        ("train_test_split.txt", "1 1\n", "train_test_split.txt lacks image 2"),
        ("parts/part_locs.txt", "1 1 20.5 3", "part_locs.txt"),
        ("attributes/image_attribute_labels.txt", "", "image_attribute_labels.txt is empty"),
        ("image_class_labels.txt", "\n".join(f"{i} 77" for i in range(1, 13)), "class 77"),
        ("bounding_boxes.txt", "1 a b c d\n", "bounding_boxes.txt"),
    ],
)
def test_broken_cub_files_are_named(tmp_path, file, text, said):
    root, _ = make_cub(tmp_path)
    (root / "CUB_200_2011" / file).write_text(text)
    with pytest.raises(ValueError, match=said):
        _read_cub(root)


def test_id_values_ignore_what_is_not_asked_for(tmp_path):
    lines(tmp_path / "t.txt", "1 1 5 0.5", "3 1 6 0.5", "1 9 7 0.5", "900 1 8 0.5 3 3")
    assert _id_values(tmp_path / "t.txt", {1: 0, 3: 1, 2000: 2}, {1: 0}, 1).tolist() == [[[5]], [[6]], [[0]]]


def test_id_table_keeps_blanks_in_the_text(tmp_path):
    lines(tmp_path / "t.txt", "7 left eye ", "", "8 wing")
    assert _id_table(tmp_path / "t.txt") == {7: "left eye", 8: "wing"}


# -- CUB-100 crops --


def test_cub100_points(tmp_path):
    root, _ = make_cub100(tmp_path)
    photos, notes = _read_cub100(root)
    assert photos["train"].point_names == ["back", "beak", "left eye"] and notes == []
    np.testing.assert_allclose(
        photos["train"].points[1], [[101.5, 50, 1], [0, 0, 0], [0, 0, 0]]
    )  # hidden, and outside the crop
    np.testing.assert_allclose(photos["test"].points[0, 0], [103.5, 50, 1])


@pytest.fixture(scope="module")
def crops():
    root = os.environ.get("INTR_NB_CUB100")
    if not root or not Path(root).is_dir():
        pytest.skip("INTR_NB_CUB100 names no folder with the CUB-100 crops")
    return load_finegrained("cub100", root, valid=0.1)


def test_real_crops_are_complete(crops):
    assert (
        crops.counts.complete
        and crops.counts.found == {"train": 2999, "test": 2903}
        and len(crops.class_names) == 100
    )
    assert (
        len(crops.train) + len(crops.valid) == 2999
        and len(crops.test) == 2903
        and len(set(crops.valid.labels)) == 100
    )


def test_real_points_lie_in_the_crops(crops):
    points = np.concatenate([crops.train.points, crops.valid.points, crops.test.points])
    seen = points[..., 2] == 1
    assert len(points) == 5902 and points.shape[1] == len(crops.train.point_names) == 15
    assert (points[seen][:, :2] >= 0).all() and (points[seen][:, :2] <= 227).all() and 0.6 < seen.mean() < 0.9


def test_real_photographs_can_be_read(crops):
    assert crops.test.image(0).shape == (227, 227, 3) and torch.isfinite(crops.train[0][0]).all()


# -- those that torchvision reads --


@pytest.mark.parametrize("key", ["pet", "aircraft", "car"])
def test_torchvision_needs_the_folders_name(key, tmp_path):
    root, _ = MAKERS[key](tmp_path)
    (root / INNER[key]).rename(root / "other")
    with pytest.raises(FileNotFoundError, match=f"called '{INNER[key]}' only: rename it"):
        load_finegrained(key, root / "other")


@pytest.mark.parametrize("key", ["car", "dog"])
def test_without_scipy_the_error_says_what_to_install(key, tmp_path, monkeypatch):
    root, _ = MAKERS[key](tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        load_finegrained(key, root)


def test_dogs_may_have_their_lists_in_a_folder(tmp_path):
    root, expected = make_dog(tmp_path)
    home = root / "stanford_dogs"
    (home / "lists").mkdir()
    for f in home.glob("*.mat"):
        f.rename(home / "lists" / f.name)
    assert len(quiet("dog", root).train) == len(expected["train"])
    (home / "lists/test_list.mat").unlink()
    with pytest.raises(FileNotFoundError, match="lacks test_list.mat"):
        load_finegrained("dog", root)


# -- fish --


@pytest.mark.parametrize(
    "names",
    [
        ("2021_train", "2021_valid"),
        ("train", "val"),
        ("2021_train_mini", "2021_valid"),
        ("train_mini", "val"),
    ],
)
def test_fish_by_torchvisions_names_and_the_archives(tmp_path, names):
    root, expected = make_fish(tmp_path, *names)
    data = quiet("fish", root)
    assert (
        data.class_names == ["Acipenser fulvescens", "Amia calva"]
        and len(data.train) == 6
        and len(data.test) == 4
    )
    assert any("small training set" in n for n in data.counts.notes) == ("mini" in names[0])


def test_fish_agree_with_torchvision_where_it_reads_the_folder(tmp_path):
    taxa = [f"{i:05}{t[5:]}" for i, t in enumerate(sorted(OTHERS[:1] + FISH + OTHERS[1:]))]
    for folder in ("2021_train", "2021_valid"):
        for k, t in enumerate(taxa):
            save(tmp_path / folder / t / f"{k}.jpg")
    whole = tv.INaturalist(tmp_path, "2021_train")
    fish = {
        c
        for c in range(4)
        if whole.category_name("class", whole.categories_map[c]["class"]) == "Actinopterygii"
    }
    assert sorted(f"2021_train/{whole.all_categories[c]}/{f}" for c, f in whole.index if c in fish) == sorted(
        _read_fish(tmp_path)[0]["train"].files
    )
    for t in taxa[:1]:
        (tmp_path / "2021_train" / t / "0.jpg").unlink()
        (tmp_path / "2021_train" / t).rmdir()
    with pytest.raises(RuntimeError):
        tv.INaturalist(tmp_path, "2021_train")  # why we don't use it
    assert len(_read_fish(tmp_path)[0]["train"]) == 2


# -- birds --


def test_birds_without_their_table_and_with_a_stale_one(tmp_path):
    root, expected = make_bird(tmp_path)
    with open(root / "birds.csv", "a") as f:
        f.write("9,train/PARAKETT  AKULET/1.jpg,PARAKETT  AKULET,train,A\n7,images to test/1.jpg,A,test,B\n")
    data = quiet("bird", root)
    assert data.counts.missing == [] and data.class_names == ["ABBOTTS BABBLER", "PARAKETT AUKLET"]
    (root / "birds.csv").unlink()
    assert quiet("bird", root).train.files == data.train.files


# -- butterflies --


def make_records(root, rows, header=("CAMID", "X", "Image_name", "View", "Taxonomic_Name")):
    with open(root / "0.collection.csv", "w", newline="") as f:
        csv.writer(f).writerows([header, *rows])


def collection(root, **n):
    rows = []
    for species, count in (n or dict(erato=30, sara=24, ricini=10)).items():
        for i in range(count):
            name = f"{species[:2]}{i // 2:04}_{'dv'[i % 2]}.JPG"
            save(root / f"images/{species}" / name, i)
            rows.append(
                (
                    f"{species[:2]}{i // 2:04}",
                    len(rows),
                    name,
                    ("dorsal", "ventral")[i % 2],
                    f"Heliconius {species} ssp. any",
                )
            )
    return rows


def test_butterflies_from_the_collection(tmp_path):
    rows = collection(tmp_path)
    rows += [
        ("x1", 1, "gone.JPG", "dorsal", "Heliconius sara"),
        ("x2", 1, "raw_d.CR2", "dorsal", "Heliconius sara"),
        ("er0000", 1, rows[0][2], "dorsal", rows[0][4]),
    ]
    save(tmp_path / "images/cross.JPG")
    rows.append(("x3", 1, "cross.JPG", "dorsal", "Heliconius erato x himera"))
    lines(tmp_path / "images/raw_d.CR2", "raw")
    make_records(tmp_path, rows)
    data, again, other = (
        quiet("butterflies", tmp_path),
        quiet("butterflies", tmp_path),
        quiet("butterflies", tmp_path, seed=1),
    )
    assert data.class_names == ["Heliconius erato", "Heliconius sara"]  # ricini has fewer than B = 20
    assert (
        len(data.train) == 26 + 20 and len(data.test) == 8
    )  # the record that stands twice counts once; K = 3 takes two specimens

    def specimen(f):
        return Path(f).name[:6]

    assert not {specimen(f) for f in data.train.files} & {specimen(f) for f in data.test.files}
    assert data.test.files == again.test.files and data.test.files != other.test.files
    notes = " ".join(data.counts.notes)
    assert (
        "2 records whose picture is not there" in notes
        and "1 records without a species" in notes
        and "seed 0" in notes
    )
    assert all(data.class_names[l].split()[1] in f for f, l in zip(data.train.files, data.train.labels))


def test_butterflies_by_other_column_names(tmp_path):
    rows = collection(tmp_path, erato=20, sara=20)
    make_records(
        tmp_path,
        [(r[0], f"images/{r[4].split()[1]}/{r[2]}", " ".join(r[4].split()[:2])) for r in rows],
        ("cam_id", "filepath", "species"),
    )
    assert len(quiet("butterflies", tmp_path).test) == 8
    make_records(tmp_path, [("a", "b")], ("Locality", "Brood"))
    with pytest.raises(ValueError, match="0.collection.csv has the columns locality, brood: expected one of"):
        load_finegrained("butterflies", tmp_path)


def test_butterflies_with_one_name_in_two_folders(tmp_path):
    for species in ("erato", "sara"):
        for i in range(20):
            save(tmp_path / f"{species}/{i}.jpg")
    rows = [(f"{s}/{i}.jpg", f"Heliconius {s}") for s in ("erato", "sara") for i in range(20)]
    make_records(tmp_path, rows, ("filepath", "species"))
    photos, _ = _read_butterflies(tmp_path)
    assert len(photos["train"]) == 34 and all(
        photos["train"].class_names[l].split()[1] == f.split("/")[0]
        for f, l in zip(photos["train"].files, photos["train"].labels)
    )
    make_records(tmp_path, [(f.split("/")[1], s) for f, s in rows], ("filename", "species"))
    with pytest.raises(FileNotFoundError, match="40 records whose picture's name stands in two folders"):
        load_finegrained("butterflies", tmp_path)


def test_the_authors_split_is_found_in_the_unpacked_archive(tmp_path):
    _, expected = make_butterflies(tmp_path / "butterfly")
    make_records(tmp_path, [])
    assert len(quiet("butterflies", tmp_path).train) == len(expected["train"])


def test_selection_of_appendix_d():
    labels = ["a"] * 19 + ["b"] * 20 + ["c"] * 88 + ["d"] * 500
    train, test = _select_classes(labels)

    def per(rows):
        return {c: sum(labels[i] == c for i in rows) for c in "abcd"}

    assert per(train) == dict(a=0, b=17, c=85, d=85) and per(test) == dict(a=0, b=3, c=3, d=3)
    assert not set(train) & set(test) and train == sorted(set(train))
    assert _select_classes(labels, seed=0) == (train, test) and _select_classes(labels, seed=1)[0] != train
    assert per(_select_classes(labels, B=19, K=5, M=10)[0]) == dict(a=10, b=10, c=10, d=10)
    one = ["s"] * 20 + list(range(20))
    assert (
        _select_classes(["a"] * 20 + ["b"] * 20, one)[0]
        and 0 not in _select_classes(["a"] * 20 + ["b"] * 20, one)[1]
    )  # one specimen can't be split


@pytest.mark.parametrize(
    "taxon, species",
    [
        ("Heliconius erato", "Heliconius erato"),
        ("Heliconius erato ssp. lativitta", "Heliconius erato"),
        ("Heliconius_melpomene_rosina", "Heliconius melpomene"),
        ("Heliconius sp.", None),
        ("Heliconius", None),
        ("", None),
        ("Heliconius erato x himera", None),
        ("Eueides isabella × aliphera", None),
    ],
)
def test_species_of(taxon, species):
    assert _species_of(taxon) == species


# -- the hub --


def hub(n=2, names=("PARAKETT  AUKLET", "OSPREY", "PARAKETT AUKLET"), **parts):
    datasets = pytest.importorskip("datasets", reason="copies on the hub are read with the datasets library")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})

    def make(labels):
        pictures = [Image.new("RGB", (32, 24), (50 * l, 9, 9)) for l in labels]
        return datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=features)

    return datasets.DatasetDict({part: make(labels) for part, labels in parts.items()})


def test_a_copy_on_the_hub():
    data = quiet("bird", hub(train=[0, 1, 0], validation=[2, 1], test=[1, 2], contrast=[0]), valid=None)
    assert (
        data.class_names == ["PARAKETT AUKLET", "OSPREY"]
        and data.train.labels == [0, 1, 0]
        and data.valid.labels == [0, 1]
        and data.test.labels == [1, 0]
    )
    assert data.train.image(1).tolist()[0][0] == [50, 9, 9] and "without points" in repr(data.counts)
    with pytest.raises(ValueError, match="train, validation: expected train and test"):
        load_finegrained("car", hub(train=[0, 1], validation=[1, 0]))


def test_download_asks_where_it_can_be_had_and_only_when_allowed(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        intr_nb.data.finegrained, "_fetch", lambda key, root: asked.append(key) or MAKERS[key](root)[0]
    )
    quiet("pet", tmp_path, download=True)
    quiet("pet", tmp_path, download=True)
    assert asked == ["pet"]  # the second time it is there
    with pytest.raises(FileNotFoundError):
        load_finegrained("aircraft", tmp_path)
    assert asked == ["pet"]


def test_fetch_calls_torchvision_or_the_hub(tmp_path, monkeypatch):
    asked = []
    for name in ("OxfordIIITPet", "FGVCAircraft"):
        monkeypatch.setattr(tv, name, lambda root, download, name=name: asked.append(name))
    monkeypatch.setattr(tv, "INaturalist", lambda root, version, download: asked.append(version))
    monkeypatch.setattr(
        tv.utils,
        "download_and_extract_archive",
        lambda url, root, md5=None: asked.append(url.rsplit("/", 1)[1]),
    )
    for key in ("pet", "aircraft", "fish", "cub", "dog"):
        assert _fetch(key, tmp_path) == tmp_path
    assert asked == [
        "OxfordIIITPet",
        "FGVCAircraft",
        "2021_valid",
        "2021_train",
        "CUB_200_2011.tgz",
        "images.tar",
        "lists.tar",
    ]
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets, "load_dataset", lambda name, cache_dir: (name, cache_dir))
    assert (
        _fetch("bird", tmp_path) == (CARDS["bird"].hub, str(tmp_path))
        and _fetch("car", tmp_path)[0] == CARDS["car"].hub
    )
    with pytest.raises(ValueError, match="can't be downloaded"):
        _fetch("cub100", tmp_path)


def test_the_hubs_archive_of_butterflies_is_unpacked(tmp_path, monkeypatch):
    import shutil

    huggingface_hub = pytest.importorskip("huggingface_hub")
    make_butterflies(tmp_path / "made/butterfly")
    archive = shutil.make_archive(tmp_path / "butterfly", "zip", tmp_path / "made")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, file, repo_type, local_dir: archive)
    assert len(quiet("butterflies", tmp_path / "new", download=True).train) == 6


def test_present_looks_at_each_folder_once(tmp_path):
    photos = _gather(
        tmp_path,
        {"train": ([save(tmp_path / "a/1.jpg"), tmp_path / "a/2.jpg", tmp_path / "b/1.jpg"], [0, 0, 0])},
        ["c"],
    )["train"]
    assert _present(photos) == [True, False, False]


def test_the_papers_keys_still_find_their_sets(tmp_path):
    for old, key in KEYS.items():
        assert old not in CARDS and dataset_card(old) is CARDS[key]
        root, expected = MAKERS[key](tmp_path / key)
        with pytest.warns(UserWarning, match=f"^{key}: "):
            data = load_finegrained(old, root)
        assert data.card.key == key and len(data.train) == len(expected["train"])
