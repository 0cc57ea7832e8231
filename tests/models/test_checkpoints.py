"""Checkpoints: the authors' (read, never run), our own (exact, whole or not at all), and those in the package."""

import argparse
import hashlib
import json
import os
import pickle
import re
import tempfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

import intr_nb.models.checkpoints
from intr_nb.models.backbones import PatchNet, ResNet
from intr_nb.models.checkpoints import load, load_official, official_state, pretrained, save
from intr_nb.models.intr import INTR, OneBlockINTR

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
# A round trip shows that names, sizes and numbers arrive; it can't show that the authors compute the same with them. test_parity.py does.


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
    checkpoint = forms(official_state(model))[form]
    if where == "file":
        torch.save(checkpoint, tmp_path / "intr.pth")
        checkpoint = str(tmp_path / "intr.pth")
    loaded = load_official(checkpoint)
    assert loaded.config == model.config and not loaded.training and same(loaded, model)


def test_official_tensors_alone(model, tmp_path):
    safetensors.torch.save_file(official_state(model), tmp_path / "intr.safetensors")
    for checkpoint in (official_state(model), tmp_path / "intr.safetensors"):
        assert same(load_official(checkpoint, num_heads=4), model)
    assert load_official(official_state(model)).num_heads == 8


def test_the_caller_knows_better_than_the_arguments(model):
    checkpoint = {"model": official_state(model), "args": args(nheads=2, pre_norm=False)}
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
    config = intr_nb.models.checkpoints._official_config(official_state(model), dict(nheads=model.num_heads))
    assert config | {"backbone": {"name": config["backbone"]}} == model.config


def test_the_given_dict_is_left_alone(model):
    state = official_state(model)
    loaded = load_official(state, num_heads=4)
    with torch.no_grad():
        for p in loaded.parameters():
            p.zero_()
    assert same(load_official(state, num_heads=4), model)


def test_loading_takes_no_random_numbers(model):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    load_official(official_state(model), num_heads=4)
    assert torch.rand(3).equal(expected)


def test_loaded_model_learns(model):
    loaded = load_official(official_state(model), num_heads=4).train()
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
    checkpoint = {"model": {} if where == "plain pickle" else official_state(model), "args": args()}
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
        match=r"intr\.pth' asks for \w+\.mkdir, which could run code: refused, nothing in it ran.*argparse.Namespace.*safetensors",
    ):
        load_official(file)
    assert not (tmp_path / "ran").exists()
    torch.load(file, weights_only=False) if where != "plain pickle" else pickle.loads(file.read_bytes())
    assert (tmp_path / "ran").exists(), "the bomb was a dud, this test shows nothing"


@pytest.mark.parametrize(
    "foreign", [Path("x"), hashlib.sha256, nn.Linear(1, 1)], ids=lambda v: type(v).__name__
)
def test_nothing_but_a_namespace_is_let_through(model, tmp_path, foreign):
    torch.save({"model": official_state(model), "args": foreign}, tmp_path / "intr.pth")
    with pytest.raises(ValueError, match="asks for .* refused"):
        load_official(tmp_path / "intr.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999])
def test_truncated_file(model, tmp_path, ending, share):
    file = tmp_path / f"intr{ending}"
    torch.save(official_state(model), file) if ending == ".pth" else safetensors.torch.save_file(
        official_state(model), file
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
        load_official(make(official_state(model)))


def test_a_file_that_holds_no_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list, no dict"):
        load_official(tmp_path / "list.pth")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*nowhere.pth"):
        load_official(tmp_path / "nowhere.pth")


# -- our own --


def all_models():
    torch.manual_seed(0)
    yield OneBlockINTR(3, PatchNet(8, 16, stride=8), dim=16, num_heads=2, score_bound=1.25)
    yield OneBlockINTR(3, dim=16, num_heads=2, fc=True).bfloat16()
    yield OneBlockINTR(3, "resnet18", dim=24, num_heads=3).double()
    yield INTR(4, "resnet18", **SIZES, fc=True)
    yield INTR(4, "patchnet", **SIZES, pre_norm=True).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "model", list(all_models()), ids=lambda m: f"{type(m).__name__}-{next(m.parameters()).dtype}"
)
def test_round_trip_is_exact(model, tmp_path):
    model.train()
    images = IMAGES.to(next(model.parameters()).dtype)
    model(images)  # moves BatchNorm's statistics away from where they start
    card = save(
        model,
        tmp_path / "deep" / "run.1",
        class_names=[f"<class> {i} é" for i in range(model.num_classes)],
        accuracy=0.5,
        seeds=[1, 2],
    )
    assert sorted(p.name for p in card.parent.iterdir()) == ["run.1.json", "run.1.safetensors"]
    again = load(tmp_path / "deep" / "run.1")
    assert type(again) is type(model) and again.config == model.config and not again.training
    assert again.class_names[1] == "<class> 1 é" and again.metadata == {"accuracy": 0.5, "seeds": [1, 2]}
    mine, its = model.state_dict(), again.state_dict()
    assert mine.keys() == its.keys() and all(
        v.equal(its[k]) and v.dtype == its[k].dtype for k, v in mine.items()
    )
    x, y = model.eval()(images, attention="all"), again(images, attention="all")
    assert_close(
        x.logits,
        y.logits,
        rtol=1e-6 if x.logits.dtype == torch.float32 else None,
        atol=1e-6 if x.logits.dtype == torch.float32 else None,
    )
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in again.parameters()]


