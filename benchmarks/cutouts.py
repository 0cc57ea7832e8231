"""Accuracy against truth on photographs with exact masks: cut-out birds on photographs of landscapes.

Usage: python benchmarks/cutouts.py FOLDER --weights FILE [--make CUTOUTS BACKGROUNDS] [--candidates NAME ...]
       [--seeds 0 1] [--csv FILE]

Each picture in CUTOUTS (PNG with transparency, one a class: `animals/birds` of Debian's package
tuxpaint-stamps-default has 35) is put, turned, mirrored, larger or smaller, lighter or darker, on a piece of a
photograph in BACKGROUNDS (Debian's mate-backgrounds has some), and its mask is kept. FOLDER gets `train` and
`test`, on different backgrounds, each with `photographs` and `masks` as `ImageFolders` reads them. Then every
candidate (what is read x bound x hidden positions) learns from frozen features, and its maps are held against
the masks: does the peak lie on the bird, and how much of the positive map?
"""

import argparse
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cub100 import BACKBONES, LOCAL, PHOTOS
from photo_maps import all_methods
from PIL import Image, ImageEnhance
from results import append_row

from intr_nb.core.display import overlay, to_pixels
from intr_nb.core.tools import progress_bar
from intr_nb.data.birds import gallery
from intr_nb.data.image_folders import ImageFolders
from intr_nb.data.transforms import square_transforms
from intr_nb.evaluation.benchmark import evaluate_explanations
from intr_nb.evaluation.metrics import METRICS
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.methods import BASELINES, METHODS
from intr_nb.models.backbones import build_backbone
from intr_nb.models.checkpoints import save
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.pooled import PooledClassifier
from intr_nb.training.accuracy import evaluate
from intr_nb.training.attention_stats import attention_statistics
from intr_nb.training.features import cache_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import RECIPES

SEEN = LOCAL | dict(patch_dropout=0.0)
HEADS = {
    "plain": PHOTOS,
    "bound 3": SEEN | dict(score_bound=3.0),
    "bound 1": SEEN,
    "bound 1, hidden": LOCAL,
    "hidden": LOCAL | dict(score_bound=None),
    "pooled": None,
}
READ = ("middle", "windows", "fine", "whole")
CANDIDATES = [f"{read}: {head}" for read in READ for head in HEADS]


