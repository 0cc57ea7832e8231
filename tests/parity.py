"The numbers that the authors' model was filled with and shown when the parity fixture was made."
import json
import zlib
from pathlib import Path

import numpy as np
import torch

FIXTURES = Path(__file__).parent / "fixtures"


def fill(name, shape):
    "The float32 array of the tensor that the authors call `name`: seeded by its name, scaled so that signals survive twelve layers."
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    unit = noise / np.sqrt(np.prod(shape[1:]))
    if name.endswith("running_var"): array = 0.5 + np.abs(noise)
    elif name.startswith("input_proj.weight"): array = 3 * noise / np.sqrt(np.prod(shape[1:]))
    elif len(shape) == 1: array = (1 if name.endswith("weight") else 0) + 0.1 * noise
    elif name == "query_embed.weight": array = 3 * noise
    elif "attn.in_proj" in name: array = 3 * noise / np.sqrt(np.prod(shape[1:]))
    elif "self_attn.out_proj" in name or "linear2" in name: array = 0.2 * noise / np.sqrt(np.prod(shape[1:]))
    else: array = unit
    return array.astype("float32")


def official_state():
    "The authors' checkpoint: names from the fixture, numbers from `fill`."
    shapes = json.loads((FIXTURES / "official_state_dict_r50_c7.json").read_text())
    return {name: torch.from_numpy(fill(name, shape)) for name, shape in shapes.items()}


def blocks(random, height, width):
    "Blocky noise: (3, height, width) float32, constant on squares of 32 pixels."
    coarse = 2 * random.standard_normal((3, height // 32, width // 32))
    return torch.from_numpy(coarse.repeat(32, 1).repeat(32, 2).astype("float32"))


def batch(sizes=((96, 128), (128, 64)), seed=0):
    "Images of these sizes, padded at the right and the bottom with zeros, and their padding mask."
    random = np.random.RandomState(seed)
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    images, mask = torch.zeros(len(sizes), 3, height, width), torch.ones(len(sizes), height, width, dtype=torch.bool)
    for i, (h, w) in enumerate(sizes):
        images[i, :, :h, :w], mask[i, :h, :w] = blocks(random, h, w), False
    return images, mask


def reference():
    "What the authors' code put out."
    with np.load(FIXTURES / "reference_r50_c7.npz") as arrays: return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
