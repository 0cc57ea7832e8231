"""The authors' checkpoints: read, never run; sizes from shapes; what is foreign is named.

A round trip shows that names, sizes and numbers arrive; it can't show that the authors compute the same
with them.
test_parity.py does.
"""

import argparse
import hashlib
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

import intr_nb.models.official
from intr_nb.models.intr import INTR
from intr_nb.models.official import _official_state, load_official

SIZES = dict(dim=64, num_heads=4, encoder_layers=2, decoder_layers=3, ffn_dim=96)


IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = INTR(7, "resnet18", **SIZES).eval()
    for name, buffer in model.named_buffers():  # frozen norms are born as identities: tell them apart
        if name.endswith(("weight", "running_var")):
            nn.init.uniform_(buffer, 0.5, 1.5)
        else:
            nn.init.normal_(buffer, std=0.1)
    return model


def same(a, b):
    x, y = a(IMAGES, attention="all"), b(IMAGES, attention="all")
    return x.logits.equal(y.logits) and x.attention.equal(y.attention) and x.features.equal(y.features)


def args(**kwargs):
    return (
        argparse.Namespace(
            nheads=4, pre_norm=False, dilation=False, dropout=0.1, lr=1e-4, output_dir="out", lrs=[1, 2]
        )
        if not kwargs
        else argparse.Namespace(**kwargs)
    )


# -- the authors' checkpoints --


def forms(state):
    return {
        "file of the authors": {
            "model": state,
            "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]},
            "lr_scheduler": {},
            "epoch": 139,
            "args": args(),
        },
        "distributed": {"model": {f"module.{k}": v for k, v in state.items()}, "args": args()},
        "arguments as a dict": {"model": state, "args": vars(args())},
        "ordinary norms": {
            "model": state | {"backbone.0.body.bn1.num_batches_tracked": torch.tensor(0)},
            "args": args(),
        },
    }


@pytest.mark.parametrize("form", forms({}))
@pytest.mark.parametrize("where", ["dict", "file"])
def test_official_round_trip(model, form, where, tmp_path):
    checkpoint = forms(_official_state(model))[form]
    if where == "file":
        torch.save(checkpoint, tmp_path / "intr.pth")
        checkpoint = str(tmp_path / "intr.pth")
    loaded = load_official(checkpoint)
    assert loaded.config == model.config and not loaded.training and same(loaded, model)


def test_official_tensors_alone(model, tmp_path):
    safetensors.torch.save_file(_official_state(model), tmp_path / "intr.safetensors")
    for checkpoint in (_official_state(model), tmp_path / "intr.safetensors"):
        assert same(load_official(checkpoint, num_heads=4), model)
    assert load_official(_official_state(model)).num_heads == 8


def test_the_caller_knows_better_than_the_arguments(model):
    checkpoint = {"model": _official_state(model), "args": args(nheads=2, pre_norm=False)}
    assert load_official(checkpoint).num_heads == 2 and load_official(checkpoint, num_heads=4).num_heads == 4


@pytest.mark.parametrize(
    "options",
    [
        dict(backbone="resnet34"),
        dict(backbone="resnet50"),
        dict(backbone="resnet101"),
        dict(backbone="resnet152"),
        dict(fc=True),
        dict(pre_norm=True),
        dict(num_classes=100),
        dict(num_classes=2),
        dict(encoder_layers=0),
        dict(decoder_layers=1),
        dict(dim=24, num_heads=2, ffn_dim=8),
    ],
    ids=str,
)
def test_sizes_are_read_off_the_tensors(options):
    "On the meta device: shapes alone."
    with torch.device("meta"):
        model = INTR(**dict(num_classes=7, backbone="resnet18", **SIZES) | options)
    config = intr_nb.models.official._official_config(_official_state(model), dict(nheads=model.num_heads))
    assert config | {"backbone": {"name": config["backbone"]}} == model.config


def test_the_given_dict_is_left_alone(model):
    state = _official_state(model)
    loaded = load_official(state, num_heads=4)
    with torch.no_grad():
        for p in loaded.parameters():
            p.zero_()
    assert same(load_official(state, num_heads=4), model)


def test_loading_takes_no_random_numbers(model):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    load_official(_official_state(model), num_heads=4)
    assert torch.rand(3).equal(expected)


def test_loaded_model_learns(model):
    loaded = load_official(_official_state(model), num_heads=4).train()
    loaded(IMAGES).logits.sum().backward()
    assert loaded.query_embed.weight.grad.abs().sum() > 0 and loaded.backbone.body.conv1.weight.requires_grad


