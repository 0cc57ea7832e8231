"""INTR against INTR-FC (Eq. 10, Figure 7): the same trunk, data, budget and seeds, another last step.

Usage: python benchmarks/intr_vs_fc.py aviary [--models none 1 fc] [--seeds 0 1 2] [--csv FILE] [--save
       FOLDER]
       python benchmarks/intr_vs_fc.py cub100 --folder CROPS --weights FILE [--features FOLDER] [--test] ...
A model is the bound of its value scores (none: the paper's INTR), fc (INTR-FC), fc-1 (INTR-FC, bounded by
1), or, on the aviary, encoder, encoder-fc, full, full-fc (INTR with one encoder layer, and one or two
decoder layers, on the shipped model's backbone, kept frozen, as in tools/make_weights.py; features are
cached in --features FOLDER/aviary). Rows are appended to the CSV; those that are there already are not run
again.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from results import append_row, read_rows

from intr_nb.core.images import normalise
from intr_nb.core.tools import evaluating, progress_bar
from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.data.finegrained import load_finegrained
from intr_nb.data.species import twins
from intr_nb.data.transforms import square_transforms
from intr_nb.evaluation.bird_benchmark import run_bird_benchmark
from intr_nb.evaluation.head_alignment import HeadAlignment, align_heads, attention_densities, shuffle_heads
from intr_nb.evaluation.localisation import part_masks, points_at
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.methods import smooth_map
from intr_nb.models.backbones import build_backbone
from intr_nb.models.checkpoints import load, pretrained, save
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.training.accuracy import evaluate
from intr_nb.training.attention_stats import attention_statistics
from intr_nb.training.features import cache_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import RECIPES, Recipe


def block(num_classes, backbone, kind, **sizes):
    fc, _, bound = kind.partition("-") if kind.startswith("fc") else ("", "", kind)
    return OneBlockINTR(
        num_classes,
        backbone,
        score_bound=float(bound) if bound not in ("", "none") else None,
        fc=bool(fc),
        **sizes,
    )


def decoder(num_classes, kind):
    layers = dict(encoder=1, full=2)[kind.split("-")[0]]
    return INTR(
        num_classes,
        pretrained("aviary16").backbone,
        dim=64,
        encoder_layers=1,
        decoder_layers=layers,
        ffn_dim=256,
        fc=kind.endswith("-fc"),
    )


MEASURED = (
    *("accuracy", "points", "alpha", "alpha_difference", "evidence", "share", "follows"),
    *("entropy", "peak", "similarity"),
    *("purity", "purity_shuffled", "consistency", "consistency_shuffled"),
)
DECODER = Recipe(epochs=8, lr=1.5e-3, weight_decay=1e-2, clip_norm=1.0)


def steadiness(study, control_of=("purity", "consistency")):
    "Purity and consistency of the heads within a class, and what shuffled heads would have"
    control = shuffle_heads(study, times=20, within=True)
    return {f"{k}": control.found[k] for k in control_of} | {
        f"{k}_shuffled": float(np.mean(control.shuffled[k])) for k in control_of
    }


def benchmark_decoder(model, birds, numbers):
    "What `run_bird_benchmark` asks of a one-block model, for a full decoder: its margins are taken apart"
    pairs, found = twins(birds.species), dict(accuracy=[], points=[], alpha=[])
    for i in progress_bar(numbers, "birds", unit="bird"):
        bird, c = birds.bird(i), birds.label(i)
        e = explain(model, normalise(bird.image))
        found["accuracy"].append(e.prediction == c)
        for twin, attribute in pairs[c]:
            if not bird.masks[attribute].any():
                continue
            margin, alpha = e.margin(c, twin).total, e.layer(-1).attention[:, c].mean(0)
            found["points"].append(points_at(smooth_map(margin), bird.masks[attribute]))
            found["alpha"].append(points_at(smooth_map(alpha), bird.masks[attribute]))
    return {k: float(np.mean(v)) for k, v in found.items()}


def on_birds(model, test):
    examples = [(bird.image, bird.masks, test.label(i)) for i, bird in enumerate(map(test.bird, range(160)))]
    if isinstance(model, INTR):
        row = benchmark_decoder(model, test, range(160))
    else:
        found = run_bird_benchmark(model, test, progress=False)
        row = {k: found[k] for k in ("accuracy", "follows", "points", "alpha", "alpha_difference", "share")}
    statistics = attention_statistics(model, torch.stack([test[i][0] for i in range(160)]), batch_size=32)
    row |= {k: v for k, v in statistics.row().items() if k != "share"}
    return row | steadiness(align_heads(model, examples, progress=False))


def on_photos(model, features, photos):
    "The same on photographs: their part points are the truth, the peak within a tenth of the width"
    found = {k: [] for k in ("points", "alpha", "evidence", "entropy", "peak", "similarity")}
    shares, labels = [], []
    with evaluating(model):
        for i in progress_bar(range(len(features)), "looking", unit="photo"):
            x, c = features[i]
            out = model.from_features(x[None].float(), attention="last")
            statistics = attention_statistics(model, out).row()
            for k in ("entropy", "peak", "similarity"):
                found[k].append(statistics[k])
            alpha, s = out.attention[0], model.value_scores(out.features)[0]
            if s.dim() == 3:
                s = s[:, None]
            evidence = ((s - s.mean((-2, -1), keepdim=True)) * alpha).sum(0)
            logits = out.logits[0].clone()
            logits[c] = -torch.inf
            sample = photos.sample(i)
            points, size = sample["points"], sample["image"].shape[1:]
            near = np.logical_or.reduce(list(part_masks(points, photos.point_names, size, 0.1).values()))
            if not near.any():
                continue
            maps = dict(
                points=evidence[c] - evidence[logits.argmax()],
                alpha=alpha[:, c].mean(0),
                evidence=evidence[c],
            )
            for k, m in maps.items():
                found[k].append(points_at(m, near, 0, to="edge"))
            shares.append(attention_densities(alpha[:, c], part_masks(points, photos.point_names, size)))
            labels.append(c)
    heads = [f"head {r}" for r in range(model.num_heads)]
    study = HeadAlignment(torch.stack(shares), photos.point_names, heads, labels)
    return {k: float(np.mean(v)) for k, v in found.items()} | steadiness(study)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=["aviary", "cub100"])
    parser.add_argument("--models", nargs="+", default=["none", "3", "1", "0.5", "fc"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--birds", type=int, default=3000, help="drawn birds to learn from")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--lr", type=float, help="instead of the recipe's")
    parser.add_argument("--dropout", type=float, default=0.3, help="of the photographs' features")
    parser.add_argument("--folder", type=Path, help="the CUB-100 crops")
    parser.add_argument("--weights", type=Path, help="MobileNetV2's")
    parser.add_argument("--features", type=Path, default=Path("features"), help="folder of cached features")
    parser.add_argument(
        "--test",
        action="store_true",
        help="CUB-100: learn from all training photographs, and look at the test split",
    )
    parser.add_argument(
        "--save", type=Path, help="keep the models in this folder; those that are there are not trained again"
    )
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    args = parser.parse_args()
    if args.data == "aviary":
        learn, test = draw_birds(Aviary(args.birds, seed=0)), Aviary(480, seed=2)
        on, recipe = "test", RECIPES["aviary"]
    else:
        backbone = build_backbone(
            dict(name="mobilenet_v2", weights=args.weights, mean=(0.5,) * 3, std=(0.5,) * 3)
        )
        data = load_finegrained("cub100", args.folder, square_transforms(320, scale=(1, 1)))
        data.valid = data.train.with_transform(square_transforms(320)[1])
        cached = cache_features(backbone, data, args.features / "cub100", 2)
        small, recipe = square_transforms(227)[1], RECIPES["frozen"]
        if args.test:
            learn, look, photos, on = cached.train, cached.test, data.test.with_transform(small), "test"
        else:
            held = [i for i in range(len(cached.train)) if i % 7 == 0]
            learn = cached.train.subset(sorted(set(range(len(cached.train))) - set(held)))
            look, photos = cached.valid.subset(held), data.valid.with_transform(small).subset(held)
            on = "validation"
    if args.epochs:
        recipe = replace(recipe, epochs=args.epochs)
    if args.lr:
        recipe = replace(recipe, lr=args.lr)
    deep = [k for k in args.models if args.data == "aviary" and k.startswith(("encoder", "full"))]
    if deep:
        trunk = pretrained("aviary16").backbone
        maps = cache_features(trunk, (learn, None), args.features / "aviary", views=1).train
        decoder_recipe = replace(DECODER, epochs=args.epochs or DECODER.epochs, lr=args.lr or DECODER.lr)
    done = {(r["data"], r["model"], r["seed"]) for r in read_rows(args.csv)}
    for seed in args.seeds:
        for kind in args.models:
            if (args.data, kind, str(seed)) in done:
                continue
            seen, how = (maps, decoder_recipe) if kind in deep else (learn, recipe)
            torch.manual_seed(seed)
            path = args.save and args.save / f"{args.data}-{kind}-{seed}"
            if args.data == "cub100":
                model = block(100, backbone, kind, dim=256, dropout=args.dropout, query_std=0.1)
            else:
                model = decoder(16, kind) if kind in deep else block(16, None, kind)
            start = time.perf_counter()
            if path and path.with_name(path.name + ".json").exists():
                model, seconds = load(path), float("nan")
                if (known := model.metadata.get("epochs", how.epochs)) != how.epochs:
                    raise SystemExit(
                        f"{path} was trained for {known} epochs, expected {how.epochs}: name another --save"
                    )
            else:
                fit(model, (seen, None), replace(how, seed=seed), progress=False)
                seconds = time.perf_counter() - start
                if path:
                    save(model.cpu(), path, epochs=how.epochs)
            model.cpu().eval()
            if args.data == "aviary":
                found = on_birds(model, test)
            else:
                found = dict(accuracy=evaluate(model, look)["accuracy"]) | on_photos(model, look, photos)
            row = dict(
                data=args.data,
                model=kind,
                seed=seed,
                on=on,
                epochs=how.epochs,
                lr=how.lr,
                seconds=round(seconds, 0),
            )
            row |= {k: round(found.get(k, float("nan")), 4) for k in MEASURED}
            print(row, flush=True)
            append_row(args.csv, row)


if __name__ == "__main__":
    main()
