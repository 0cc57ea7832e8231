"""The paper's three edits of photographs (Figures 5 and 11), each against a control edit: CUB-100 crops.

Usage: python benchmarks/edit_birds.py FOLDER MODEL [--weights FILE] [--photos N] [--edits FILE] [--csv FILE]
FOLDER holds the crops (`dataset_card("cub100")`), MODEL is what `intr_nb.models.checkpoints.save` wrote,
FILE the MobileNetV2 weights if the model was saved without its backbone's. Every test photograph that shows
the mark is edited. Red-winged Blackbird: the shoulder goes black. Baltimore Oriole: belly and breast become
chestnut, as an Orchard Oriole's. Scarlet Tanager: wings and tail become red, as a Summer Tanager's. The
mark is what has its colour near the part points. The control is as many pixels round another visible part,
made lighter or darker by as much as the edit changed the colour. One row a photograph and kind is appended
to the CSV; what is there is not done again.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from results import append_row, read_rows

from intr_nb.core.images import to_tensor
from intr_nb.core.tools import progress_bar
from intr_nb.data.finegrained import load_finegrained
from intr_nb.evaluation.statistics import bootstrap
from intr_nb.experiments.changes import Unchanged, compare_edit, share_on
from intr_nb.experiments.edits import edit_picture, edit_region, save_edits
from intr_nb.experiments.pixel_edits import to_lab
from intr_nb.models.backbones import build_backbone
from intr_nb.models.checkpoints import load


def warm(lab):
    return (np.hypot(lab[..., 1], lab[..., 2]) > 30) & (lab[..., 1] + lab[..., 2] > 25)


def dark(lab):
    return (lab[..., 0] < 45) & (np.hypot(lab[..., 1], lab[..., 2]) < 30)


EDITS = {  # species: towards, parts, radius in pixels, which pixels there, settings of `recolour`
    "Red winged Blackbird": (
        "Bronzed Cowbird",
        ("left wing", "right wing"),
        60,
        warm,
        dict(colour="#1a1a1d", chroma=0.0),
    ),
    "Baltimore Oriole": ("Orchard Oriole", ("belly", "breast"), 45, warm, dict(colour="#7a3b1e")),
    "Scarlet Tanager": (
        "Summer Tanager",
        ("left wing", "right wing", "tail"),
        45,
        dark,
        dict(colour="#b5382c"),
    ),
}
FEWEST = 150  # pixels of a mark


def seen(photos, i):
    return {n: p[:2].tolist() for n, p in zip(photos.point_names, photos.points[i]) if p[2]}


def mark(photos, i, parts, radius, like):
    "The pixels near these parts that have the mark's colour: (H, W) bool, or None where it can't be seen"
    image, points = photos.image(i), [p for n, p in seen(photos, i).items() if n in parts]
    if not points:
        return None
    found = edit_region(dict(points=points, radius=radius), image.shape[:2]) & like(to_lab(image / 255))
    return found if found.sum() >= FEWEST else None


def elsewhere(photos, i, mask, parts):
    "As many pixels round the visible part farthest from the mark, and its name: None where no part has room"
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    ys, xs = np.nonzero(mask)
    others = {n: p for n, p in seen(photos, i).items() if n not in parts}
    for name in sorted(others, key=lambda n: -((xs - others[n][0]) ** 2 + (ys - others[n][1]) ** 2).min()):
        distance = (x - others[name][0]) ** 2 + (y - others[name][1]) ** 2
        nearest = np.zeros(mask.size, bool)
        nearest[np.argsort(distance, axis=None, kind="stable")[: mask.sum()]] = True
        nearest = nearest.reshape(mask.shape)
        if not (nearest & mask).any():
            return nearest, name
    return None


def shift(before, after, mask):
    "How far the region's mean colour went, in CIELAB"
    return float(np.linalg.norm(to_lab(after[mask] / 255).mean(0) - to_lab(before[mask] / 255).mean(0)))


def both(photos, i, species):
    "The edit of a photograph and its control: {kind: (part, Edit)}, or the reason why there are none"
    _, parts, radius, like, settings = EDITS[species]
    mask, image = mark(photos, i, parts, radius, like), photos.image(i)
    if mask is None:
        return "the mark can't be seen"
    if (other := elsewhere(photos, i, mask, parts)) is None:
        return "no other part has room"
    made = edit_picture("recolour", mask=mask, soft=2, **settings)
    far, light = shift(image, made(image), mask), to_lab(image[other[0]] / 255)[:, 0].mean()
    return dict(
        edit=(" and ".join(n for n in seen(photos, i) if n in parts), made),
        control=(
            other[1],
            edit_picture("recolour", mask=other[0], soft=2, lightness=far if light < 50 else -far),
        ),
    )


def measure(model, photos, i, species, kind, part, made, size):
    "What an edit did: a dict for the CSV"
    target, image = EDITS[species][0], photos.image(i)
    mask = edit_region(made.where, image.shape[:2])
    base = dict(
        file=photos.files[i],
        species=species,
        kind=kind,
        part=part,
        pixels=int(mask.sum()),
        shift=round(shift(image, made(image), mask), 2),
    )
    try:
        c = compare_edit(
            model,
            image,
            made,
            a=target,
            b=species,
            transform=lambda p: to_tensor(p, size),
            class_names=photos.class_names,
        )
    except Unchanged:
        return base
    e, f = c.before, c.after
    return base | dict(
        before=e.name(e.prediction),
        after=f.name(f.prediction),
        right=int(e.prediction == c.b),
        flipped=int(c.flipped),
        to_target=int(f.prediction == c.a),
        margin_before=round(e.margin(c.b, c.a).value, 4),
        change=round(c.value, 4),
        near=round(share_on(c.total, c.edited, 0.05), 4),
        area=round(share_on(torch.ones_like(c.total), c.edited, 0.05), 4),
    )


COLUMNS = (
    "file",
    "species",
    "kind",
    "part",
    "pixels",
    "shift",
    "before",
    "after",
    "right",
    "flipped",
    "to_target",
    "margin_before",
    "change",
    "near",
    "area",
)


def summary(rows):
    "A line for each species and kind, of the photographs that were right before"
    for species in EDITS:
        for kind in ("edit", "control"):
            same = [r for r in rows if (r["species"], r["kind"]) == (species, kind)]
            found = [r for r in same if str(r.get("right")) == "1"]
            if not found:
                continue
            columns = ("flipped", "to_target", "change", "near", "area", "shift")
            means = {k: bootstrap([float(r[k]) for r in found]) for k in columns}
            cells = (f"{k} {m:.2f} [{a:.2f}, {b:.2f}]" for k, (m, a, b, _) in means.items())
            yield f"{species:22} {kind:8} n {len(found):3}  " + "  ".join(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path, help="as intr_nb.models.checkpoints.save wrote it")
    parser.add_argument("--weights", type=Path, help="MobileNetV2's, to put into the model's backbone")
    parser.add_argument("--size", type=int, default=320, help="pixels of a side, as in training")
    parser.add_argument("--photos", type=int, help="of each species; by default all test photographs")
    parser.add_argument("--edits", type=Path, help="keep the records of all edits in this JSON file")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    args = parser.parse_args()
    model, photos = load(args.model), load_finegrained("cub100", args.folder).test
    if args.weights:
        model.backbone = build_backbone(
            dict(name="mobilenet_v2", weights=args.weights, mean=(0.5,) * 3, std=(0.5,) * 3)
        )
    model.class_names = photos.class_names
    rows = read_rows(args.csv)
    done, records = {(r["file"], r["kind"]) for r in rows}, []
    for species in EDITS:
        numbers = [i for i, c in enumerate(photos.labels) if photos.class_names[c] == species]
        numbers, left_out = numbers[: args.photos], {}
        for i in progress_bar(numbers, species, unit="photo"):
            made = both(photos, i, species)
            if isinstance(made, str):
                left_out[made] = left_out.get(made, 0) + 1
                continue
            for kind, (part, e) in made.items():
                records.append(e)
                if (photos.files[i], kind) in done:
                    continue
                rows.append(measure(model, photos, i, species, kind, part, e, args.size))
                append_row(args.csv, rows[-1], COLUMNS)
        if left_out:
            reasons = ", ".join(f"{n} of {len(numbers)} where {why}" for why, n in left_out.items())
            print(f"{species}: left out {reasons}")
    if args.edits:
        save_edits(args.edits, records)
    for line in summary(rows):
        print(line)


if __name__ == "__main__":
    main()
