"""Every question of `evaluate_explanations`, for INTR's maps, Grad-CAM, RISE and the baselines (Table 6 and more):
a row for each image and method.

Usage: python benchmarks/is_it_true.py aviary [--model FILE] [--images 200] [--evaluator FILE] [--sanity]
           [--csv FILE]
       python benchmarks/is_it_true.py evaluator --evaluator FILE
           (trains a pooled classifier on drawn birds, minutes on a core)
       python benchmarks/is_it_true.py cub100 --folder CROPS --model FILE [--weights FILE] [--evaluator FILE]
           [--images 200] [--csv FILE]

FILE is what `intr_nb.save` wrote (with `--weights`, MobileNetV2's are put into its backbone); without one, the
aviary's model is the one that ships. Birds are of seed 5, photographs every k-th of the test split, so that all
species are asked. Images that the model or the evaluator gets wrong are left out. With an evaluator (a
`PooledClassifier`, say, as in Table 6), its own Grad-CAM and RISE are asked as well. The CSV gets an image's rows
together; run again, and what is there is not done again. The end of the run prints means, intervals, and paired
differences from `--against`.
"""

import argparse
import csv
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from intr_nb.core.tools import progress_bar
from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.data.finegrained import load_finegrained
from intr_nb.data.transforms import square_transforms
from intr_nb.evaluation.benchmark import evaluate_explanations
from intr_nb.evaluation.metrics import METRICS, PART_METRICS, SANITY_METRICS, curve_area
from intr_nb.evaluation.statistics import Evaluation
from intr_nb.explanations.class_activation import grad_cam
from intr_nb.explanations.masking import rise
from intr_nb.explanations.methods import BASELINES, METHODS, READINGS, evidence_map, other_class, smoothed
from intr_nb.models.backbones import build_backbone
from intr_nb.models.checkpoints import load, pretrained, save
from intr_nb.models.pooled import PooledClassifier
from intr_nb.training.accuracy import evaluate
from intr_nb.training.loop import fit
from intr_nb.training.recipe import RECIPES

LEFT_OUT = "left out: not recognised"


class Rise:
    "RISE's maps of all classes, made once for each image: a method; not for sanity checks, which change the model"

    def __init__(self, masks, seed=0):
        self.masks, self.seed, self.key = masks, seed, None

    def __call__(self, model, image, c):
        key = (id(model), image.cpu().numpy().tobytes())
        if key != self.key:
            self.key, self.maps = key, rise(model, image, masks=self.masks, seed=self.seed).evidence[0]
        return self.maps[c]


def all_methods(masks):
    "INTR's own maps, some of them spread, other people's, baselines, and the control"
    spread = {
        f"{name}, {k} x {k}": smoothed(METHODS[name], k)
        for k in (3, 5)
        for name in ("evidence", "margin", "contrast")
    }
    others = {"Grad-CAM": METHODS["Grad-CAM"], "RISE": Rise(masks)}
    return READINGS | spread | others | BASELINES | {"other's evidence": other_class(evidence_map)}


def read(path, columns, methods):
    "The rows in a CSV; what a run that was cut off left of its last image is taken out of the file"
    if not path or not path.exists():
        return []
    text = path.read_text()
    reader = csv.DictReader(
        io.StringIO(text[: text.rfind("\n") + 1])
    )  # a last line without its end may hold half a number
    rows, images = list(reader), {}
    for r in rows:
        images.setdefault(r["image"], []).append(r["method"])
    partial = [i for i, found in images.items() if found not in ([LEFT_OUT], methods)]
    cut = (
        partial and partial == list(images)[-1:] and images[partial[0]] == methods[: len(images[partial[0]])]
    )
    if reader.fieldnames != columns or (partial and not cut):
        raise ValueError(f"{path} has other columns or methods than this run: choose another file")
    whole = [r for r in rows if r["image"] not in partial]
    if not text.endswith("\n") or partial:
        write(path, whole, columns)
    return whole


def write(path, rows, columns):
    "Put `rows` into a file, all or none"
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader(), writer.writerows(rows)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text.getvalue())
    os.replace(part, path)


def append(path, rows, columns):
    "Add an image's rows in one go"
    if not path.exists():
        return write(path, rows, columns)
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    with path.open("a", newline="") as f:
        f.write(text.getvalue())


def ask_all(model, methods, data, metrics, evaluator, i):
    "The rows of image `i`"
    base = dict(data=type(data).__name__, image=i)
    try:
        found = evaluate_explanations(model, methods, data, metrics, evaluator, [i], progress=False).values
    except ValueError as error:
        if "is recognised by" not in str(error):
            raise
        return [base | dict(method=LEFT_OUT)]
    return [
        base
        | dict(method=name)
        | {k: "" if np.isnan(v[0]) else round(float(v[0]), 5) for k, v in values.items()}
        for (_, name), values in found.items()
    ]


def as_evaluation(rows, about=""):
    "What was read or written as an `Evaluation`"
    rows = [r for r in rows if r["method"] != LEFT_OUT]
    metrics, images = (
        [k for k in rows[0] if k not in ("data", "image", "method")],
        sorted({int(r["image"]) for r in rows}),
    )

    def column(name, k):
        cells = {int(r["image"]): r.get(k, "") for r in rows if r["method"] == name}
        return np.array([float(cells[i]) if cells[i] != "" else np.nan for i in images])

    return Evaluation(
        {
            (about, name): {k: column(name, k) for k in metrics}
            for name in dict.fromkeys(r["method"] for r in rows)
        },
        images,
        about=about,
    )


