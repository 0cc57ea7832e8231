"""INTR started from DETR's checkpoint: what is taken, dropped and made; which files are refused, and where
they are."""

import argparse
import urllib.error

import pytest
import torch
from torch import nn

import intr_nb.models.detr
from intr_nb.models.detr import _DETR, _DETR_URL, load_detr
from intr_nb.models.intr import INTR
from intr_nb.models.official import _official_state

SIZES = dict(dim=32, num_heads=8, encoder_layers=1, decoder_layers=2, ffn_dim=48)
HEADS = {
    "class_embed": (92, 32),
    "bbox_embed.layers.0": (32, 32),
    "bbox_embed.layers.1": (32, 32),
    "bbox_embed.layers.2": (4, 32),
}


def make_detr(num_queries=100, **sizes):
    "The names and shapes of DETR's file, small."
    torch.manual_seed(1)
    model = INTR(num_queries, "resnet18", **SIZES | sizes)
    for b in model.buffers():
        nn.init.uniform_(b, 0.5, 1.5)  # frozen norms are born alike
    state = {
        k: v.detach().clone()
        for k, v in _official_state(model).items()
        if not k.startswith("presence_vector")
    }
    for k, (o, i) in HEADS.items():
        state |= {f"{k}.weight": torch.randn(o, i), f"{k}.bias": torch.randn(o)}
    return state


@pytest.fixture(scope="module")
def detr():
    return make_detr()


def test_the_names_are_those_of_the_real_file():
    "DETR-R50 has 458 tensors; ours are theirs, less 8 of the heads, plus 2 of the presence vector."
    with torch.device("meta"):
        ours = _official_state(INTR(100))
    assert len(ours) - 2 + 2 * len(HEADS) == 458
    assert ours["query_embed.weight"].shape == (100, 256) and ours[
        "transformer.decoder.layers.5.multihead_attn.in_proj_weight"
    ].shape == (768, 256)


@pytest.mark.parametrize("num_classes", [2, 99, 100, 101, 200, 525])
def test_queries(detr, num_classes):
    asks = detr["query_embed.weight"]
    made = load_detr(num_classes, detr).query_embed.weight
    assert made.shape == (num_classes, 32) and made[:100].equal(asks[:num_classes])
    noise = made[100:] - asks.repeat(6, 1)[100:num_classes]
    if num_classes > 101:
        assert abs(noise.std() - 0.1) < 0.01 and abs(noise.mean()) < 0.02
    assert num_classes <= 100 or noise.abs().max() > 0


def test_what_is_taken(detr):
    model = load_detr(200, detr)
    state = _official_state(model)
    taken = {k for k in detr if not k.startswith(("class_embed", "bbox_embed", "query_embed"))}
    assert all(state[k].equal(detr[k]) for k in taken) and set(state) - taken == {
        "query_embed.weight",
        "presence_vector.weight",
        "presence_vector.bias",
    }
    assert sum(model.start.taken.values()) == len(taken) and set(model.start.taken) == {
        "backbone",
        "input_proj",
        "encoder",
        "decoder",
    }
    assert sorted(model.start.dropped) == sorted(f"{k}.{p}" for k in HEADS for p in ("weight", "bias"))
    assert "noise on the last 100 (seed 0)" in repr(model.start) and "38 of decoder" in repr(model.start)
    assert (
        not model.presence_vector.bias.any() and model.presence_vector.weight.abs().max() <= (6 / 33) ** 0.5
    )
    assert model(torch.randn(1, 3, 64, 64)).logits.shape == (1, 200) and not model.training
    assert all(p.requires_grad for p in model.parameters())


def test_seeds(detr):
    a, b, c = (load_detr(120, detr, seed=s).state_dict() for s in (0, 0, 1))
    assert all(v.equal(b[k]) for k, v in a.items())
    assert {k for k, v in a.items() if not v.equal(c[k])} == {"query_embed.weight", "presence_vector.weight"}
    state = torch.random.get_rng_state()
    load_detr(120, detr)
    assert torch.random.get_rng_state().equal(state), "took from the global generator"


def test_the_checkpoint_is_left_alone(detr):
    before = {k: v.clone() for k, v in detr.items()}
    model = load_detr(150, detr)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert detr.keys() == before.keys() and all(v.equal(before[k]) for k, v in detr.items())


def test_intr_fc(detr):
    model = load_detr(5, detr, fc=True)
    assert model.fc and model.presence_vector.weight.shape == (5, 32)


def test_arguments_in_the_file(detr, tmp_path):
    torch.save(
        {
            "model": {f"module.{k}": v for k, v in detr.items()},
            "args": argparse.Namespace(nheads=4, dropout=0.25, pre_norm=False, num_queries=100),
        },
        tmp_path / "mine.pth",
    )
    model = load_detr(5, tmp_path / "mine.pth")
    assert (
        model.num_heads == 4
        and model.config["dropout"] == 0.25
        and repr(model.start).startswith("Start from mine.pth\n")
    ), "a folder's name may be private"


def test_a_detr_of_300_queries():
    model = load_detr(301, make_detr(300))
    assert "300 object queries repeated, with noise on the last 1 " in repr(model.start)


