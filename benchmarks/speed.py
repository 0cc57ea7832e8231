"""How long it takes, beside the authors' code and beside plain ways to the same result.

Usage: python benchmarks/speed.py [ROW ...] [--reference PATH] [--rounds 5] [--csv FILE]
       make bench

Ways are timed in turn within one process, after their outputs were compared; a table gives medians, the
fastest round, and ratios. PATH is a checkout of the authors' code (github.com/Imageomics/INTR); without it their
columns stay empty. Nothing of it is copied, and its pretrained weights are not asked for: both models get the
same random numbers. On a machine with a GPU the rows run there.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from results import append_row

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLASSES = 200


def clock():
    "Seconds, once the GPU has done what it was asked"
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turn(ways, rounds):
    "Seconds of each round of each way, after one round that doesn't count"
    seconds = {name: [] for name in ways}
    for r in range(rounds + 1):
        for name, way in ways.items():
            began = clock()
            way()
            if r:
                seconds[name].append(clock() - began)
    return seconds


# -- the two models --


def ours(classes=CLASSES):
    from intr_nb.models.intr import INTR

    torch.manual_seed(0)
    return INTR(classes).to(DEVICE).eval()


def authors(path, numbers_of):
    "The authors' model with our model's numbers"
    sys.path.insert(0, str(path))
    import torchvision
    from models import build_model

    from intr_nb.models.official import _official_state

    build = torchvision.models.resnet50
    torchvision.models.resnet50 = lambda pretrained=None, **how: build(**how)
    sizes = dict(hidden_dim=256, nheads=8, dim_feedforward=2048, enc_layers=6, dec_layers=6, dropout=0.1)
    args = argparse.Namespace(
        dataset_name="cub", backbone="resnet50", dilation=False, lr_backbone=1e-5, device=str(DEVICE),
        position_embedding="sine", pre_norm=False, **sizes,
    )  # fmt: skip
    theirs, _ = build_model(args)
    torchvision.models.resnet50 = build
    theirs.load_state_dict(_official_state(numbers_of))
    return theirs.to(DEVICE).eval()


def close(a, b):
    "The largest difference as a share of the largest number"
    return ((a.float() - b.float()).abs().max() / b.float().abs().max()).item()


# -- prediction --


@torch.inference_mode()
def their_prediction(model, image):
    out, _, _, attention, _ = model(image)
    return out["query_logits"], attention[-1]


@torch.inference_mode()
def our_prediction(model, image, precision=None):
    from intr_nb.models.prediction import _autocast

    with _autocast(model, precision):
        out = model(image, attention="last")
    return out.logits, out.attention.flatten(3)


def prediction(o):
    "One image of 800 x 1216, its logits and the last layer's maps"
    model, image = ours(), torch.randn(1, 3, 800, 1216, device=DEVICE)
    ways = {}
    if o.reference:
        theirs = authors(o.reference, model)
        ways["authors"] = partial(their_prediction, theirs, image)
    ways["ours"] = partial(our_prediction, model, image)
    ways["ours, bf16"] = partial(our_prediction, model, image, "bf16")
    if o.reference:
        gaps = [close(a, b) for a, b in zip(ways["ours"](), ways["authors"]())]
        print(
            f"  largest difference to the authors': logits {gaps[0]:.1e}, maps {gaps[1]:.1e} of the largest"
        )
        assert max(gaps) < 1e-3
    if DEVICE.type == "cuda":
        compiled = torch.compile(model)
        ways["ours, bf16, compiled"] = partial(our_prediction, compiled, image, "bf16")
    return in_turn(ways, o.rounds)


# -- a training step --


class Step:
    "Forward, backward, clipped gradients, AdamW"

    def __init__(self, model, logits, groups, precision=None, count=2, size=(480, 640)):
        self.model, self.logits, self.precision = model.train(), logits, precision
        self.optimizer = torch.optim.AdamW(groups)
        self.images = torch.randn(count, 3, *size, device=DEVICE)
        self.labels = torch.arange(count, device=DEVICE)

    def __call__(self):
        torch.manual_seed(0)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = F.cross_entropy(self.logits(self.images).float(), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        self.optimizer.step()


def our_step(precision=None, checkpointed=False):
    "As `fit` does it: the stem frozen as in DETR, channels last"
    from intr_nb.models.freezing import freeze, param_groups
    from intr_nb.models.gradient_checkpointing import _checkpointed

    model = ours()
    freeze(model.backbone.stem)
    model.to(memory_format=torch.channels_last)

    def logits(images):
        with _checkpointed(model, checkpointed):
            return model(images).logits

    return Step(model, logits, param_groups(model, 1e-4, 1e-5), precision)


def their_step(reference, precision=None):
    model = authors(reference, ours())
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [[p for name, p in named if ("backbone" in name) == inside] for inside in (False, True)]
    groups = [dict(params=p, lr=lr) for p, lr in zip(groups, (1e-4, 1e-5))]
    return Step(model, lambda images: model(images)[0]["query_logits"], groups, precision)


def training_step(o):
    "Two images of 480 x 640: forward, backward, AdamW"
    ways = {"authors": their_step(o.reference)} if o.reference else {}
    ways |= {"ours": our_step(), "ours, checkpointed": our_step(checkpointed=True)}
    return in_turn(ways | {"ours, bf16": our_step("bf16")}, o.rounds)


# -- memory: each in a process of its own --


def ask_for_10_000(explained):
    from intr_nb.explanations.explainer import explain

    model, image = ours(10_000), torch.randn(3, 640, 640, device=DEVICE)
    if explained:
        return partial(explain, model, image, classes=[0, 1])
    return partial(our_prediction, model, image[None])


def moments_alone():
    "Weights, a gradient for each and AdamW's two moments: what any step needs before it computes"
    step = our_step()
    for p in step.model.parameters():
        p.grad = torch.zeros_like(p)
    return step.optimizer.step


def measured(o):
    "In this process: seconds of one run, and the most memory that it took"
    makers = {
        "step, authors": lambda: their_step(o.reference),
        "step, weights and moments alone": moments_alone,
        "step, ours": our_step,
        "step, ours, checkpointed": partial(our_step, checkpointed=True),
        "prediction": partial(ask_for_10_000, False),
        "explanation": partial(ask_for_10_000, True),
    }
    way = makers[o.measure]()
    way()
    began = clock()
    way()
    print(json.dumps(dict(seconds=clock() - began, peak=most_memory())))


def most_memory():
    "GB at the highest: of the GPU, else of this process (`ru_maxrss` would count the parent's, too)"
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # macOS counts bytes
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024 / 1e9


def in_a_process(o, what, **env):
    "What `measured` prints, in a process with these environment variables, too"
    command = [sys.executable, __file__, "--measure", what]
    command += ["--reference", o.reference] if o.reference else []
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, env=os.environ | env
    )
    return json.loads(done.stdout.splitlines()[-1])


def memory(o):
    "The most memory that a process with two training steps takes, in GB; the model and AdamW alone, before a step"
    whose = ["authors"] * bool(o.reference) + ["ours", "ours, checkpointed", "weights and moments alone"]
    # glibc keeps what was freed unless told otherwise, and its holes differ from run to run
    told = dict(MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
    return {who: [in_a_process(o, f"step, {who}", **told)["peak"]] for who in whose}


def ten_thousand_classes(o):
    "C = 10,000, 640 x 640, one image: seconds and GB, in a process of its own each"
    found = {}
    for what in ("prediction", "explanation"):
        got = in_a_process(o, what)
        found |= {f"{what}, s": [got["seconds"]], f"{what}, GB": [got["peak"]]}
    return found


# -- explanations --


def explanations(o):
    "320 x 320, C = 200: all parts of all classes, beside maps of one class by other methods"
    from intr_nb.explanations.class_activation import grad_cam
    from intr_nb.explanations.explainer import explain
    from intr_nb.explanations.masking import rise

    model, image = ours(), torch.randn(3, 320, 320, device=DEVICE)
    few, scaled = 100, "RISE, 4,000 masks (40 times 100)"
    ways = {
        "everything, all classes": partial(explain, model, image),
        "everything, one class": partial(explain, model, image, classes=[0]),
        "Grad-CAM, one class": partial(grad_cam, model, image, [0], layer=model.backbone.body.layer4),
        scaled: partial(rise, model, image, [0], masks=few),
    }
    found = in_turn(ways, o.rounds)
    found[scaled] = [4000 / few * s for s in found[scaled]]
    return found


def plain_curves(model, image, map_, steps):
    "Insertion and deletion as one writes them down: a copy and a forward pass for each step"
    order = map_.flatten().argsort(descending=True)
    blank, found = torch.zeros_like(image), []
    for start, end in ((blank, image), (image, blank)):
        for step in range(steps + 1):
            copy = start.clone().flatten(1)
            chosen = order[: round(step / steps * len(order))]
            copy[:, chosen] = end.flatten(1)[:, chosen]
            with torch.inference_mode():
                found.append(model(copy.view_as(image)[None]).logits.softmax(1)[0, 0].item())
    return found


def curves(o):
    "Insertion and deletion of 20 birds of 96 x 96, 48 steps each"
    from intr_nb import Aviary, pretrained
    from intr_nb.evaluation.perturbation import insertion_deletion

    model, birds = pretrained().to(DEVICE), Aviary(20, seed=5)
    images = [birds[i][0].to(DEVICE) for i in range(20)]
    maps = [torch.rand(96, 96) for _ in images]

    def batched():
        for image, m in zip(images, maps):
            insertion_deletion(model, image, m, 0, steps=48, blank="zero")

    def plain():
        for image, m in zip(images, maps):
            plain_curves(model, image, m, 48)

    return in_turn({"a step at a time": plain, "ours": batched}, o.rounds)


# -- what the machine could do --


def limit(o):
    "Operations counted (a product and a sum are two), and what a large matrix product reaches here, a second"
    from torch.utils.flop_counter import FlopCounterMode

    image, big = (torch.randn(*size, device=DEVICE) for size in ((1, 3, 800, 1216), (4096, 4096)))
    predict = partial(our_prediction, ours().requires_grad_(False), image)
    counted = {}
    for name, way in {"a prediction": predict, "a training step": our_step()}.items():
        with FlopCounterMode(display=False) as counter:
            way()
        counted[f"{name}, GFLOP"] = [counter.get_total_flops() / 1e9]
    seconds = in_turn({"product": lambda: big @ big}, o.rounds)["product"]
    return counted | {"a product of 4096 x 4096, GFLOP/s": [2 * 4096**3 / s / 1e9 for s in seconds]}


# -- data, and the start --


def data(o):
    "Each second on one core: drawn birds with masks and without, photographs as DETR's and as squares"
    from PIL import Image

    from intr_nb import Aviary
    from intr_nb.data.transforms import detr_transforms, square_transforms

    torch.set_num_threads(1)
    birds, photo = Aviary(64, seed=0), Image.fromarray(_noise())
    detr, square = detr_transforms()[0], square_transforms(320)[0]
    ways = {
        "birds": lambda: [birds.bird(i).image for i in range(64)],
        "birds with masks": lambda: [(b.image, b.masks) for b in map(birds.bird, range(64))],
        "photographs, DETR's": lambda: [detr(photo) for _ in range(4)],
        "photographs, squares of 320": lambda: [square(photo) for _ in range(16)],
    }
    counts = dict(zip(ways, (64, 64, 4, 16)))
    return {n: [counts[n] / s for s in seconds] for n, seconds in in_turn(ways, o.rounds).items()}


def _noise():
    "A photograph's size and roughness, (800, 1200, 3)"
    import numpy as np

    small = np.random.RandomState(0).randint(0, 256, (100, 150, 3)).astype(np.uint8)
    return np.kron(small, np.ones((8, 8, 1), np.uint8))


STARTS = {
    "torch": "import torch",
    "intr_nb, beyond it": "import torch; T(); import intr_nb",
    "all of explain and fit, beyond it": "import torch; T(); from intr_nb import explain, fit, pretrained",
    "first browser, beyond it": (
        "import torch; T(); from intr_nb import Aviary, HeadBrowser, pretrained; "
        "HeadBrowser(pretrained(), Aviary(16))._ipython_display_()"
    ),
    "second browser": (
        "from intr_nb import Aviary, HeadBrowser, pretrained; m, a = pretrained(), Aviary(16); "
        "HeadBrowser(m, a)._ipython_display_(); T(); HeadBrowser(m, a)._ipython_display_()"
    ),
}
TIMED = """
import sys, time
began = time.perf_counter()
def T():
    global began
    began = time.perf_counter()
{}
print(time.perf_counter() - began, file=sys.stderr)
"""


def start(o):
    "Seconds in a fresh process"
    found = {}
    for name, code in STARTS.items():
        runs = []
        for _ in range(o.rounds):
            command = [sys.executable, "-W", "ignore", "-c", TIMED.format(code)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs.append(float(done.stderr.split()[-1]))
        found[name] = runs
    return found


ROWS = dict(
    prediction=prediction, training_step=training_step, memory=memory, ten_thousand_classes=ten_thousand_classes,
    explanations=explanations, curves=curves, data=data, start=start, limit=limit,
)  # fmt: skip


def show(row, found, o):
    "The row's table, and its lines in the file"
    first = None
    machine = (
        torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    )
    for way, numbers in found.items():
        median = statistics.median(numbers)
        first = first or median
        print(f"  {way:36s} {median:9.3f}   fastest {min(numbers):9.3f}   first / this {first / median:6.2f}")
        figures = dict(median=f"{median:.4g}", least=f"{min(numbers):.4g}", ratio=f"{first / median:.3g}")
        facts = dict(rounds=len(numbers), machine=machine, torch=torch.__version__)
        append_row(o.csv, dict(row=row, way=way) | figures | facts)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    p.add_argument("--reference", type=Path, help="a checkout of the authors' code")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--csv", type=Path, help="add the rows to this file")
    p.add_argument("--measure", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.reference and not (o.reference / "models" / "intr.py").is_file():
        p.error(f"--reference {o.reference}: expected a checkout of the authors' code, with models/intr.py")
    if unknown := set(o.rows) - set(ROWS):
        p.error(f"no row is called {sorted(unknown)[0]!r}: expected some of {list(ROWS)}")
    if o.measure:
        return measured(o)
    print(f"torch {torch.__version__}, {DEVICE}, {torch.get_num_threads()} threads of {os.cpu_count()} cores")
    for row in o.rows or ROWS:
        print(f"{row}: {ROWS[row].__doc__}")
        show(row, ROWS[row](o), o)


if __name__ == "__main__":
    main()
