"""Retrain a checkpoint that ships in the package, and say how close it came to the one that was there.

Usage: python tools/make_weights.py [aviary16 | aviary16-full] [--seed 0] [--out FILE]
aviary16 is the one-block INTR of the quickstart; aviary16-full has one encoder layer and two decoder
layers on aviary16's backbone, frozen.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.evaluation.bird_benchmark import QUESTIONS, run_bird_benchmark
from intr_nb.models.checkpoints import load, pretrained, save
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.training.accuracy import evaluate
from intr_nb.training.attention_stats import attention_statistics
from intr_nb.training.features import cache_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import RECIPES, Recipe

SHELF = Path(__file__).resolve().parents[1] / "intr_nb" / "checkpoints"


def one_block(seed):
    torch.manual_seed(seed)
    model = OneBlockINTR(16, score_bound=1.0)
    return model, fit(
        model,
        (draw_birds(Aviary(6000, seed=0)), draw_birds(Aviary(400, seed=1))),
        replace(RECIPES["aviary"], seed=seed),
    )


def full(seed):
    backbone = pretrained("aviary16").backbone
    with tempfile.TemporaryDirectory() as folder:
        data = cache_features(
            backbone, (draw_birds(Aviary(2000, seed=0)), draw_birds(Aviary(400, seed=1))), folder, views=1
        )
        torch.manual_seed(seed)
        model = INTR(16, backbone, dim=64, encoder_layers=1, decoder_layers=2, ffn_dim=256)
        return model, fit(
            model, data, Recipe(epochs=8, lr=1.5e-3, weight_decay=1e-2, clip_norm=1.0, seed=seed)
        )


def exam(model, test):
    "What is known about a model, in words -> number"
    if isinstance(model, OneBlockINTR):
        return {
            words: (question, found[question])
            for found in [run_bird_benchmark(model, test)]
            for question, words in QUESTIONS.items()
        }
    health = attention_statistics(model, torch.stack([test[i][0] for i in range(64)]), batch_size=16).row()
    return {"accuracy": ("accuracy", evaluate(model, draw_birds(test))["accuracy"])} | {
        f"attention's {k}": (k, health[k]) for k in ("entropy", "peak", "similarity")
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", choices=["aviary16", "aviary16-full"], default="aviary16")
    parser.add_argument("--seed", type=int, default=0, help="of the model's start and the order of the birds")
    parser.add_argument("--out", type=Path, help="where the checkpoint goes; left out, into the package")
    args = parser.parse_args()
    here, test = SHELF / f"{args.model}.safetensors", Aviary(480, seed=2)
    out = args.out or here
    model, history = (one_block if args.model == "aviary16" else full)(args.seed)
    new = exam(model.cpu().eval(), test)
    print(f"trained for {history.seconds:.0f} s; held-out birds:")
    old = exam(load(here), test) if here.exists() else {}
    for words, (_, value) in new.items():
        print(f"  {words}: {value:.3f}" + (f" (the shipped one: {old[words][1]:.3f})" if old else ""))
    out.parent.mkdir(parents=True, exist_ok=True)
    save(
        model,
        out,
        class_names=test.class_names,
        image_size=96,
        seed=args.seed,
        figures={question: round(value, 4) for question, value in new.values()},
    )
    print(f"saved as {out} ({out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
