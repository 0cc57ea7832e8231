"""The paper's ablations: heads and decoder layers (Table 5), encoders (Table 4).

Usage: python benchmarks/ablations.py heads layers encoders [--size small] [--seeds 0 1 2] [--csv FILE]
       python benchmarks/ablations.py heads layers encoders --size paper --folder CUB [--runs FOLDER] [--workers 8]

Small: 16 species of drawn birds, INTR of 64 numbers, minutes for each row on a core; it says whether the
recipe runs, and whether the order of rows shows up there. Paper: CUB from its folder, the paper's sizes and
recipe, from DETR where the sizes are DETR's (the paper says no more of its other sizes); each row is a
training of hours on a GPU, and goes on where it ended if --runs names a folder. Rows that are in the CSV
are not run again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from results import append_row, read_rows

from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.data.finegrained import load_finegrained
from intr_nb.data.transforms import detr_transforms, square_transforms
from intr_nb.models.detr import load_detr
from intr_nb.models.intr import INTR
from intr_nb.training.accuracy import evaluate
from intr_nb.training.loop import fit
from intr_nb.training.recipe import RECIPES, Recipe

SMALL = dict(backbone=dict(name="patchnet", dim=64, stride=8), dim=64, num_heads=8, ffn_dim=256)
SMALL |= dict(encoder_layers=0, decoder_layers=6, dropout=0.0)
SMALL_VIT = dict(name="timm/vit_tiny_patch16_224", img_size=96, patch_size=8, embed_dim=96, num_heads=4)
PAPER = dict(backbone="resnet50")  # six layers each, eight heads, 256 numbers
DEIT, HUGE = "timm/deit_small_patch16_224.fb_in1k", "timm/vit_huge_patch14_224.orig_in21k"


def rows_of(table, size):
    "Name and changes of each row of a table"
    if table == "heads":
        return {f"{n} heads": dict(num_heads=n) for n in (4, 8, 16)}
    if table == "layers":
        return {f"{n} decoder layers": dict(decoder_layers=n) for n in (4, 5, 6, 7)}
    if size == "small":
        vit = {f"ViT, depth {n}": dict(backbone=SMALL_VIT | dict(depth=n)) for n in (2, 4)}
        return {"convolutions": {}, "convolutions and encoder": dict(encoder_layers=2), **vit}
    vits = {
        name: dict(name=spec, weights=True, img_size=448)
        for name, spec in (("DeiT-S", DEIT), ("ViT-H", HUGE))
    }
    return {"DETR-R50": {}} | {k: dict(backbone=v, encoder_layers=0) for k, v in vits.items()}


def small_data():
    "Drawn birds for training, validation and test; the recipe"
    parts = [draw_birds(Aviary(n, seed=seed), progress=False) for seed, n in enumerate((2000, 300, 300))]
    return parts, 16, Recipe(12, lr=1e-3, weight_decay=1e-2, clip_norm=0.1, erase=5)


def paper_data(folder, transforms):
    "CUB for training, validation and test; the recipe"
    data = load_finegrained("cub", folder, transforms, valid=0.1)
    return [data.train, data.valid, data.test], len(data.class_names), RECIPES["cub"]


def build(size, classes, changes):
    "The model of a row: from DETR where it has DETR's sizes"
    if size == "paper" and changes in ({}, dict(num_heads=8), dict(decoder_layers=6)):
        return load_detr(classes)
    return INTR(classes, **(SMALL if size == "small" else PAPER) | changes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", choices=["heads", "layers", "encoders"])
    parser.add_argument("--size", default="small", choices=["small", "paper"])
    parser.add_argument("--folder", type=Path, help="CUB, for --size paper")
    parser.add_argument("--runs", type=Path, help="keep each training here, and go on with it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="by default the recipe's")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--csv", type=Path, default=Path("benchmarks/ablations.csv"))
    args = parser.parse_args()
    if args.size == "paper" and args.folder is None:
        parser.error("--size paper needs --folder, the folder of CUB")
    done = {(r["size"], r["row"], r["seed"]) for r in read_rows(args.csv)}
    data = None
    for seed in args.seeds:
        for table in args.tables:
            for row, changes in rows_of(table, args.size).items():
                if (args.size, row, str(seed)) in done:
                    continue
                if args.size == "paper":
                    vit = "img_size" in str(changes)
                    data = paper_data(args.folder, square_transforms(448) if vit else detr_transforms())
                data = data or small_data()
                (train, valid, test), classes, recipe = data
                recipe = replace(recipe, seed=seed, epochs=args.epochs or recipe.epochs)
                torch.manual_seed(seed)
                model, folder = build(args.size, classes, changes), args.runs and args.runs / f"{row}-{seed}"
                history = fit(model, (train, valid), recipe, folder, workers=args.workers, progress=False)
                found = dict(size=args.size, table=table, row=row, seed=seed)
                found |= dict(
                    accuracy=round(evaluate(model, test)["accuracy"], 4), seconds=round(history.seconds)
                )
                found |= dict(parameters=sum(p.numel() for p in model.parameters()), epochs=recipe.epochs)
                append_row(args.csv, found)
                print(found, flush=True)


if __name__ == "__main__":
    main()