WRONG = {
    "an INTR": (
        lambda s: s | {"presence_vector.weight": torch.zeros(1, 32)},
        "an INTR already: `load_official`",
    ),
    "transformers' names": (
        lambda s: {
            "model.query_position_embeddings.weight": torch.zeros(100, 256),
            "class_labels_classifier.weight": torch.zeros(92, 256),
        },
        r"names of the transformers library.*detr-r50-e632da11",
    ),
    "a ResNet": (
        lambda s: {"conv1.weight": torch.zeros(1)},
        r"no DETR: expected query_embed.weight.*conv1.weight",
    ),
    "panoptic": (lambda s: {f"detr.{k}": v for k, v in s.items()}, "no DETR.*which are detr.backbone"),
    "dilated": (lambda s: {"model": s, "args": {"dilation": True}}, "DETR-DC5.*stride 32"),
    "other dim of the queries": (
        lambda s: s | {"query_embed.weight": torch.zeros(100, 24)},
        r"does not fit this INTR: .*presence_vector.weight \(1, 24\), not \(1, 32\)",
    ),
    "flat queries": (lambda s: s | {"query_embed.weight": torch.zeros(100)}, "no DETR"),
    "a layer short": (
        lambda s: {k: v for k, v in s.items() if "decoder.layers.1.norm2" not in k},
        r"2 missing \(transformer.decoder.layers.1.norm2",
    ),
    "a mask head": (
        lambda s: s | {"mask_head.lay1.weight": torch.zeros(1)},
        r"1 unknown \(mask_head.lay1.weight\)",
    ),
    "no backbone": (lambda s: {k: v for k, v in s.items() if "backbone" not in k}, "backbone with"),
    "no projection": (
        lambda s: {k: v for k, v in s.items() if "input_proj" not in k},
        "lacks input_proj.weight",
    ),
    "nothing": (lambda s: {}, "no DETR"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_checkpoints(detr, what):
    make, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        load_detr(5, make(dict(detr)))


def test_dc5_by_the_name_of_its_file(detr, tmp_path):
    for folder, name in (("dc5", "detr-r50.pth"), ("x", "detr-r50-dc5-f0fb7ef5.pth")):
        (tmp_path / folder).mkdir()
        torch.save({"model": detr}, tmp_path / folder / name)
    assert load_detr(5, tmp_path / "dc5" / "detr-r50.pth").num_classes == 5
    with pytest.raises(ValueError, match="DETR-DC5"):
        load_detr(5, tmp_path / "x" / "detr-r50-dc5-f0fb7ef5.pth")


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.5, "cub", None], ids=str)
def test_number_of_classes(detr, num_classes):
    with pytest.raises(ValueError, match="num_classes=.*a whole number, 2 or more"):
        load_detr(num_classes, detr)


class Trojan:
    def __reduce__(self):
        return print, ("ran",)


def test_a_pickle_with_code(tmp_path, capsys):
    torch.save({"model": Trojan()}, tmp_path / "detr.pth")
    with pytest.raises(ValueError, match="could run code: refused"):
        load_detr(5, tmp_path / "detr.pth")
    assert not capsys.readouterr().out


# -- where the file comes from --


@pytest.fixture
def offline(monkeypatch):
    asked = []

    def download(url, dst, hash_prefix=None, progress=True):
        asked.append((url, dst, hash_prefix))
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return asked


@pytest.mark.parametrize("name", _DETR)
def test_offline(offline, tmp_path, name):
    with pytest.raises(
        FileNotFoundError,
        match=rf"{_DETR[name]} is not in .*new.*no route to host.*"
        rf"download {_DETR_URL}{_DETR[name]} .*put it into that folder.*folder=",
    ):
        load_detr(200, name, folder=tmp_path / "new")
    assert offline == [
        (
            _DETR_URL + _DETR[name],
            str(tmp_path / "new" / _DETR[name]),
            _DETR[name].split("-")[-1].removesuffix(".pth"),
        )
    ]


def test_a_folder_and_the_cache_of_torch_hub(offline, monkeypatch, detr, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for folder in (tmp_path / "checkpoints", tmp_path / "mine"):
        folder.mkdir()
        torch.save({"model": detr}, folder / _DETR["detr_resnet50"])
    assert load_detr(5).num_classes == load_detr(5, folder=tmp_path / "mine").num_classes == 5
    assert not offline


def test_a_download(monkeypatch, detr, tmp_path):
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda url, dst, hash_prefix: torch.save({"model": detr}, dst)
    )
    assert (
        load_detr(5, folder=tmp_path / "a" / "b").num_classes == 5
        and (tmp_path / "a" / "b" / _DETR["detr_resnet50"]).is_file()
    )


def test_a_wrong_checksum(monkeypatch, tmp_path):
    "torch.hub's own check, on a file:// address, so no network."
    (tmp_path / _DETR["detr_resnet50"]).write_bytes(b"not DETR")
    monkeypatch.setattr(intr_nb.models.detr, "_DETR_URL", f"{tmp_path.as_uri()}/")
    with pytest.raises(FileNotFoundError, match="invalid hash value"):
        load_detr(5, folder=tmp_path / "new")
    assert not list((tmp_path / "new").iterdir()), "half a download was left"


def test_neither_name_nor_file(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"checkpoint='detr_resnet18': no such file, and not one of \['detr_resnet50', 'detr_resnet101'\]",
    ):
        load_detr(5, "detr_resnet18")
