"The numbers that the authors' model was filled with and shown when the parity fixture was made."

import json
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision

FIXTURES = Path(__file__).parent / "fixtures"


def fill(name, shape):
    "The float32 array of the authors' tensor `name`: seeded by it, scaled so that signals survive twelve layers."
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    fan_in = np.sqrt(np.prod(shape[1:]))
    if name.endswith("running_var"):
        array = 0.5 + np.abs(noise)
    elif name == "input_proj.weight":
        array = 3 * noise / fan_in
    elif len(shape) == 1:
        array = name.endswith("weight") + 0.1 * noise
    elif name == "query_embed.weight":
        array = 3 * noise
    elif "attn.in_proj" in name:
        array = 3 * noise / fan_in
    elif "self_attn.out_proj" in name or "linear2" in name:
        array = 0.2 * noise / fan_in
    else:
        array = noise / fan_in
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
    images, mask = (
        torch.zeros(len(sizes), 3, height, width),
        torch.ones(len(sizes), height, width, dtype=torch.bool),
    )
    for i, (h, w) in enumerate(sizes):
        images[i, :, :h, :w], mask[i, :h, :w] = blocks(random, h, w), False
    return images, mask


def reference():
    "What the authors' code put out."
    with np.load(FIXTURES / "reference_r50_c7.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


# -- the same model a second time: plain functions over the authors' tensors, sharing no code with intr_nb --


def attention(state, name, query, key, value, heads, padding=None):
    "PyTorch's own multi-head attention, sequence first as in DETR: output and weights per head"
    in_weight, in_bias, out_weight, out_bias = (
        state[f"{name}.{part}"]
        for part in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    )
    return F.multi_head_attention_forward(
        query,
        key,
        value,
        query.shape[-1],
        heads,
        in_weight,
        in_bias,
        None,
        None,
        False,
        0.0,
        out_weight,
        out_bias,
        training=False,
        key_padding_mask=padding,
        need_weights=True,
        average_attn_weights=False,
    )


def position(mask, dim):
    "DETR's position code, one cell at a time; (N, B, dim)"
    batch, height, width = mask.shape
    code = torch.zeros(batch, height, width, dim)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                for start, place, last in (
                    (0, (~mask[b, : y + 1, x]).sum(), (~mask[b, :, x]).sum()),
                    (dim // 2, (~mask[b, y, : x + 1]).sum(), (~mask[b, y]).sum()),
                ):
                    angle = (
                        float(place)
                        / (float(last) + 1e-6)
                        * 2
                        * np.pi
                        / 10000 ** (2 * np.arange(dim // 4) / (dim // 2))
                    )
                    code[b, y, x, start : start + dim // 2 : 2] = torch.from_numpy(np.sin(angle))
                    code[b, y, x, start + 1 : start + dim // 2 : 2] = torch.from_numpy(np.cos(angle))
    return code.flatten(1, 2).transpose(0, 1)


def plain_forward(state, resnet, images, mask, heads=8, pre_norm=False):
    "Logits (B, C) and the last layer's cross-attention (B, R, C, h, w)"
    net = getattr(torchvision.models, resnet)().to(images.dtype).eval()
    lacks = net.load_state_dict(
        {k.removeprefix("backbone.0.body."): v for k, v in state.items() if k.startswith("backbone")},
        strict=False,
    )
    assert not lacks.unexpected_keys and all(
        k.startswith("fc.") or k.endswith("num_batches_tracked") for k in lacks.missing_keys
    )
    features = F.conv2d(
        torch.nn.Sequential(*list(net.children())[:-2])(images),
        state["input_proj.weight"],
        state["input_proj.bias"],
    )
    cells = F.interpolate(mask[None].float(), size=features.shape[-2:])[0].bool()
    padding, pos, x = (
        cells.flatten(1),
        position(cells, features.shape[1]).to(images.dtype),
        features.flatten(2).permute(2, 0, 1),
    )

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def residual(name, x, f):
        return x + f(norm(name, x)) if pre_norm else norm(name, x + f(x))

    def mlp(name, x):
        return linear(f"{name}.linear2", linear(f"{name}.linear1", x).relu())

    def layers(part):
        return sorted(
            {".".join(k.split(".")[:4]) for k in state if k.startswith(f"transformer.{part}.layers.")},
            key=lambda k: int(k.split(".")[3]),
        )

    for name in layers("encoder"):
        x = residual(
            f"{name}.norm1",
            x,
            lambda h, name=name: attention(state, f"{name}.self_attn", h + pos, h + pos, h, heads, padding)[
                0
            ],
        )
        x = residual(f"{name}.norm2", x, lambda h, name=name: mlp(name, h))
    if pre_norm:
        x = norm("transformer.encoder.norm", x)
    queries = state["query_embed.weight"][:, None].repeat(1, len(images), 1)
    z, looked = torch.zeros_like(queries), []
    for name in layers("decoder"):

        def look(h, name=name):
            looked.append(attention(state, f"{name}.multihead_attn", h + queries, x, x, heads, padding))
            return looked[-1][0]

        z = residual(
            f"{name}.norm1",
            z,
            lambda h, name=name: attention(state, f"{name}.self_attn", h + queries, h + queries, h, heads)[0],
        )
        z = residual(f"{name}.norm2", z, look)
        z = residual(f"{name}.norm3", z, lambda h, name=name: mlp(name, h))
    logits = linear("presence_vector", norm("transformer.decoder.norm", z)).squeeze(-1).transpose(0, 1)
    return logits, looked[-1][1].unflatten(-1, features.shape[-2:])
