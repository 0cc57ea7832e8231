"""Retrain the checkpoint that ships in the package, and say how close it came to the one that was there.

Usage: python tools/make_weights.py [--seed 0] [--out intr_nb/checkpoints/aviary16.safetensors]
"""
import argparse
from dataclasses import replace
from pathlib import Path

import torch

from intr_nb.aviary import Aviary, draw
from intr_nb.faithfulness import QUESTIONS, examine
from intr_nb.model import OneBlockINTR
from intr_nb.recipe import RECIPES
from intr_nb.train import fit
from intr_nb.weights import load, save

HERE = Path(__file__).resolve().parents[1] / "intr_nb" / "checkpoints" / "aviary16.safetensors"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the model's start and the order of the birds")
    parser.add_argument("--out", type=Path, default=HERE, help="where the checkpoint goes")
    args = parser.parse_args()
    train, valid, test = Aviary(6000, seed=0), Aviary(400, seed=1), Aviary(480, seed=2)
    torch.manual_seed(args.seed)
    model = OneBlockINTR(16, saliency_bound=1.)
    history = fit(model, (draw(train), draw(valid)), replace(RECIPES["aviary"], seed=args.seed))
    new = examine(model.cpu(), test)
    print(f"trained for {history.seconds:.0f} s; held-out birds:")
    old = examine(load(HERE), test, progress=False) if HERE.exists() else None
    for question, words in QUESTIONS.items():
        print(f"  {words}: {new[question]:.3f}" + (f" (the shipped one: {old[question]:.3f})" if old else ""))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save(model, args.out, class_names=train.class_names, image_size=96, seed=args.seed, figures={q: round(new[q], 4) for q in QUESTIONS})
    print(f"saved as {args.out} ({args.out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__": main()
