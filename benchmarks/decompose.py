"""How long taking a DETR-ResNet-50 sized INTR apart takes, beside one forward pass.

Usage: OMP_NUM_THREADS=1 python benchmarks/decompose.py [--classes 200] [--on 0.1]
Weights are random, which leaves half of the MLPs' hidden units on; --on 0.1 shifts linear1's bias until a
tenth of them are, as after training.
"""

import argparse
import os
import resource
import time

import torch

from intr_nb.core.tools import evaluating
from intr_nb.explanations.decomposer import decompose
from intr_nb.models.intr import INTR

p = argparse.ArgumentParser()
p.add_argument("--classes", type=int, default=200)
p.add_argument("--size", type=int, nargs=2, default=(800, 1200))
p.add_argument("--on", type=float, default=0.5, help="share of hidden units that are on")
p.add_argument("--targets", type=int, help="take only so many classes apart")
a = p.parse_args()
torch.manual_seed(0)
model, image = INTR(a.classes), torch.randn(3, *a.size)
quantile = torch.distributions.Normal(0, 1).icdf(torch.tensor(a.on)).item()


def shift(layer, inputs, output):
    layer.bias.data += quantile * output.std() - output.mean()


with evaluating(model):
    hooks = [layer.linear1.register_forward_hook(shift) for layer in model.decoder.layers]
    model(image[None])
    for hook in hooks:
        hook.remove()
    began, cpu = time.perf_counter(), time.process_time()
    out = model(image[None])
    forward, forward_cpu = time.perf_counter() - began, time.process_time() - cpu
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began, cpu = time.perf_counter(), time.process_time()
d = decompose(model, image, classes=None if a.targets is None else range(a.targets))
both, both_cpu = time.perf_counter() - began, time.process_time() - cpu
gap = (d.maps.double().sum((0, 1, 3, 4)) + d.residual.double() - d.logits.double()).abs().max()
last = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
more, more_cpu = both - forward, both_cpu - forward_cpu
print(d)
print(f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {a.on:.0%} of hidden units on.")
print(f"Forward pass: {forward:.1f} s ({forward_cpu:.1f} s of CPU time).")
print(f"Decomposition: {more:.1f} s ({more_cpu:.1f}) on top, {more_cpu / forward_cpu:.1f} forward passes.")
print(f"Peak memory {memory / 2**20:.1f} GB after the forward pass, {last / 2**20:.1f} GB at last.")
print(f"Largest gap {gap:.1e}")
