"""A hundred thousand pictures through `batch_explain`, by two processes that are killed five times; what it
costs; and training on features that don't fit into memory.

Usage: python benchmarks/scale.py kills [--pictures 100000] [--kills 5] [--processes 2] [--csv benchmarks/scale.csv]
       python benchmarks/scale.py cost [--csv benchmarks/scale_cost.csv]
       python benchmarks/scale.py larger [--gigabytes 2] [--csv benchmarks/scale_larger.csv]

`kills` makes small pictures (one in a thousand can't be read) and explains them by `accelerate launch` with gloo. At
random moments it kills, by turns, everything or one process, by kill -9. In the end each picture must be there once,
and the peak of each process's memory must be at the end what it was after a tenth of the last, undisturbed stretch.
`cost` measures in turn, in one process with one thread: the logits alone, margins of the whole batch, `explain`.
`larger` trains an epoch on a file of features, in a process that may ask for 300 MB more and no byte beyond, which
is too little to read the file. Pages of a mapped file are lent by the system and don't count. Only on Linux.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from PIL import Image
from results import append_row

from intr_nb.core.tools import evaluating
from intr_nb.data.birds import Aviary
from intr_nb.explanations.batch_margins import _batch_margins
from intr_nb.explanations.batches import batch_explain
from intr_nb.explanations.explainer import explain
from intr_nb.models.checkpoints import load, pretrained, save
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.patchnet import PatchNet
from intr_nb.models.prediction import predict
from intr_nb.training.features import Features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

# --multi_gpu is what makes the launcher start several processes; without a GPU they talk by gloo
LAUNCH = (
    "--multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 29547".split()
)
SHARD = 500
ROOM = 300  # MB that training may ask for


def make_pictures(folder, n):
    "Small pictures of noise on a gradient, and files that are none"
    noise, ramp = np.random.default_rng(0).integers(0, 90, (256, 32, 32, 3)), np.linspace(0, 150, 32)
    for i in range(n):
        file = folder / f"{i // 1000:04d}" / f"{i:07d}.png"
        file.parent.mkdir(exist_ok=True, parents=True)
        if i % 1000 == 777:
            file.write_text("no picture")
            continue
        pixels = (
            noise[i % 256] + np.roll(ramp, i // 256 % 32)[:, None] * np.array([i % 3, i % 5, i % 7])[None] / 6
        )
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, compress_level=1)


def small_model():
    torch.manual_seed(0)
    model = OneBlockINTR(8, PatchNet(width=8, dim=16), dim=16, num_heads=2).eval()
    torch.nn.init.normal_(model.block.w.weight)
    model.metadata = dict(image_size=32)
    return model


def work(folder):
    "What each process does"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    model, how = load(folder / "model"), dict(shard_size=SHARD, batch_size=50, progress=False)
    batch_explain(model, folder / "pictures", folder / "found", **how)


def children(pid):
    "The processes that a launcher has started"
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def memory_of(pid, what="RssAnon"):
    "MB that a process holds by itself; VmData: what it has asked for"
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(x.split()[1]) for x in lines if x.startswith(what)) / 1024


class Run:
    "A launch of all processes, watched"

    def __init__(self, folder, processes):
        module = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes)]
        command = [*module, *LAUNCH, __file__, "work", "--folder", str(folder)]
        with (folder / "log.txt").open("a") as log:
            self.launcher = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log)
        self.found, self.start, self.seen = folder / "found", time.time(), []

    def shards(self):
        return len(list(self.found.glob("pictures-*.parquet")))

    def look(self):
        "Note how far it is, and how much memory each process holds"
        time.sleep(0.1)
        held = [memory_of(pid) for pid in children(self.launcher.pid)]
        self.seen.append((self.shards(), max(held, default=0)))
        return self.launcher.poll() is None

    def kill(self, everything):
        "kill -9: all of them, or one"
        assert self.launcher.poll() is None, f"the run ended by itself: see {self.found.parent / 'log.txt'}"
        victims = children(self.launcher.pid)  # each in a session of its own
        for pid in [self.launcher.pid, *victims] if everything or not victims else [random.choice(victims)]:
            os.kill(pid, signal.SIGKILL)
        self.launcher.wait()
        time.sleep(0.2)

    def peaks(self):
        "MB at most, in the first tenth of the way and in all of it"
        first, last = self.seen[0][0], self.seen[-1][0]
        tenth = [held for done, held in self.seen if first < done <= first + max((last - first) / 10, 1)]
        return max(tenth, default=0), max(held for _, held in self.seen)


def faults(table, n):
    "How many pictures are there twice, or not at all"
    counts = table["index"].value_counts()
    return int((counts > 1).sum()), n - int(counts.index.isin(range(n)).sum())


def same_as_predicted(table, model, some=200):
    "Does the table say of some pictures what `predict` says of them?"
    rows = table[table["skipped"].isna()].sample(min(some, len(table) // 2), random_state=0)
    said = predict(model, list(rows["picture"]))
    return [p.name for p in said] == list(rows["class_1"])


def kills(args, folder):
    "Pictures made, explained, killed, explained, ..., counted"
    random.seed(args.seed)
    make_pictures(folder / "pictures", args.pictures)
    save(small_model(), folder / "model")
    blocks, seconds = -(-args.pictures // SHARD), 0.0
    moments = sorted(random.uniform(0.03, 0.6) * blocks for _ in range(args.kills))
    for number, moment in enumerate([*moments, None]):
        run = Run(folder, args.processes)
        while run.look() and (moment is None or run.shards() < moment):
            pass
        if moment is not None:
            time.sleep(random.uniform(0, 0.5))
            run.kill(everything=number % 2 == 0)
        seconds += time.time() - run.start
        for file in (folder / "found").glob("pictures-*.parquet"):
            assert len(pd.read_parquet(file, columns=["index"])) <= SHARD  # whole, or it can't be read
        print(f"{run.shards()} of {blocks} files, {'killed' if moment is not None else 'done'}", flush=True)
    assert run.launcher.returncode == 0, "the last run failed"
    table = pd.read_parquet(folder / "found")
    (twice, gaps), (early, end) = faults(table, args.pictures), run.peaks()
    row = dict(pictures=args.pictures, processes=args.processes, kills=args.kills, twice=twice, missing=gaps)
    row |= dict(
        skipped=int(table["skipped"].notna().sum()), as_predicted=same_as_predicted(table, small_model())
    )
    row |= dict(seconds=round(seconds), mb_at_a_tenth=round(early), mb_at_the_end=round(end))
    print(pd.Series(row).to_string())
    append_row(args.csv, row)


def timed(calls, rounds):
    "Median seconds of each, measured in turn"
    taken = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def cost(args):
    "Milliseconds a picture, and the ratio to the logits alone"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mobile = dict(name="timm/mobilenetv2_100", pretrained=False)
    models = {"ships with the package, 16 classes, 96 px": (pretrained(), 96)}
    for classes in (200, 10_000):
        model = OneBlockINTR(classes, mobile, dim=256, num_heads=8).eval()
        models[f"MobileNetV2, {classes} classes, 224 px"] = (model, 224)
    for name, (model, size) in models.items():
        birds = torch.stack([Aviary(16, size=size, seed=1)[i][0] for i in range(16)])
        with evaluating(model):
            taken = timed(
                dict(
                    logits=lambda: model(birds).logits,  # noqa: B023
                    margins=lambda: _batch_margins(model, birds).readings(),  # noqa: B023
                    explain=lambda: [explain(model, x, [0, 1]) for x in birds],  # noqa: B023
                ),
                args.rounds,
            )
        row = dict(model=name) | {f"{k}_ms": round(v * 1000 / 16, 2) for k, v in taken.items()}
        row |= {f"{k}_ratio": round(taken[k] / taken["logits"], 2) for k in ("margins", "explain")}
        print(row, flush=True)
        append_row(args.csv, row)


def write_features(file, n):
    "Noise, in which a channel is stronger for each of 8 classes"
    maps = np.lib.format.open_memmap(file, "w+", np.float16, (1, n, 2048, 7, 7))
    block = np.random.default_rng(0).standard_normal((80, *maps.shape[2:]), np.float32).astype(np.float16)
    for k in range(len(block)):
        block[k, k % 8] += 3
    for start in range(0, n, len(block)):
        maps[0, start : start + len(block)] = block[: n - start]
    maps.flush()


def train(features, seen):
    "An epoch; `seen` gets how much memory is held, ten times a second"
    torch.manual_seed(0)
    model, done = OneBlockINTR(8, PatchNet(width=8, dim=2048), dim=16, num_heads=2), threading.Event()

    def watch():
        while not done.wait(0.1):
            seen.append(memory_of("self"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    valid = features.subset(range(0, len(features), 20))
    history = fit(model, (features, valid), Recipe(epochs=1, lr=3e-3), device="cpu", progress=False)
    done.set()
    watcher.join()
    return history.rows[-1]["valid_accuracy"]


def larger(args, folder):
    "Training on a file that can't be read into memory"
    torch.set_num_threads(1)
    n = int(args.gigabytes * 1e9 / (2048 * 7 * 7 * 2))
    file, seen, start = folder / "maps.npy", [], time.time()
    write_features(file, n)
    features = Features(np.load(file, mmap_mode="r"), [i % 8 for i in range(n)])
    train(features.subset(range(400)), [])  # imports what training needs
    before, asked = memory_of("self"), memory_of("self", "VmData")
    resource.setrlimit(resource.RLIMIT_DATA, [int((asked + ROOM) * 2**20)] * 2)
    try:
        raise AssertionError(f"the file was read: {np.load(file).nbytes} bytes")
    except MemoryError:
        pass
    accuracy = train(features, seen)
    row = dict(file_mb=round(file.stat().st_size / 2**20), images=n, may_ask_for_mb=ROOM)
    row |= dict(mb_before=round(before), mb_at_a_tenth=round(max(seen[: 1 + len(seen) // 10])))
    row |= dict(mb_at_half=round(max(seen[: len(seen) // 2])), mb_with_validation=round(max(seen)))
    row |= dict(accuracy=round(accuracy, 3), seconds=round(time.time() - start))
    print(pd.Series(row).to_string())
    append_row(args.csv, row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("kills", "cost", "larger", "work"))
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    parser.add_argument(
        "--folder", type=Path, help="where pictures and results go; a temporary one by default"
    )
    args = parser.parse_args()
    if args.what == "work":
        return work(args.folder)
    if args.what == "cost":
        return cost(args)
    folder = args.folder or Path(tempfile.mkdtemp())
    dict(kills=kills, larger=larger)[args.what](args, folder)
    if not args.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