@pytest.fixture
def kept(tmp_path):
    torch.manual_seed(0)
    save(OneBlockINTR(3, dim=16, num_heads=2), tmp_path / "birds", class_names=["robin", "wren", "tit"])
    return tmp_path / "birds"


def test_any_ending_will_do(kept):
    for path in (kept, str(kept), f"{kept}.json", f"{kept}.safetensors"):
        assert load(path).class_names == ["robin", "wren", "tit"]


def test_names_travel_on(kept, tmp_path):
    save(load(kept), tmp_path / "copy")
    assert load(tmp_path / "copy").class_names == ["robin", "wren", "tit"]


def test_saving_replaces(kept):
    new = OneBlockINTR(5, dim=16, num_heads=2)
    save(new, kept)
    assert load(kept).num_classes == 5 and load(kept).class_names is None


def spoil(kept, ending, change):
    file = kept.with_name(f"birds.{ending}")
    file.write_bytes(change(file.read_bytes()))


def edit(**changes):
    return lambda text: json.dumps(json.loads(text) | changes).encode()


BROKEN = {
    "tensors cut": (
        "safetensors",
        lambda b: b[:500],
        r"birds.safetensors' \(500 bytes\) is not the file that birds.json was saved with: truncated.*Copy both",
    ),
    "tensors empty": ("safetensors", lambda b: b"", r"\(0 bytes\) is not the file"),
    "a bit flipped": ("safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1]), r"is not the file"),
    "json cut": ("json", lambda b: b[:80], r"birds.json' \(80 bytes\) is truncated or no JSON"),
    "json empty": ("json", lambda b: b"", r"truncated or no JSON"),
    "json foreign": ("json", lambda b: b'{"format": "npm"}', r"was not written by intr_nb's `save`"),
    "json a list": ("json", lambda b: b"[]", r"was not written by intr_nb's `save`"),
    "json bytes": ("json", lambda b: bytes(range(256)), r"truncated or no JSON"),
    "newer": ("json", edit(version=2), r"version 2: this intr_nb reads version 1. Update"),
    "another kind": ("json", edit(model="Linear"), r"describes no model that this version can build.*Linear"),
    "unknown argument": ("json", edit(config=dict(num_classes=3, wings=2)), r"describes no model.*wings"),
    "bad argument": (
        "json",
        edit(config=dict(num_classes=3, dim=16, num_heads=5)),
        r"describes no model.*num_heads=5",
    ),
    "other class count": (
        "json",
        edit(config=dict(num_classes=4, dim=16, num_heads=2)),
        r"does not fit this OneBlockINTR: 1 of another shape \(block.queries \(3, 16\), not \(4, 16\)\)",
    ),
    "other class names": ("json", edit(class_names=["robin"]), r"1 class_names for a model of 3 classes"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_checkpoint(kept, what):
    ending, change, message = BROKEN[what]
    load(kept)
    spoil(kept, ending, change)
    with pytest.raises(ValueError, match=message):
        load(kept)


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_half_a_checkpoint(kept, ending):
    kept.with_name(f"birds.{ending}").unlink()
    with pytest.raises(FileNotFoundError, match=rf"no file .*birds.{ending}.*same name"):
        load(kept)


def snapshot(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def refuse(*args):
    raise PermissionError(13, "Permission denied")


FAULTS = {
    "no permission": lambda m: m.setattr(Path, "write_bytes", refuse),
    "no permission for the second": lambda m: m.setattr(
        Path,
        "write_bytes",
        lambda self, data, write=Path.write_bytes: (
            write(self, data) if ".safetensors" in self.name else refuse()
        ),
    ),
    "disk full midway": lambda m: m.setattr(
        Path, "write_bytes", lambda self, data, write=Path.write_bytes: write(self, data[:9]) and full()
    ),
    "moving fails": lambda m: m.setattr(os, "replace", refuse),
}


def full():
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_save_changes_nothing(kept, monkeypatch, fault):
    before = snapshot(kept.parent)
    with monkeypatch.context() as m:
        FAULTS[fault](m)
        with pytest.raises(
            OSError,
            match=r"birds\.\w+' can't be written \((Permission denied|No space left on device)\), nothing was changed. Choose a folder",
        ):
            save(OneBlockINTR(5, dim=16, num_heads=2), kept)
    assert snapshot(kept.parent) == before and load(kept).num_classes == 3


@pytest.mark.skipif(os.name != "posix", reason="needs folders that can be closed")
def test_a_closed_folder():
    "Root may write anywhere, so it plays nobody."
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name) / "closed", os.geteuid() == 0
        folder.mkdir(), folder.chmod(0o555), Path(name).chmod(0o755)
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(
                PermissionError,
                match=r"closed/birds.safetensors' can't be written \(Permission denied\), nothing was changed. Choose a folder",
            ):
                save(OneBlockINTR(3), folder / "birds")
        finally:
            if root:
                os.seteuid(0)
        assert not list(folder.iterdir())


def test_a_file_where_a_folder_should_be(kept):
    with pytest.raises(OSError, match="can't be written"):
        save(OneBlockINTR(3), kept.with_name("birds.json") / "birds")


def test_a_folder_where_a_file_should_be(tmp_path):
    (tmp_path / "birds.json").mkdir()
    with pytest.raises(OSError, match="birds.json' can't be written"):
        save(OneBlockINTR(3), tmp_path / "birds")
    assert [p.name for p in tmp_path.iterdir()] == ["birds.json"]


class Mine(nn.Module):
    num_channels, stride = 3, 2

    def forward(self, images):
        return images[:, :, ::2, ::2]


def test_what_can_not_be_kept(tmp_path):
    with pytest.raises(ValueError, match="2 class_names for a model of 3 classes"):
        save(OneBlockINTR(3), tmp_path / "a", class_names=["x", "y"])
    with pytest.raises(ValueError, match="the backbone, a Mine, has no `config`"):
        save(OneBlockINTR(3, Mine()), tmp_path / "a")
    with pytest.raises(TypeError, match="JSON"):
        save(OneBlockINTR(3), tmp_path / "a", accuracy=torch.ones(1))
    with pytest.raises(TypeError, match="Linear.*INTR, OneBlockINTR or PooledClassifier"):
        save(nn.Linear(1, 1), tmp_path / "a")
    assert not list(tmp_path.iterdir())


# -- backbones and the package --


def test_resnet_from_a_file(tmp_path):
    theirs = torchvision.models.resnet18().eval()
    for m in theirs.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean), nn.init.uniform_(m.running_var, 0.5, 1.5)
    (
        torch.save(theirs.state_dict(), tmp_path / "r18.pth"),
        safetensors.torch.save_file(theirs.state_dict(), tmp_path / "r18.safetensors"),
    )
    expected = nn.Sequential(*list(theirs.children())[:-2])(IMAGES)
    for ending in ("pth", "safetensors"):
        assert_close(
            ResNet("resnet18", weights=tmp_path / f"r18.{ending}")(IMAGES), expected, atol=1e-3, rtol=1e-3
        )
    with pytest.raises(ValueError, match=r"r18.pth' does not fit this Sequential: \d+ missing \(layer1.2"):
        ResNet("resnet34", weights=tmp_path / "r18.pth")


def test_pretrained_names_what_there_is():
    with pytest.raises(ValueError, match=r"no pretrained model is called 'sparrows': expected one of \["):
        pretrained("sparrows")


SHELF = sorted((Path(intr_nb.__file__).parent / "checkpoints").glob("*.json"))


@pytest.mark.parametrize("card", SHELF, ids=lambda p: p.stem)
def test_pretrained(card):
    model = pretrained(card.stem)
    assert (
        len(model.class_names) == model.num_classes and card.with_suffix(".safetensors").stat().st_size < 3e6
    )
    assert model(torch.zeros(1, 3, 96, 96)).logits.isfinite().all()
    assert not re.search(r"/(work|tmp|home|root)/", card.read_text())


def fails_for(ending, real=os.replace):
    def replace(a, b):
        if str(b).endswith(ending):
            refuse()
        real(a, b)

    return replace


@pytest.mark.parametrize("there", [True, False], ids=["over an old one", "nothing there"])
def test_the_second_move_fails(kept, monkeypatch, there):
    "As on Windows, where another program holds the file open: the first file is put back, or taken away."
    path = kept if there else kept.with_name("new")
    before = snapshot(kept.parent)
    with monkeypatch.context() as m:
        m.setattr(os, "replace", fails_for(f"{path.name}.json"))
        with pytest.raises(OSError, match="nothing was changed"):
            save(OneBlockINTR(5, dim=16, num_heads=2), path)
    assert snapshot(kept.parent) == before and load(kept).num_classes == 3


def test_a_disk_without_second_names(kept, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    test_the_second_move_fails(kept, monkeypatch, True)


def test_the_names_of_the_hub(tmp_path):
    torch.manual_seed(0)
    model = OneBlockINTR(3, dim=16, num_heads=2)
    save(model, tmp_path / "config.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert load(tmp_path / "config.json").block.queries.equal(model.block.queries)


@pytest.mark.parametrize(
    "backbone",
    [
        dict(name="resnet18", weights="/etc/passwd"),
        dict(name="resnet18", weights="IMAGENET1K_V1"),
        dict(name="hf-hub:someone/something"),
        dict(name="local-dir:/tmp"),
        dict(name="../x"),
        dict(name="timm/../x"),
        dict(name="/x"),
        dict(name="net", args=[dict(pretrained=True)]),
        dict(name="timm/vit", checkpoint_path="vit.pth"),
        dict(name="timm/vit", pretrained_cfg=dict(file="vit.pth")),
        dict(name="torchvision/vgg16", weights_backbone="DEFAULT"),
    ],
    ids=str,
)
def test_a_config_that_asks_for_files_or_the_network(kept, monkeypatch, backbone):
    monkeypatch.setattr(intr_nb.models.checkpoints, "OneBlockINTR", lambda **config: pytest.fail("was built"))
    spoil(kept, "json", edit(config=dict(num_classes=3, dim=16, num_heads=2, backbone=backbone)))
    with pytest.raises(ValueError, match="asks for more than a model's sizes.*Nothing was built"):
        load(kept)


@pytest.mark.parametrize(
    "backbone",
    ["resnet50", "timm/vit_small_patch16_224.augreg_in21k_ft_in1k", "torchvision/mobilenet_v2", "patchnet"],
)
def test_a_config_that_names_a_network(kept, backbone):
    spoil(
        kept,
        "json",
        edit(
            config=dict(
                num_classes=3,
                backbone=dict(
                    name=backbone,
                    stride=16,
                    mean=[0.5, 0.5, 0.5],
                    drop_path_rate=0.1,
                    pretrained=False,
                    act_layer="gelu",
                ),
            )
        ),
    )
    assert (
        intr_nb.models.checkpoints._read_card(kept.with_name("birds.json"))["config"]["backbone"]["name"]
        == backbone
    )


def test_the_full_decoder_that_ships_knows_its_birds_and_adds_up():
    from intr_nb.data.birds import Aviary
    from intr_nb.explanations.decomposition import decompose

    model, birds = pretrained("aviary16-full").double(), Aviary(64, seed=2)
    assert model.class_names == birds.class_names
    with torch.no_grad():
        said = model(torch.stack([birds[i][0] for i in range(32)]).double()).logits.argmax(1).tolist()
    assert sum(c == birds.label(i) for i, c in enumerate(said)) >= 30
    d = decompose(model, birds[24][0].double())
    assert (d.maps.sum((0, 1, 3, 4)) + d.residual - d.logits).abs().max() < 1e-9