class Code:
    "Leaves a file behind when it is unpickled"

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("where", ["args", "model", "inside args", "old format", "plain pickle"])
def test_code_is_refused_and_does_not_run(model, tmp_path, where):
    bomb, file = Code(tmp_path / "ran"), tmp_path / "intr.pth"
    checkpoint = {"model": {} if where == "plain pickle" else _official_state(model), "args": args()}
    if where == "inside args":
        checkpoint["args"].hook = bomb
    else:
        checkpoint["model" if where == "model" else "args"] = bomb
    if where == "plain pickle":
        file.write_bytes(pickle.dumps(checkpoint, protocol=2))
    else:
        torch.save(checkpoint, file, _use_new_zipfile_serialization=where != "old format")
    with pytest.raises(
        ValueError,
        match=r"intr\.pth' asks for \w+\.mkdir, which could run code: refused, nothing in it ran.*"
        r"argparse.Namespace.*safetensors",
    ):
        load_official(file)
    assert not (tmp_path / "ran").exists()
    torch.load(file, weights_only=False) if where != "plain pickle" else pickle.loads(file.read_bytes())
    assert (tmp_path / "ran").exists(), "the bomb was a dud, this test shows nothing"


@pytest.mark.parametrize(
    "foreign", [Path("x"), hashlib.sha256, nn.Linear(1, 1)], ids=lambda v: type(v).__name__
)
def test_nothing_but_a_namespace_is_let_through(model, tmp_path, foreign):
    torch.save({"model": _official_state(model), "args": foreign}, tmp_path / "intr.pth")
    with pytest.raises(ValueError, match="asks for .* refused"):
        load_official(tmp_path / "intr.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999])
def test_truncated_file(model, tmp_path, ending, share):
    file = tmp_path / f"intr{ending}"
    torch.save(_official_state(model), file) if ending == ".pth" else safetensors.torch.save_file(
        _official_state(model), file
    )
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"intr\.\w+' \(\d+ bytes\) is truncated or no checkpoint.*again"):
        load_official(file)


def without(state, *names):
    return {k: v for k, v in state.items() if not k.startswith(names)}


FOREIGN = {
    "a classifier": (
        lambda s: torchvision.models.resnet18().state_dict(),
        r"no INTR of the authors: it lacks query_embed.weight.*has conv1.weight",
    ),
    "DETR's own": (
        lambda s: (
            without(s, "presence_vector")
            | {"class_embed.weight": torch.zeros(92, 64), "query_embed.weight": torch.zeros(100, 64)}
        ),
        r"lacks presence_vector.weight.*DETR's own",
    ),
    "ours": (lambda s: INTR(3, "resnet18", **SIZES).state_dict(), r"lacks .*read by `load`"),
    "a layer short": (
        lambda s: without(s, "transformer.decoder.layers.1.norm2"),
        r"2 missing \(transformer.decoder.layers.2.norm2.weight|2 missing \(transformer.decoder.layers.1.norm2.weight",
    ),
    "no backbone": (lambda s: without(s, "backbone"), r"backbone with \(0, 0, 0, 0\) blocks.*resnet50"),
    "something more": (lambda s: s | {"mask_head.weight": torch.zeros(1)}, r"1 unknown \(mask_head.weight\)"),
    "other queries": (
        lambda s: s | {"query_embed.weight": torch.zeros(7, 32)},
        r"1 of another shape \(query_embed.weight \(7, 32\), not \(7, 64\)\)",
    ),
    "5 presence vectors": (
        lambda s: s | {"presence_vector.weight": torch.zeros(5, 64)},
        r"5 presence vectors and 7 class queries",
    ),
    "one class": (lambda s: s | {"query_embed.weight": torch.zeros(1, 64)}, r"num_classes=1"),
    "a list for a tensor": (lambda s: s | {"query_embed.weight": [1, 2]}, r"lacks query_embed.weight"),
    "a name for a tensor": (lambda s: s | {"input_proj.bias": "x"}, r"input_proj.bias"),
    "dilated": (lambda s: {"model": s, "args": args(dilation=True)}, r"dilated backbone"),
    "wrong heads": (lambda s: {"model": s, "args": args(nheads=5)}, r"num_heads=5 does not divide dim=64"),
    "pre-norm it is not": (
        lambda s: {"model": s, "args": args(pre_norm=True, nheads=4)},
        r"2 missing \(transformer.encoder.norm.weight",
    ),
    "nothing": (lambda s: {}, r"lacks query_embed.weight"),
    "no tensors": (lambda s: {"model": 3}, r"holds no tensors by name"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_checkpoint(model, what):
    make, message = FOREIGN[what]
    with pytest.raises(ValueError, match=message):
        load_official(make(_official_state(model)))


def test_a_file_that_holds_no_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list, no dict"):
        load_official(tmp_path / "list.pth")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*nowhere.pth"):
        load_official(tmp_path / "nowhere.pth")
