"""Where a model's maps lie on photographs of birds: near part points, on their own half, on every control's terms.

Usage: python benchmarks/photo_maps.py FOLDER MODEL [MODEL ...] [--images 300] [--pairs 100] [--csv FILE]

FOLDER holds the CUB-100 crops, a MODEL is what `benchmarks/cub100.py --save` wrote. Photographs are every k-th of
the official test split, so that all species are asked; those that a model gets wrong are left out. Pointing: the
peak lies within a tenth of the width of a visible part. Halves: pictures pasted from two species.
"""

import argparse
from pathlib import Path

import torch
from results import append_row

from intr_nb.data.finegrained import load_finegrained
from intr_nb.data.transforms import square_transforms
from intr_nb.evaluation.benchmark import evaluate_explanations
from intr_nb.evaluation.class_specificity import two_halves
from intr_nb.evaluation.metrics import METRICS
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.methods import BASELINES, METHODS, smoothed
from intr_nb.models.checkpoints import load
from intr_nb.training.attention_stats import attention_statistics


class Once:
    "The explanation of the last image, kept: all readings of it cost one forward pass together"

    def __init__(self):
        self.key = None

    def __call__(self, model, image):
        key = (id(model), image.cpu().numpy().tobytes())
        if key != self.key:
            self.key, self.found = key, explain(model, image)
        return self.found


def all_methods():
    "INTR's own maps, also averaged over 3 x 3 positions, Grad-CAM, and what knows no class"
    once = Once()

    def evidence(model, image, c):
        return once(model, image).evidence[:, c].sum(0)

    def margin(model, image, c):
        return once(model, image).margin(c).total

    def contrast(model, image, c):
        every = once(model, image).evidence.sum(0)
        return every[c] - every.mean(0)

    def attention(model, image, c):
        return once(model, image).attention[:, c].mean(0)

    own = dict(evidence=evidence, margin=margin, contrast=contrast, attention=attention)
    spread = {f"{name}, 3 x 3": smoothed(method, 3) for name, method in own.items()}
    return own | spread | {"Grad-CAM": METHODS["Grad-CAM"]} | BASELINES


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--size", type=int, default=320, help="pixels of a side, as in training")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    args = parser.parse_args()
    photos = load_finegrained("cub100", args.folder, square_transforms(args.size)).test
    chosen = range(0, len(photos), max(1, len(photos) // args.images))
    for path in args.models:
        model = load(path).to(args.device).eval()
        stats = attention_statistics(model, torch.stack([photos[i][0] for i in chosen[::5]])).row()
        print(path.name, {k: round(v, 3) for k, v in stats.items()}, flush=True)
        found = evaluate_explanations(
            model, all_methods(), photos, {"pointing": METRICS["pointing"]}, images=chosen
        )
        halves = two_halves(model, all_methods(), photos, pairs=args.pairs)
        for result in (found, halves):
            print(result, flush=True)
            for _, method, metric, mean, low, high, n in result.rows():
                numbers = dict(mean=round(mean, 4), low=round(low, 4), high=round(high, 4), n=n)
                row = dict(model=path.name, method=method, metric=metric) | numbers
                append_row(args.csv, row)


if __name__ == "__main__":
    main()
