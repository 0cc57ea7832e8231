"""Small copies of the layouts in which the eight datasets lie on a disk, for the tests that read them."""

import csv
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from intr_nb.data.finegrained import load_finegrained


def save(path, shade=0, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade * 37 % 256, shade * 91 % 256, 90)).save(path)
    return path


def save_noise(path, seed=None, size=(30, 20), **more):
    "A small picture of noise: another seed, other pixels"
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(str(path).encode()) if seed is None else seed
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)).save(
        path, **more
    )
    return path


def lines(path, *rows, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(row + end for row in rows).encode())


def quiet(*args, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_finegrained(*args, **more)


# -- trees in the layout of each set; every maker returns what `root` is to be, and {part: [(file, class name)]} --


def make_cub(root, end="\n"):
    home = root / "CUB_200_2011"
    classes = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "200.Common_Yellowthroat"]
    names = [f"{c}/{c[4:]}_{i:04}_{i}.jpg" for i in range(4) for c in classes]
    for i, n in enumerate(names):
        save(home / "images" / n, i, (200, 150))
    lines(home / "images.txt", *(f"{i + 1} {n}" for i, n in enumerate(names)), end=end)
    lines(home / "classes.txt", *(f"{int(c[:3])} {c}" for c in classes), end=end)
    lines(home / "image_class_labels.txt", *(f"{i + 1} {int(n[:3])}" for i, n in enumerate(names)), end=end)
    lines(home / "train_test_split.txt", *(f"{i + 1} {int(i % 4 != 3)}" for i in range(12)), end=end)
    lines(home / "bounding_boxes.txt", *(f"{i + 1} {10.0 + i} 27.0 100.0 80.0" for i in range(12)), end=end)
    lines(home / "parts/parts.txt", "1 back", "2 beak", "7 left eye", end=end)
    lines(
        home / "parts/part_locs.txt",
        *(
            f"{i + 1} {p} {20.5 + i if v else 0.0} {30.0 + p if v else 0.0} {v}"
            for i in range(12)
            for p, v in ((1, 1), (2, 1), (7, i % 2))
        ),
        end=end,
    )
    lines(
        home / "attributes/certainties.txt",
        "1 not visible",
        "2 guessing",
        "3 probably",
        "4 definitely",
        end=end,
    )
    attributes = [(1, "has_bill_shape::curved_(up_or_down)"), (2, "has_wing_color::blue")]
    lines(
        root / "attributes.txt", *(f"{a} {n}" for a, n in attributes), end=end
    )  # the archive has it beside the folder
    rows = [(i + 1, a, (i + a) % 2, 1 + i % 4) for i in range(12) for a, _ in attributes]
    lines(
        home / "attributes/image_attribute_labels.txt",
        *(f"{i} {a} {p} {c} {'0 ' * (i in (5, 9)) + '7 ' * (i == 9)}4.509" for i, a, p, c in rows),
        end=end,
    )

    def name(n):
        return n[4:].split("/")[0].replace("_", " ")

    return root, {
        "train": [(f"images/{n}", name(n)) for i, n in enumerate(names) if i % 4 != 3],
        "test": [(f"images/{n}", name(n)) for i, n in enumerate(names) if i % 4 == 3],
    }


def make_cub100(root):
    rows = [
        (f"{c}/{i:04}.jpg", k, c, "train" if i < 3 else "test")
        for k, c in enumerate(["Groove_billed_Ani", "Painted_Bunting"])
        for i in range(4)
    ]
    for n, (path, *_) in enumerate(rows):
        save(root / "images" / path, n, (227, 227))
    with open(root / "annotations.csv", "w", newline="") as f:
        csv.writer(f).writerows(
            [
                (
                    "path",
                    "class_id",
                    "class_name",
                    "cub_class_id",
                    "cub_image_id",
                    "split",
                    "bbox_x",
                    "bbox_y",
                    "bbox_w",
                    "bbox_h",
                ),
                *(
                    (p, k, c, 4 * k + 1, n, s, 60.0, 27.0, 325.0, 304.0)
                    for n, (p, k, c, s) in enumerate(rows)
                ),
            ]
        )
    lines(root / "part_names.txt", "1 back", "2 beak", "3 left eye")
    with open(root / "parts.csv", "w", newline="") as f:
        csv.writer(f).writerows(
            [
                ("path", "cub_image_id", "part_id", "x", "y", "visible", "inside"),
                *(
                    r
                    for n, (p, *_) in enumerate(rows)
                    for r in (
                        (p, n, 1, 100.5 + n, 50.0, 1, 1),
                        (p, n, 2, "", "", 0, 0),
                        (p, n, 3, -4.0, 9.0, 1, 0),
                    )
                ),
            ]
        )
    return root, {
        s: [(f"images/{p}", c.replace("_", " ")) for p, _, c, t in rows if s == t] for s in ("train", "test")
    }


def make_pet(root):
    breeds = ["Abyssinian", "american_bulldog", "Saint_Bernard"]
    home, parts = root / "oxford-iiit-pet", {"trainval": [], "test": []}
    for k, b in enumerate(breeds):
        for i in (1, 10, 100, 2):
            parts["test" if i == 10 else "trainval"].append((save(home / f"images/{b}_{i}.jpg", k), b, k + 1))
        lines(home / f"images/{b}_1.mat", "junk that lies among the photographs")
    lines(
        home / "annotations/list.txt",
        "#Image CLASS-ID SPECIES BREED ID",
        *(f"{f.stem} {k} {1 + (k > 1)} 1" for p in parts.values() for f, _, k in p),
    )
    for p, rows in parts.items():
        lines(home / f"annotations/{p}.txt", *(f"{f.stem} {k} {1 + (k > 1)} 1" for f, _, k in rows))

    def title(b):
        return " ".join(w.title() for w in b.split("_"))

    return root, {
        s: [(f.relative_to(home).as_posix(), title(b)) for f, b, _ in parts[p]]
        for s, p in (("train", "trainval"), ("test", "test"))
    }


