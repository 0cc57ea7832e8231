"""Train the one-block INTR on the default aviary with several seeds and measure it on held-out birds.

Usage: python benchmarks/aviary_seeds.py --seeds 0 1 2 3 4 [--bound none] [--erase 0] [--fc] [--csv FILE]
Prints a row a seed, then mean and standard deviation. A seed changes the model's start, the order of the
birds and what is hidden; the birds (6,000 to learn from, 400 to choose the epoch by, 480 to test) are the
quickstart's.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from results import append_row

from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.evaluation.bird_benchmark import run_bird_benchmark
from intr_nb.models.checkpoints import save
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.training.loop import fit
from intr_nb.training.recipe import RECIPES

SHOWN = (
    "accuracy",
    "follows",
    "points",
    "points_cell",
    "alpha",
    "alpha_difference",
    "share",
    "share_differing",
    "share_alpha",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--bound",
        type=lambda v: None if v == "none" else float(v),
        default=1.0,
        help="score_bound, or none: the paper's model",
    )
    parser.add_argument("--erase", type=int, default=5, help="patches that may be hidden in training")
    parser.add_argument("--fc", action="store_true", help="INTR-FC")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--save", type=Path, help="keep the models in this folder")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    args = parser.parse_args()
    train, valid = draw_birds(Aviary(6000, seed=0)), draw_birds(Aviary(400, seed=1))
    test, rows = Aviary(480, seed=2), []
    for seed in args.seeds:
        torch.manual_seed(seed)
        model = OneBlockINTR(16, score_bound=args.bound, fc=args.fc)
        recipe = replace(RECIPES["aviary"], epochs=args.epochs, erase=args.erase, seed=seed)
        history = fit(model, (train, valid), recipe)
        found = run_bird_benchmark(model.cpu(), test)
        if args.save:
            save(model, args.save / f"seed{seed}", class_names=test.class_names)
        rows.append(
            dict(
                seed=seed,
                bound=args.bound,
                erase=args.erase,
                epochs=args.epochs,
                fc=args.fc,
                **{q: round(found[q], 4) for q in SHOWN},
                gap=found.gap,
                seconds=round(history.seconds),
            )
        )
        print(rows[-1], {a: round(v, 2) for a, v in found.by_attribute().items()}, flush=True)
        append_row(args.csv, rows[-1])
    for q in (*SHOWN, "seconds"):
        values = [r[q] for r in rows]
        spread = np.std(values, ddof=1) if len(values) > 1 else 0
        print(f"{q:18} {np.mean(values):.3f} +- {spread:.3f}")


if __name__ == "__main__":
    main()
