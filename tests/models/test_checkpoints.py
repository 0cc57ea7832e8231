"""Our own checkpoints (exact, whole or not at all), and those in the package."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import intr_nb.models.checkpoints
from intr_nb.models.checkpoints import MODELS, load, pretrained, save
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.patchnet import PatchNet

SIZES = dict(dim=64, num_heads=4, encoder_layers=2, decoder_layers=3, ffn_dim=96)


IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


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
            match=r"birds\.\w+' can't be written \((Permission denied|No space left on device)\), "
            "nothing was changed. Choose a folder",
        ):
            save(OneBlockINTR(5, dim=16, num_heads=2), kept)
    assert snapshot(kept.parent) == before and load(kept).num_classes == 3


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
    with pytest.raises(TypeError, match="Linear.*one of INTR, OneBlockINTR, PooledClassifier, PromptCAM"):
        save(nn.Linear(1, 1), tmp_path / "a")
    assert not list(tmp_path.iterdir())


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
    monkeypatch.setitem(MODELS, "OneBlockINTR", lambda **config: pytest.fail("was built"))
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
        intr_nb.models.checkpoints._read_description(kept.with_name("birds.json"))["config"]["backbone"][
            "name"
        ]
        == backbone
    )


def test_the_full_decoder_that_ships_knows_its_birds_and_adds_up():
    from intr_nb.data.birds import Aviary
    from intr_nb.explanations.decomposer import decompose

    model, birds = pretrained("aviary16-full").double(), Aviary(64, seed=2)
    assert model.class_names == birds.class_names
    with torch.no_grad():
        said = model(torch.stack([birds[i][0] for i in range(32)]).double()).logits.argmax(1).tolist()
    assert sum(c == birds.label(i) for i, c in enumerate(said)) >= 30
    d = decompose(model, birds[24][0].double())
    assert (d.maps.sum((0, 1, 3, 4)) + d.residual - d.logits).abs().max() < 1e-9


# -- what can't come back is not kept --


def test_a_config_that_load_would_refuse_is_refused_by_save(tmp_path):
    model = OneBlockINTR(3, dim=16, num_heads=2)
    model.config["backbone"] = dict(name="timm/resnet18", pretrained=True)
    with pytest.raises(ValueError, match="can't be kept.*weights=True"):
        save(model, tmp_path / "a")
    model = OneBlockINTR(3, dim=16, num_heads=2)
    model.twin = torch.nn.Linear(2, 2, bias=False)
    model.twin.weight = model.block.w.weight
    with pytest.raises(ValueError, match="share one tensor"):
        save(model, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_no_pooling_of_timm_comes_back(tmp_path):
    model = OneBlockINTR(3, backbone=dict(name="timm/resnet10t", global_pool=""), dim=16, num_heads=2).eval()
    assert "" in model.backbone.config.values()
    save(model, tmp_path / "a")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(load(tmp_path / "a")(images).logits, model(images).logits)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert save(OneBlockINTR(3, dim=16, num_heads=2), "~/birds") == tmp_path / "birds.json"
    assert load("~/birds").num_classes == 3 and not (tmp_path / "~").exists()