def make_aircraft(root):
    home, variants, out = root / "fgvc-aircraft-2013b", ["707-320", "A330-200", "F/A-18", "Model B200"], {}
    lines(home / "data/variants.txt", *variants)
    for n, (part, split) in enumerate((("train", "train"), ("valid", "val"), ("test", "test"))):
        rows = [(f"{1000000 + 100 * n + 10 * k + i:07}", v) for k, v in enumerate(variants) for i in range(2)]
        lines(home / f"data/images_variant_{split}.txt", *(f"{i} {v}" for i, v in rows))
        out[part] = [
            (save(home / f"data/images/{i}.jpg", n).relative_to(home).as_posix(), v) for i, v in rows
        ]
    lines(home / "data/images_variant_trainval.txt", "1000000 707-320")
    return root, out


def make_car(root):
    savemat = pytest.importorskip(
        "scipy.io", reason="scipy writes and reads the lists of Stanford Cars"
    ).savemat
    home, names, out = (
        root / "stanford_cars",
        ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo Convertible 2012"],
        {},
    )
    (home / "devkit").mkdir(parents=True)
    for part, file in ("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat"):
        rows = [(f"{i + 1:05}.jpg", (i + (part == "test")) % 3) for i in range(6)]
        dtype = [(k, object) for k in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
        savemat(
            home / file, {"annotations": np.array([[(39, 116, 569, 375, k + 1, f) for f, k in rows]], dtype)}
        )  # (1, n) struct, as shipped
        out[part] = [
            (save(home / f"cars_{part}" / f, k).relative_to(home).as_posix(), names[k]) for f, k in rows
        ]
    savemat(home / "devkit/cars_meta.mat", {"class_names": np.array([names], dtype=object)})
    return root, out


def make_dog(root):
    savemat = pytest.importorskip(
        "scipy.io", reason="scipy writes and reads the lists of Stanford Dogs"
    ).savemat
    home, breeds, out = root / "stanford_dogs", ["n02085620-Chihuahua", "n02099267-flat-coated_retriever"], {}
    for part, numbers in ("train", (5927, 2441)), ("test", (4077,)):
        rows = [(f"{b}/{b[:9]}_{n}.jpg", k) for k, b in enumerate(breeds) for n in numbers]
        savemat(
            home.mkdir(parents=True, exist_ok=True) or home / f"{part}_list.mat",
            {
                "file_list": np.array([[f] for f, _ in rows], dtype=object),
                "annotation_list": np.array([[f[:-4]] for f, _ in rows], dtype=object),
                "labels": np.array([[k + 1] for _, k in rows]),
            },
        )
        for f, _ in rows:
            lines(home / "Annotation" / f[:-4], "<annotation></annotation>")
        out[part] = [
            (save(home / "Images" / f, k).relative_to(home).as_posix(), breeds[k][10:].replace("_", " "))
            for f, k in rows
        ]
    return root, out


FISH = [
    "02754_Animalia_Chordata_Actinopterygii_Acipenseriformes_Acipenseridae_Acipenser_fulvescens",
    "02755_Animalia_Chordata_Actinopterygii_Amiiformes_Amiidae_Amia_calva",
]
OTHERS = [
    "00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris",
    "03111_Animalia_Chordata_Aves_Accipitriformes_Accipitridae_Accipiter_badius",
]


def make_fish(root, train="2021_train", test="2021_valid"):
    for folder, n in (train, 3), (test, 2):
        for k, taxon in enumerate(FISH + OTHERS):
            for i in range(n):
                save(root / folder / taxon / f"{k}{i}-{folder[-5:]}.jpg", k)
    return root, {
        s: [
            (f"{f}/{t}/{k}{i}-{f[-5:]}.jpg", " ".join(t.split("_")[6:]))
            for k, t in enumerate(FISH)
            for i in range(n)
        ]
        for s, f, n in (("train", train, 3), ("test", test, 2))
    }


def make_bird(root):
    out, rows = {}, []
    for part in ("train", "valid", "test"):
        names = ["ABBOTTS BABBLER", "PARAKETT  AUKLET" if part == "train" else "PARAKETT AUKLET"]
        files = [f"{part}/{n}/{i}.jpg" for n in names for i in ("001", "002")]
        for f in files:
            save(root / f)
        rows += [(len(rows) // 4 % 2, f, f.split("/")[1], part, "MALACOCINCLA ABBOTTI") for f in files]
        out[part] = [(f, " ".join(f.split("/")[1].split())) for f in files]
    with open(root / "birds.csv", "w", newline="") as f:
        csv.writer(f).writerows([("class id", "filepaths", "labels", "data set", "scientific name"), *rows])
    return root, out


def make_butterflies(root):
    out = {
        p: [(f"{f}/{s}/{i}.jpg", s) for s in ("Heliconius erato", "Heliconius sara") for i in range(n)]
        for p, f, n in (("train", "train", 3), ("test", "val", 1))
    }
    for rows in out.values():
        for f, _ in rows:
            save(root / f)
    return root, out


MAKERS = dict(
    bird=make_bird,
    cub=make_cub,
    butterflies=make_butterflies,
    fish=make_fish,
    dog=make_dog,
    pet=make_pet,
    car=make_car,
    aircraft=make_aircraft,
    cub100=make_cub100,
)
