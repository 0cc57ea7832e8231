"""How long taking a DETR-ResNet-50 sized INTR apart takes, beside one forward pass: OMP_NUM_THREADS=1 python benchmarks/decompose.py [--classes 200] [--on 0.1]

Weights are random, which leaves half of the MLPs' hidden units on; --on 0.1 shifts linear1's bias until a tenth of them are, as after training.
"""

import argparse
import os
import resource
import time

import torch

from intr_nb.core.tools import evaluating
from intr_nb.explanations.decomposition import decompose
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
print(
    f"{d}\n{torch.get_num_threads()} threads of {os.cpu_count()} cores, {a.on:.0%} of hidden units on. Forward pass: {forward:.1f} s ({forward_cpu:.1f} s of CPU time). "
    f"Decomposition: {both - forward:.1f} s ({both_cpu - forward_cpu:.1f}) on top, {(both_cpu - forward_cpu) / forward_cpu:.1f} forward passes. "
    f"Peak memory {memory / 2**20:.1f} GB after the forward pass, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB at last. Largest gap {gap:.1e}"
)