def scene(cutout, background, rng, size=320):
    "A bird on a piece of a photograph, and where it is: RGB image, boolean mask"
    place = background.crop(_piece(background.size, rng)).resize((size, size), Image.LANCZOS)
    bird = cutout.transpose(Image.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else cutout
    bird = bird.rotate(rng.uniform(-20, 20), expand=True, resample=Image.BICUBIC)
    bird = bird.crop(bird.getchannel("A").getbbox())
    cover = (np.asarray(bird.getchannel("A")) > 127).mean()
    area = rng.uniform(0.1, 0.3) * size**2 / cover
    scale = min((area / (bird.width * bird.height)) ** 0.5, 0.9 * size / max(bird.size))
    bird = bird.resize([max(1, round(side * scale)) for side in bird.size], Image.LANCZOS)
    alpha = bird.getchannel("A")
    bird = ImageEnhance.Brightness(bird.convert("RGB")).enhance(rng.uniform(0.7, 1.3))
    corner = tuple(int(rng.integers(0, size - side + 1)) for side in bird.size)
    place.paste(bird, corner, alpha)
    mask = np.zeros((size, size), bool)
    mask[corner[1] :, corner[0] :][: bird.height, : bird.width] = np.asarray(alpha) > 127
    return place, mask


def _piece(size, rng):
    "A random square of a photograph, at least half as high as it is"
    side = int(min(size) * rng.uniform(0.5, 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in size)
    return left, top, left + side, top + side


def pictures(folder, mode):
    found = sorted(
        p for p in Path(folder).rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")
    )
    return {p.stem: Image.open(p).convert(mode) for p in found}


def make(folder, cutouts, backgrounds, number, seed):
    "Write `number` scenes of each class, for training and, on other backgrounds, half as many for the test"
    birds = {k: v for k, v in pictures(cutouts, "RGBA").items() if v.getchannel("A").getextrema()[0] == 0}
    places = list(pictures(backgrounds, "RGB").values())
    if len(birds) < 2 or len(places) < 2:
        raise SystemExit(f"{len(birds)} cut-outs, {len(places)} backgrounds: expected at least 2 of each")
    rng = np.random.default_rng(seed)
    parts = dict(train=(places[::2], number), test=(places[1::2], number // 2))
    for part, (some, n) in parts.items():
        for name in progress_bar(list(birds), part, unit="class"):
            for i in range(n):
                image, mask = scene(birds[name], some[int(rng.integers(len(some)))], rng)
                for kind, picture, end in (
                    ("photographs", image, "jpg"),
                    ("masks", Image.fromarray(mask), "png"),
                ):
                    path = folder / part / kind / name / f"{i:03}.{end}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    picture.save(path)


def read(folder, part, size):
    "All scenes of a part, without a split, with their masks"
    of = folder / part
    return ImageFolders(
        of / "photographs", square_transforms(size, scale=(0.8, 1)), valid=0, masks=of / "masks"
    ).train


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--make", type=Path, nargs=2, metavar=("CUTOUTS", "BACKGROUNDS"))
    parser.add_argument("--number", type=int, default=20, help="of scenes to make of each class")
    parser.add_argument("--candidates", nargs="+", default=CANDIDATES, choices=CANDIDATES, metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=320, help="pixels of a side")
    parser.add_argument("--images", type=int, default=140, help="of the test scenes whose maps are looked at")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    parser.add_argument("--picture", type=Path, help="write some scenes and their margins to this file")
    parser.add_argument("--save", type=Path, help="keep the models in this folder")
    args = parser.parse_args()
    if args.make:
        make(args.folder, *args.make, args.number, seed=0)
    train = read(args.folder, "train", args.size)
    test = read(args.folder, "test", args.size).with_transform(square_transforms(args.size)[1])
    chosen = range(0, len(test), max(1, len(test) // args.images))
    for name in args.candidates:
        what, head = name.split(": ")
        backbone = build_backbone(BACKBONES[what](args.weights))
        cached = cache_features(backbone, (train, test), args.folder / "features" / what, views=2)
        for seed in args.seeds:
            found, model = learn_and_look(backbone, HEADS[head], cached, test, chosen, seed)
            row = dict(candidate=name, seed=seed) | found
            if args.picture and HEADS[head] is not None:
                draw(model, test).save(args.picture)
            print(row, flush=True)
            append_row(args.csv, row)
            if args.save:
                called = "-".join(re.findall("[0-9a-z]+", f"{name} {seed}"))
                save(model, args.save / called, **model.metadata)


def learn_and_look(backbone, settings, cached, test, chosen, seed):
    "Accuracy, attention, and where the maps lie"
    torch.manual_seed(seed)
    n, start = len(test.class_names), time.perf_counter()
    model = PooledClassifier(n, backbone) if settings is None else OneBlockINTR(n, backbone, **settings)
    fit(model, (cached.train, None), replace(RECIPES["photographs"], seed=seed), progress=False)
    row = dict(
        accuracy=round(evaluate(model, cached.valid)["accuracy"], 4),
        seconds=round(time.perf_counter() - start),
    )
    model.eval()
    model.class_names = test.class_names
    if settings is None:
        row["entropy"], asked = "", {"Grad-CAM": METHODS["Grad-CAM"]} | BASELINES
    else:
        images = torch.stack([test[i][0] for i in chosen[::8]])
        row["entropy"] = round(attention_statistics(model, images).row()["entropy"], 3)
        asked = {k: method for k, method in all_methods().items() if "3 x 3" not in k}
    truth = {k: METRICS[k] for k in ("pointing", "mass")}
    found = evaluate_explanations(model, asked, test, truth, images=chosen, progress=False)
    for _, method, metric, mean, low, high, _ in found.rows():
        row |= {f"{method} {metric}": f"{mean:.3f} [{low:.3f}, {high:.3f}]"}
    return row, model


def draw(model, test, many=8, size=200):
    "Scenes from all over the test set, not chosen by hand; below each the margin's evidence for its prediction"
    numbers = range(0, len(test), len(test) // many)[:many]
    found = [explain(model, test[i][0]) for i in numbers]
    photographs = [Image.fromarray(to_pixels(why.image)).resize((size, size)) for why in found]
    margins = [overlay(why.image, why.margin().total, size=size) for why in found]
    return gallery([*photographs, *margins], columns=many, gap=6)


if __name__ == "__main__":
    main()
