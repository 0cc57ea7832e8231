"""Everything learns: INTR on CUB-100 crops, first on a frozen backbone's features, then the whole network.

Usage: python benchmarks/finetune.py FOLDER --weights FILE [--models intr ...] [--test] [--csv FILE]
FOLDER, FILE and --features are those of benchmarks/cub100.py, which can also make the start (`--save`, then
--start FOLDER here). Runs on a GPU if there is one (the full INTR wants one); there it says how much memory
it took. Settings are chosen on a seventh of the training photographs; --test learns from all of them.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from cub100 import BACKBONES, MODELS
from results import append_row

from intr_nb.core.images import collate
from intr_nb.data.finegrained import load_finegrained
from intr_nb.data.transforms import square_transforms
from intr_nb.models.backbones import build_backbone
from intr_nb.models.checkpoints import load, save
from intr_nb.models.freezing import freeze_norms, unfreeze
from intr_nb.models.intr import INTR
from intr_nb.training.accuracy import evaluate
from intr_nb.training.attention_stats import attention_statistics
from intr_nb.training.features import cache_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import RECIPES

# six layers of encoder and decoder, from scratch: the file with the weights is no DETR
MODELS = MODELS | {"full": lambda n, b: INTR(n, b)}
FULL_LR = 1e-4  # the paper's: post-norm layers do not start at 1e-3


def statistics(model, photos):
    "Attention's statistics on 32 photographs of different species; nothing for a model without attention"
    some = [photos[i] for i in range(0, len(photos), -(-len(photos) // 32))]
    images = collate(some).images.to(next(model.parameters()).device)
    row = attention_statistics(model, images).row() if hasattr(model, "num_heads") else {}
    return {k: round(row[k], 4) if k in row else "" for k in ("entropy", "peak", "similarity", "share")}


def machine():
    "What it ran on, and on a GPU the memory that it took"
    if not torch.cuda.is_available():
        return dict(device=f"CPU, {torch.get_num_threads()} thread(s)", gib="")
    gib = torch.cuda.max_memory_allocated() / 2**30
    return dict(device=torch.cuda.get_device_name(), gib=round(gib, 2))


def start_on_features(name, data, learn, args, seed, runs):
    "A model whose backbone stayed frozen, trained on its features"
    model = MODELS[name](len(data.class_names), build_backbone(BACKBONES[args.backbone](args.weights)))
    plain = data.train.with_transform(square_transforms(args.size, scale=(1, 1))[0])
    cached = cache_features(model.backbone, (plain, None), args.features, 2)
    recipe = replace(RECIPES["frozen"], lr=FULL_LR if name == "full" else RECIPES["frozen"].lr, seed=seed)
    fit(model, (cached.train.subset(learn), None), recipe, runs, progress=False)
    return model


def keep_early(backbone):
    "Freeze what a network on windows computes before the windows, which is what sees far"
    x = backbone.body.early(torch.zeros(1, 3, 128, 128, device=next(backbone.parameters()).device))
    backbone.body.late(x.detach()).sum().backward()
    for parameter in backbone.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    backbone.zero_grad()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--backbone", default="mobile", choices=list(BACKBONES), help="what is read")
    parser.add_argument("--keep-early", action="store_true", help="only what runs on windows learns")
    parser.add_argument("--features", type=Path, default=Path("features/cub100"))
    parser.add_argument(
        "--start",
        type=Path,
        help="models trained on features, as cub100.py --save writes them; both with --test or both without",
    )
    parser.add_argument("--models", nargs="+", default=["intr"], choices=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=320, help="pixels of a side")
    parser.add_argument("--epochs", type=int, default=RECIPES["finetune"].epochs)
    parser.add_argument("--lr", type=float, default=RECIPES["finetune"].lr)
    parser.add_argument("--backbone-lr", type=float, default=RECIPES["finetune"].backbone_lr)
    parser.add_argument("--mixup", type=float, default=RECIPES["finetune"].mixup)
    parser.add_argument(
        "--precision", default="bf16" if torch.cuda.is_available() else "fp32", choices=["bf16", "fp32"]
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that load photographs")
    parser.add_argument("--runs", type=Path, help="keep checkpoints in this folder, and go on from them")
    parser.add_argument("--save", type=Path, help="keep the models in this folder")
    parser.add_argument(
        "--test", action="store_true", help="learn from all training photographs, and look at the test split"
    )
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    args = parser.parse_args()
    augment, plain = square_transforms(args.size, scale=(0.7, 1))  # they are cut to the bird already
    data = load_finegrained("cub100", args.folder, (augment, plain))
    held = [] if args.test else [i for i in range(len(data.train)) if i % 7 == 0]
    learn = sorted(set(range(len(data.train))) - set(held))
    train = data.train.subset(learn)
    look = data.test if args.test else data.train.with_transform(plain).subset(held)
    recipe = replace(
        RECIPES["finetune"],
        epochs=args.epochs,
        lr=args.lr,
        backbone_lr=args.backbone_lr,
        mixup=args.mixup,
        precision=args.precision,
    )
    for name in args.models:
        for seed in args.seeds:
            file = f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            torch.manual_seed(seed)
            if args.start:
                model = load(args.start / file)
            else:
                runs = args.runs and args.runs / f"{file}-features"
                model = start_on_features(name, data, learn, args, seed, runs)
            frozen = evaluate(model, look)["accuracy"]
            freeze_norms(unfreeze(model.backbone))  # those of MobileNetV2's file are folded
            if args.keep_early:
                keep_early(model.backbone)
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            history = fit(
                model,
                (train, None),
                replace(recipe, seed=seed),
                args.runs and args.runs / file,
                workers=args.workers,
                progress=False,
            )
            ran_on = machine()
            if args.save:
                save(model, args.save / file, **model.metadata)
            row = dict(
                model=name if args.backbone == "mobile" else f"{name} on {args.backbone}",
                seed=seed,
                on="test" if args.test else "validation",
                frozen=round(frozen, 4),
                **{k: round(v, 4) for k, v in evaluate(model, look).items()},
                train_loss=round(history.rows[-1]["loss"], 4),
                epochs=recipe.epochs,
                lr=recipe.lr,
                backbone_lr=recipe.backbone_lr,
                mixup=recipe.mixup,
                size=args.size,
                seconds=round(history.seconds),
                images_per_second=round(len(train) * len(history) / history.seconds, 1),
                **ran_on,
                precision=recipe.precision,
                torch=torch.__version__,
                **statistics(model, look),
            )
            print(row, flush=True)
            append_row(args.csv, row)


if __name__ == "__main__":
    main()
