"""Does memory grow? Clicks and keys in seven browsers, and training in between, for as long as is asked for.

Usage: python benchmarks/soak.py [--minutes 60] [--csv FILE]
A round is 50 events, each one a click on a random panel, a key, or another class or image, and the training
of a small model, with a run folder and without. After every round a row is appended to FILE: seconds, events,
steps of training, megabytes that the process holds, objects that Python knows. At the end the slope of the
second half is printed, in megabytes an hour. Linux tells what is held now; elsewhere the largest so far counts.
"""

import argparse
import ctypes
import gc
import os
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from results import append_row

from intr_nb.browsers.attribute_study import AttributeStudy
from intr_nb.browsers.bird_editor import BirdEditor
from intr_nb.browsers.candidate_browser import CandidateBrowser
from intr_nb.browsers.evidence_browser import EvidenceBrowser
from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.browsers.method_browser import MethodBrowser
from intr_nb.browsers.paint_editor import PaintEditor
from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.evaluation.user_study import bird_examples
from intr_nb.models.checkpoints import pretrained
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

KEYS = ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown")


def held() -> float:  # megabytes
    "What the process holds now, after what can be given back was"
    gc.collect()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def browsers(folder):
    "The seven, on birds that do not fit into their caches"
    model, birds = pretrained(), Aviary(400, seed=2)
    study = AttributeStudy(model, bird_examples(birds, 2, 1), "Ada", folder / "answers.jsonl")
    kinds = (HeadBrowser, EvidenceBrowser, CandidateBrowser, BirdEditor, PaintEditor)
    return [kind(model, birds) for kind in kinds] + [MethodBrowser(model, birds), study]


def press(browser, chance):
    "One event, as a page sends it"
    browser.view()  # with all its widgets, as in a notebook
    canvas, scene = browser.canvas(), browser.main()
    if scene.panels and chance.random() < 0.6:
        panel = chance.choice(scene.panels)
        at = dict(row=chance.randrange(panel["rows"]), column=chance.randrange(panel["columns"]))
        canvas._handle_custom_msg(dict(type="click", name=panel["name"], **at), [])
    elif browser.has_trait("index") and chance.random() < 0.5:
        browser.index = chance.randrange(400)
    else:
        canvas._handle_custom_msg(dict(type="key", name=chance.choice(KEYS)), [])
    return len(browser.main().svg())


def learn(birds, folder):
    recipe = Recipe(epochs=2, batch_size=16, erase=2)
    with tempfile.TemporaryDirectory(dir=folder) as run:
        for kept in (None, run):
            fit(pretrained(), birds, recipe, kept, "cpu", progress=False)
    return 2 * recipe.epochs * (len(birds[0]) // recipe.batch_size)


def slope(rows) -> float:  # megabytes an hour
    "Of the second half, when caches are full"
    late = rows[len(rows) // 2 :]
    seconds, megabytes = ([float(r[k]) for r in late] for k in ("seconds", "megabytes"))
    return np.polyfit(seconds, megabytes, 1)[0] * 3600 if len(late) > 2 else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--csv", type=Path)
    args, chance, rows = parser.parse_args(), random.Random(0), []
    events, steps, begun = 0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        shown, folder = browsers(Path(folder)), Path(folder)
        birds = [draw_birds(Aviary(n, seed=n), progress=False) for n in (64, 16)]
        while time.perf_counter() - begun < 60 * args.minutes:
            for _ in range(50):
                press(chance.choice(shown), chance)
            events, steps = events + 50, steps + learn(birds, folder)
            row = dict(seconds=round(time.perf_counter() - begun), events=events, steps=steps)
            rows.append(row | dict(megabytes=round(held(), 1), objects=len(gc.get_objects())))
            append_row(args.csv, rows[-1])
    first, last = rows[len(rows) // 2], rows[-1]
    print(f"{events} events and {steps} steps in {last['seconds'] / 60:.1f} minutes")
    print(
        f"held: {first['megabytes']} MB half way, {last['megabytes']} MB at the end, {slope(rows):+.1f} MB an hour"
    )
    print(f"objects: {first['objects']} half way, {last['objects']} at the end")


if __name__ == "__main__":
    main()
