"""INTR and its neighbours on one footing: the same drawn birds, the same small networks, the same tries, the same exam.

Usage: python benchmarks/neighbours.py [--models INTR ProtoPNet ...] [--seeds 0 1 2 3 4] [--tries 3]
           [--birds 2000] [--epochs 12] [--images 24] [--folder FOLDER] [--csv FILE] [--tried FILE]
       python benchmarks/neighbours.py --summary FILE    (means and intervals over the seeds, from what is there)

Every model is trained with each of `--tries` settings and seed 0; the one with the best accuracy on validation
birds is kept for all seeds. The tries are listed in `--tried`, a row each. Linear models take all `--epochs`.
Each other model starts from the backbone of the linear model of its seed, trained with the best setting, as
published ones start from ImageNet's: as many epochs with that backbone frozen, then a third as many in full.
Then, for each seed and model, rows for all methods that the model can answer go into `--csv` together. Models
lie in `--folder`. Run again, what is there is not done again. Accuracy is of 300 birds that nothing was chosen
by; maps are asked of birds that the model gets right. "Judge" is the linear model of the next seed.
"""

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from is_it_true import Rise
from results import append_row, read_rows
from torch.utils.data import TensorDataset

from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.evaluation.benchmark import evaluate_explanations
from intr_nb.evaluation.metrics import METRICS, curve_area
from intr_nb.evaluation.perturbation import _method_map, insertion_deletion
from intr_nb.evaluation.sanity import _cascade, _map_similarity
from intr_nb.evaluation.statistics import bootstrap
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.methods import METHODS, methods_for
from intr_nb.models.checkpoints import load, save
from intr_nb.models.freezing import unfreeze
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.pooled import PooledClassifier
from intr_nb.models.prompt_cam import PromptCAM
from intr_nb.models.protopformer import ProtoPFormer
from intr_nb.models.protopnet import ProtoPNet
from intr_nb.models.prototree import ProtoTree
from intr_nb.training.accuracy import evaluate
from intr_nb.training.feature_files import _backbone_features
from intr_nb.training.features import Features
from intr_nb.training.loop import fit
from intr_nb.training.projection import project_prototypes
from intr_nb.training.recipe import Recipe

CNN = dict(name="patchnet", dim=64, stride=8)
VIT = dict(name="timm/vit_tiny_patch16_224", img_size=96, patch_size=8, embed_dim=96, num_heads=4, depth=2)
BUILD = {
    "linear": lambda: PooledClassifier(16, CNN),
    "INTR": lambda: OneBlockINTR(16, CNN, score_bound=1.0),
    "INTR-FC": lambda: OneBlockINTR(16, CNN, score_bound=1.0, fc=True),
    "ProtoPNet": lambda: ProtoPNet(16, CNN),
    "ProtoTree": lambda: ProtoTree(16, CNN, dim=8, depth=7),
    "linear, ViT": lambda: PooledClassifier(16, VIT | dict(global_pool="token")),
    "Prompt-CAM": lambda: unfreeze(PromptCAM(16, VIT)),
    "ProtoPFormer": lambda: ProtoPFormer(16, VIT),
}
TRANSFORMERS = ("linear, ViT", "Prompt-CAM", "ProtoPFormer")
SETTINGS = [dict(lr=1e-2, backbone_lr=1e-3), dict(lr=3e-3, backbone_lr=3e-4), dict(lr=3e-2, backbone_lr=1e-3)]
LINEAR = [dict(lr=3e-3), dict(lr=1e-3), dict(lr=1e-2)]
ASKED = ("evidence", "contrast", "attention", "similarity", "CAM", "Grad-CAM", "Finer-CAM")
ASKED = (*ASKED, "rollout", "[CLS] heads", "RISE", "random", "centre", "edges")


def settings_of(name):
    "What is tried for a model: transformers learn with a third of the rate, a linear one can't start from itself"
    scale = 1 / 3 if name in TRANSFORMERS else 1
    tried = LINEAR if name.startswith("linear") else SETTINGS
    return [{k: rate * scale for k, rate in setting.items()} for setting in tried]


class Birds:
    "The drawn birds, kept in the folder once they are drawn; how many settings are tried on them, noted where"

    def __init__(self, folder, count, held_out, tries, tried):
        self.folder, self.count, self.test = folder, count, Aviary(held_out, seed=2)
        self.tries, self.tried = tries, tried
        counts = count, held_out, held_out
        self.train, self.valid, self.held_out = (self.drawn(n, seed) for seed, n in enumerate(counts))

    def drawn(self, count, seed):
        path = self.folder / f"birds{count}_{seed}.pt"
        if not path.exists():
            torch.save(draw_birds(Aviary(count, seed=seed), progress=False).tensors, path)
        return TensorDataset(*torch.load(path))

    def features(self, backbone, part):
        pixels, labels = part.tensors[:2]
        maps = [_backbone_features(backbone, images) for images in pixels.split(100)]
        return Features(np.concatenate(maps)[None], labels.tolist())


