"""INTR and others on real photographs: CUB-100 crops, features of a frozen backbone, one recipe for all.

Usage: python benchmarks/cub100.py FOLDER --weights FILE [--backbone windows] [--models local pooled]
       [--seeds 0 1] [--test] [--csv FILE]
FOLDER holds the crops (`dataset_card("cub100")`), FILE the weights of the network that is named in BACKBONES
below. Features are cached in --features (0.6 to 3 GB). Settings are chosen on a seventh of the training
photographs; with --test a model learns from all of them and is measured on the official test split.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from results import append_row

from intr_nb.data.finegrained import load_finegrained
from intr_nb.data.transforms import square_transforms
from intr_nb.models.backbones import build_backbone
from intr_nb.models.checkpoints import save
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.pooled import PooledClassifier
from intr_nb.training.accuracy import evaluate
from intr_nb.training.features import cache_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import RECIPES

MOBILE = dict(name="mobilenet_v2", mean=(0.5,) * 3, std=(0.5,) * 3)
LITE = dict(name="timm/tf_efficientnet_lite2", mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
BACKBONES = {
    "mobile": lambda file: MOBILE | dict(weights=file),
    "whole": lambda file: LITE | dict(weights=file),  # the last stage: positions have seen the photograph
    "middle": lambda file: LITE | dict(weights=file, stage=3),
    "windows": lambda file: dict(name="windows", of=LITE | dict(weights=file), window=64),
    "fine": lambda file: dict(name="windows", of=LITE | dict(weights=file), window=48, stride=16),
}
PHOTOS = dict(dim=256, dropout=0.3, query_std=0.1)
LOCAL = dict(dim=512, hidden=768, score_bound=1.0, patch_dropout=0.75)
MODELS = {
    "pooled": lambda n, b: PooledClassifier(n, b),
    "intr": lambda n, b: OneBlockINTR(n, b, **PHOTOS),
    "intr bound 3": lambda n, b: OneBlockINTR(n, b, score_bound=3.0, **PHOTOS | dict(dropout=0.1)),
    "intr bound 1": lambda n, b: OneBlockINTR(n, b, score_bound=1.0, **PHOTOS | dict(dropout=0.1)),
    "intr plain start": lambda n, b: OneBlockINTR(n, b, dim=256),
    "local": lambda n, b: OneBlockINTR(n, b, **LOCAL),
    "local unbounded": lambda n, b: OneBlockINTR(n, b, **LOCAL | dict(score_bound=None)),
    "local all positions": lambda n, b: OneBlockINTR(n, b, **LOCAL | dict(patch_dropout=0.0)),
    "intr-fc": lambda n, b: OneBlockINTR(n, b, fc=True, **PHOTOS),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--backbone", default="mobile", choices=list(BACKBONES), help="what is read")
    parser.add_argument("--recipe", default="frozen", choices=["frozen", "photographs"])
    parser.add_argument("--features", type=Path, default=Path("features/cub100"))
    parser.add_argument("--models", nargs="+", default=["pooled", "intr"], choices=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=320, help="pixels of a side")
    parser.add_argument("--views", type=int, default=2, help="of each training photograph")
    parser.add_argument("--epochs", type=int, help="by default the recipe's")
    parser.add_argument("--lr", type=float, help="by default the recipe's")
    parser.add_argument("--weight-decay", type=float, help="by default the recipe's")
    parser.add_argument("--mixup", type=float, help="by default the recipe's")
    parser.add_argument("--save", type=Path, help="keep the models in this folder")
    parser.add_argument(
        "--test", action="store_true", help="learn from all training photographs, and look at the test split"
    )
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    args = parser.parse_args()
    backbone = build_backbone(BACKBONES[args.backbone](args.weights))
    # they are cut to the bird already: mirrored, no more
    data = load_finegrained("cub100", args.folder, square_transforms(args.size, scale=(1, 1)))
    if args.test:
        data.valid = None
    else:
        data.test = None
        held = list(range(0, len(data.train), 7))
        # as evaluation sees them
        data.valid = data.train.subset(held).with_transform(square_transforms(args.size)[1])
    cached = cache_features(backbone, data, args.features, args.views)
    if args.test:
        learn, look = cached.train, cached.test
    else:
        learn, look = cached.train.subset(sorted(set(range(len(cached.train))) - set(held))), cached.valid
    given = {k: getattr(args, k) for k in ("epochs", "lr", "weight_decay", "mixup")}
    recipe = replace(RECIPES[args.recipe], **{k: v for k, v in given.items() if v is not None})
    for name in args.models:
        for seed in args.seeds:
            torch.manual_seed(seed)
            model, start = MODELS[name](len(data.class_names), backbone), time.perf_counter()
            history = fit(model, (learn, None), replace(recipe, seed=seed), progress=False)
            seconds = time.perf_counter() - start
            if args.save:
                save(model, args.save / f"{name.replace(' ', '-')}-{seed}", **model.metadata)
            row = dict(
                backbone=args.backbone,
                model=name,
                seed=seed,
                on="test" if args.test else "validation",
                **{k: round(v, 4) for k, v in evaluate(model, look).items()},
                train_loss=round(history.rows[-1]["loss"], 4),
                epochs=recipe.epochs,
                lr=recipe.lr,
                mixup=recipe.mixup,
                size=args.size,
                views=args.views,
                seconds=round(seconds),
                threads=torch.get_num_threads(),
            )
            print(row, flush=True)
            append_row(args.csv, row)


if __name__ == "__main__":
    main()