def make_evaluator(path):
    "A network with no attention, for drawn birds: trained as the shipped model was, with other weights to begin with"
    torch.manual_seed(1)
    model = PooledClassifier(16, dict(name="patchnet", width=32, dim=64, stride=4))
    fit(
        model,
        (draw_birds(Aviary(6000, seed=0)), draw_birds(Aviary(400, seed=1))),
        replace(RECIPES["aviary"], seed=1),
    )
    save(model, path, **model.metadata)
    print(evaluate(model, draw_birds(Aviary(480, seed=2))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=["aviary", "cub100", "evaluator"])
    parser.add_argument("--folder", type=Path, help="the CUB-100 crops")
    parser.add_argument("--model", type=Path, help="as intr_nb.models.checkpoints.save wrote it")
    parser.add_argument(
        "--weights", type=Path, help="MobileNetV2's, to put into the backbone of model and evaluator"
    )
    parser.add_argument(
        "--evaluator",
        type=Path,
        help="a saved model that scores insertion and deletion; by default the model itself",
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=320, help="pixels of a photograph's side, as in training")
    parser.add_argument("--masks", type=int, default=2000, help="of RISE")
    parser.add_argument("--steps", type=int, default=24, help="of insertion and deletion")
    parser.add_argument("--methods", nargs="+", help="some of the methods; by default all")
    parser.add_argument(
        "--questions", nargs="+", help="some of the questions (pointing, insertion, ...); by default all"
    )
    parser.add_argument(
        "--sanity",
        action="store_true",
        help="ask also what is left when weights are shuffled, and stability; without RISE",
    )
    parser.add_argument(
        "--against", default="evidence", help="the method that the others are compared with at the end"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    parser.add_argument(
        "--summary", type=Path, help="write means, intervals and paired differences to this file"
    )
    args = parser.parse_args()
    if args.data == "evaluator":
        if not args.evaluator:
            parser.error("evaluator needs --evaluator, the file to write")
        return make_evaluator(args.evaluator)
    if args.data == "cub100" and not (args.folder and args.model):
        parser.error("cub100 needs --folder and --model")

    def get(path):
        model = load(path)
        if args.weights:
            model.backbone = build_backbone(
                dict(name="mobilenet_v2", weights=args.weights, mean=(0.5,) * 3, std=(0.5,) * 3)
            )
        return model.to(args.device, memory_format=torch.channels_last).eval()  # a third faster on CPUs

    model, evaluator = (
        get(args.model) if args.model else pretrained("aviary16").to(args.device).eval(),
        get(args.evaluator) if args.evaluator else None,
    )
    curves = {
        "insertion": curve_area("insertion", steps=args.steps),
        "deletion": curve_area("deletion", steps=args.steps),
        "deletion, inpaint": curve_area("deletion", blank="inpaint", steps=args.steps),
    }
    metrics, methods = METRICS | curves, all_methods(args.masks)
    if args.sanity:
        metrics, _ = metrics | SANITY_METRICS, methods.pop("RISE")
    if args.data == "aviary":
        data, metrics = Aviary(args.images, seed=5), metrics | PART_METRICS
    else:
        data = load_finegrained("cub100", args.folder, square_transforms(args.size)).test
        metrics = {k: v for k, v in metrics.items() if k != "twin pointing"}
    if evaluator is not None:
        own_rise = Rise(args.masks)
        methods |= {
            "evaluator's Grad-CAM": lambda model, image, c: grad_cam(evaluator, image, classes=[c]),
            "evaluator's RISE": lambda model, image, c: own_rise(evaluator, image, c),
        }
    if stray := set(args.questions or ()) - set(metrics):
        parser.error(f"no question {', '.join(sorted(stray))}: expected some of {', '.join(metrics)}")
    metrics = {k: m for k, m in metrics.items() if k in (args.questions or metrics)}
    if stray := set(args.methods or ()) - set(methods):
        parser.error(f"no method {', '.join(sorted(stray))}: expected some of {', '.join(methods)}")
    methods = {k: m for k, m in methods.items() if k in (args.methods or methods)}
    columns = ["data", "image", "method", *metrics]
    try:
        rows = read(args.csv, columns, list(methods))
    except ValueError as error:
        parser.error(str(error))
    done, step = {int(r["image"]) for r in rows}, max(1, len(data) // args.images)
    for i in progress_bar(list(range(0, len(data), step))[: args.images], "asking", unit="image"):
        if i in done:
            continue
        found = ask_all(model, methods, data, metrics, evaluator, i)
        rows += found
        if args.csv:
            append(args.csv, found, columns)
    asked = {r["image"] for r in rows if r["method"] != LEFT_OUT}
    by = args.evaluator.name if args.evaluator else "the model itself"
    about = f"{len(asked)} images of {len({r['image'] for r in rows})}; evaluator: {by}"
    result = as_evaluation(rows, about)
    differences = (
        {
            k: v
            for name in methods
            if name != args.against
            for k, v in result.difference(args.against, name).values.items()
        }
        if args.against in methods
        else {}
    )
    print(result)
    if differences:
        print(Evaluation(differences, result.images, about="paired differences"))
    if args.summary:
        Evaluation(result.values | differences, result.images, about=result.about).to_csv(
            args.summary, images=False
        )


if __name__ == "__main__":
    main()