def warm_up(model, birds, recipe):
    "All but the backbone learns, from features that are made once"
    data = [birds.features(model.backbone.eval(), part) for part in (birds.train, birds.valid)]
    first = model.stage("warm") if hasattr(model, "stage") else model
    fit(first, data, recipe, progress=False, device="cpu")
    unfreeze(model.backbone)


def learn(model, birds, recipe):
    "The stages of a model's training in full; what accuracy it had before its prototypes were moved"
    first = model.stage("joint") if hasattr(model, "stage") else model
    history = fit(first, (birds.train, birds.valid), recipe, progress=False, device="cpu")
    if hasattr(model, "compared"):
        project_prototypes(model, birds.train)
    if hasattr(model, "stage"):
        last = Recipe(epochs=max(1, recipe.epochs // 4), lr=1e-3, erase=recipe.erase, seed=recipe.seed)
        fit(model.stage("last"), (birds.train, birds.valid), last, progress=False, device="cpu")
    return history.best["valid_accuracy"]


def start_of(name):
    "The linear model that a model starts from, or None"
    if name.startswith("linear"):
        return None
    return "linear, ViT" if name in TRANSFORMERS else "linear"


def start_from(model, other):
    "Put the backbone of a linear model into a model that has the same"
    own = model.backbone.state_dict()
    theirs = other.backbone.state_dict()
    inside = "vit." if any(k.startswith("vit.") for k in own) else ""
    theirs = {f"{inside}{k}": v for k, v in theirs.items()}
    model.backbone.load_state_dict({k: theirs.get(k, v) for k, v in own.items()})
    if isinstance(model, PromptCAM):  # its last block stands outside of its backbone
        model.last.block.load_state_dict(other.backbone.body.blocks[-1].state_dict())
        model.last.norm.load_state_dict(other.backbone.body.norm.state_dict())


def trained(name, seed, k, birds, epochs):
    "The model of a setting and seed, from the folder or trained now; with what is known of its training"
    path = birds.folder / f"{name.replace(', ', '_')}-{birds.count}x{epochs}-seed{seed}-setting{k}"
    if path.with_suffix(".json").exists():
        return load(path)
    first, spent = start_of(name), 0.0
    if first:
        best = best_setting(first, birds, epochs)
        first = trained(first, seed, best, birds, epochs)
        spent = first.metadata["seconds"]
    torch.manual_seed(seed)
    model = BUILD[name]()
    recipe = Recipe(epochs, **settings_of(name)[k], weight_decay=1e-2, clip_norm=1.0, seed=seed)
    began = time.process_time()
    if first:
        start_from(model, first)
        warm_up(model, birds, recipe)
    recipe = replace(recipe, epochs=max(1, epochs // 3) if first else epochs, erase=5)
    before = learn(model, birds, recipe)
    spent += time.process_time() - began
    known = dict(seconds=round(spent), before=round(before, 4), image_size=96)
    known |= dict(valid=round(evaluate(model, birds.valid)["accuracy"], 4))
    known |= dict(test=round(evaluate(model, birds.held_out)["accuracy"], 4))
    save(model, path, class_names=birds.test.class_names, **known)
    return load(path)


def best_setting(name, birds, epochs):
    "The number of the best setting, after all were tried; rows of new tries go into the file"
    done, valid = {(r["model"], r["birds"], r["epochs"], r["setting"]) for r in read_rows(birds.tried)}, []
    for k in range(birds.tries):
        model = trained(name, 0, k, birds, epochs)
        valid.append(model.metadata["valid"])
        key = (name, str(birds.count), str(epochs), str(k))
        if key not in done:
            row = dict(model=name, birds=birds.count, epochs=epochs, setting=k, **settings_of(name)[k])
            row |= model.metadata
            append_row(birds.tried, {c: row.get(c, "") for c in TRIED})
            print(row, flush=True)
    return int(np.argmax(valid))


TRIED = ("model", "birds", "epochs", "setting", "lr", "backbone_lr", "seconds", "before", "valid")


def left_when_shuffled(case):
    "Similarity of the map to that of the model with all weights shuffled, whatever its sign"
    *_, (_, broken) = _cascade(case.model, case.index)
    return abs(_map_similarity(case.map, _method_map(case.method, broken, case.image, case.c)))


def before(judge, which):
    "A metric: the area under a curve before an independent judge, made once for both"

    def metric(case):
        curves = case.__dict__.setdefault("judged", {})
        if not curves:
            curves["all"] = insertion_deletion(judge, case.image, case.map, case.c, steps=24)
        return curves["all"].area(which).item()

    return metric


def questions(judge):
    "The metrics by the names of their columns"
    return {
        "twin_pointing": METRICS["twin pointing"],
        # 12 pixels of room instead of 4: at stride 8 a position sees 22 pixels, its square has 8
        "twin_pointing_near": partial(METRICS["twin pointing"], tolerance=12 / 96),
        "on_attributes": METRICS["mass"],
        "insertion": curve_area("insertion", steps=24),
        "deletion": curve_area("deletion", steps=24),
        "insertion_judge": before(judge, "insertion"),
        "deletion_judge": before(judge, "deletion"),
        "left_when_shuffled": left_when_shuffled,
    }


def gap_of(model, images):
    "The largest gap between a logit and the sum of its parts; empty where nothing claims to add up"
    if getattr(model, "pooled_linear", None) is not None:
        return ""
    found = [explain(model.double(), image.double()) for image in images]
    model.float()
    if not all(e.adds_up for e in found):
        return ""
    return max((e.evidence.sum((0, 2, 3)) + e.residual - e.logits).abs().max().item() for e in found)


def examine(name, seed, model, birds, images, masks, judge):
    "The rows of a model: one for each method"
    able, rows = methods_for(model), []
    methods = {k: METHODS[k] for k in ASKED if k in able} | {"RISE": Rise(masks)}
    right = [i for i in range(len(birds.test)) if said(model, birds.test, i) == birds.test.label(i)][:images]
    base = dict(model=name, seed=seed, accuracy=model.metadata["test"], before=model.metadata["before"])
    base |= dict(seconds=model.metadata["seconds"], parameters=sum(p.numel() for p in model.parameters()))
    base["gap"] = gap_of(model, [birds.test[i][0] for i in right[:2]])
    for method, f in methods.items():
        asked = questions(judge)
        if method == "RISE":  # a thousand passes for each shuffled model
            asked.pop("left_when_shuffled")
        how = dict(images=right, only_right=False, progress=False)
        found = evaluate_explanations(model, {method: f}, birds.test, asked, **how)
        (values,) = found.values.values()
        row = base | dict(method=method, images=len(right), passes=METHODS[method].passes)
        row["passes"] = masks + 1 if method == "RISE" else row["passes"]
        rows.append(row | {q: mean_of(values.get(q, [np.nan])) for q in questions(judge)})
    return rows


def mean_of(values):
    "The mean of those that there are, rounded; empty if there are none"
    there = [v for v in values if not np.isnan(v)]
    return round(float(np.mean(there)), 4) if there else ""


@torch.no_grad()
def said(model, data, i):
    "The class that a model gives to bird `i`"
    return int(model(data[i][0][None]).logits.argmax())


def summarise(rows, path):
    "Mean and 95 % interval over the seeds, of each model and method"
    numbers = [k for k in rows[0] if k not in ("model", "method", "birds", "epochs", "seed", "images")]
    for model, method in dict.fromkeys((r["model"], r["method"]) for r in rows):
        same = [r for r in rows if (r["model"], r["method"]) == (model, method)]
        row = dict(model=model, method=method, seeds=len(same))
        for k in numbers:
            values = np.array([float(r[k]) for r in same if r[k] != ""])
            found = [round(v, 4) for v in bootstrap(values)[:3]] if len(values) else ["", "", ""]
            row |= dict(zip((k, f"{k}_low", f"{k}_high"), found))
        append_row(path, row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(BUILD), choices=list(BUILD))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--tries", type=int, default=len(SETTINGS), choices=range(1, len(SETTINGS) + 1))
    parser.add_argument("--birds", type=int, default=2000, help="to learn from")
    parser.add_argument("--held-out", type=int, default=300, help="to choose by, and as many to test")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, default=24, help="birds whose maps are asked")
    parser.add_argument("--masks", type=int, default=300, help="of RISE")
    parser.add_argument(
        "--folder", type=Path, default=Path("neighbours"), help="where birds and models are kept"
    )
    parser.add_argument("--csv", type=Path, default=Path("benchmarks/neighbours.csv"))
    parser.add_argument("--tried", type=Path, default=Path("benchmarks/neighbours_tries.csv"))
    parser.add_argument("--summary", type=Path, help="write means and intervals to this file, and stop")
    args = parser.parse_args()
    size = dict(birds=str(args.birds), epochs=str(args.epochs))
    mine = [r for r in read_rows(args.csv) if size.items() <= r.items()]
    if args.summary:
        args.summary.unlink(missing_ok=True)
        return summarise(mine, args.summary)
    args.folder.mkdir(parents=True, exist_ok=True)
    birds = Birds(args.folder, args.birds, args.held_out, args.tries, args.tried)
    done = {(r["model"], int(r["seed"])) for r in mine}
    best = best_setting("linear", birds, args.epochs)
    for seed in args.seeds:
        judge = trained("linear", seed + 1, best, birds, args.epochs)  # no model of this seed starts from it
        for name in args.models:
            if (name, seed) in done:
                continue
            k = best_setting(name, birds, args.epochs)
            model = trained(name, seed, k, birds, args.epochs)
            for row in examine(name, seed, model, birds, args.images, args.masks, judge):
                append_row(args.csv, size | row)
                print(row, flush=True)


if __name__ == "__main__":
    main()
