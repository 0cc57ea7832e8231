"""Models from and to the hub: real folders, a played hub, what is refused, what is escaped."""

import argparse
import dataclasses
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import huggingface_hub
import mistune
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from torch import nn
from torchvision.transforms import v2

import intr_nb.models.hub
from intr_nb.core.images import MEAN, STD, as_trained
from intr_nb.models.checkpoints import save
from intr_nb.models.hub import _AUTHORS, from_pretrained, push_to_hub, save_pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.official import _official_state
from intr_nb.models.one_block import OneBlockINTR

SIZES = dict(dim=32, num_heads=8, encoder_layers=1, decoder_layers=2, ffn_dim=48)
NAMES = ["robin", "wren", "tit"]


def make(num_classes=3, seed=0):
    torch.manual_seed(seed)
    return OneBlockINTR(num_classes, dim=16, num_heads=2)


def same(a, b):
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(v.equal(y[k]) for k, v in x.items())


def snapshot(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@dataclasses.dataclass(frozen=True)
class Recipe:
    epochs: int = 12
    lr: float = 1e-3


@pytest.fixture
def folder(tmp_path):
    return save_pretrained(
        make(),
        tmp_path / "birds",
        NAMES,
        data=dict(name="Garden birds", train=1200),
        recipe=Recipe(),
        figures=dict(accuracy=0.5),
        image_size=64,
        license="cc-by-4.0",
        notes="For tests.",
    )


# -- folders --


@pytest.mark.parametrize(
    "model", [make(), INTR(3, "resnet18", **SIZES, fc=True)], ids=lambda m: type(m).__name__
)
def test_round_trip_is_exact(model, tmp_path):
    model(torch.randn(2, 3, 64, 64))  # moves BatchNorm's statistics
    saved = save_pretrained(
        model,
        tmp_path / "deep" / "er",
        NAMES,
        data="Garden",
        figures=dict(accuracy=torch.tensor(0.25), top5=np.float32(0.5), n=3),
        image_size=(80, 100),
    )
    assert sorted(p.name for p in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for source in (saved, str(saved), saved / "config.json", saved / "model.safetensors"):
        again = from_pretrained(source)
        assert (
            type(again) is type(model)
            and same(model, again)
            and again.class_names == NAMES
            and not again.training
        )
        said = dict(again.metadata)
        assert said.pop("receptive_field")["radii"].keys() == {"50%", "95%"}
        assert said == dict(data="Garden", figures=dict(accuracy=0.25, top5=0.5, n=3), image_size=[80, 100])


def test_what_is_known_travels_on(folder, tmp_path):
    save_pretrained(from_pretrained(folder), tmp_path / "copy", figures=dict(accuracy=0.75))
    again = from_pretrained(tmp_path / "copy")
    assert again.class_names == NAMES and again.metadata == from_pretrained(folder).metadata | dict(
        figures=dict(accuracy=0.75)
    )
    assert again.metadata["recipe"] == dict(epochs=12, lr=1e-3)


def test_where_it_started_travels_on(tmp_path):
    model = make()
    model.start = "Start from a test"
    save_pretrained(model, tmp_path)
    assert (
        from_pretrained(tmp_path).metadata["start"] == "Start from a test"
        and "Start from a test" in (tmp_path / "README.md").read_text()
    )


def test_files_of_save_and_of_the_authors(tmp_path):
    save(make(), tmp_path / "run", NAMES)
    assert same(from_pretrained(tmp_path / "run.safetensors"), make())
    full = INTR(4, "resnet18", **SIZES)
    torch.save(
        {"model": _official_state(full), "args": argparse.Namespace(nheads=8)},
        tmp_path / "intr_checkpoint_bird_detr_r50.pth",
    )
    for model in (
        from_pretrained(tmp_path / "intr_checkpoint_bird_detr_r50.pth"),
        from_pretrained(tmp_path, "bird"),
    ):
        assert same(model, full) and model.class_names is None and model.metadata["image_size"] == [800, 1333]


def test_saving_again_replaces(folder):
    (folder / "notes.txt").write_text("mine")
    save_pretrained(make(4), folder)
    assert from_pretrained(folder).num_classes == 4 and (folder / "notes.txt").read_text() == "mine"


def test_every_part_of_the_folder_or_none(folder, monkeypatch):
    before, real = snapshot(folder), os.replace
    for broken in ("README.md", "config.json"):

        def replace(a, b, broken=broken):
            if str(b).endswith(broken):
                raise PermissionError(13, "Permission denied")
            real(a, b)

        with monkeypatch.context() as m:
            m.setattr(os, "replace", replace)
            with pytest.raises(OSError, match=f"{broken}' can't be written.*nothing was changed"):
                save_pretrained(make(5), folder)
        assert snapshot(folder) == before


OTHERS = {
    "README.md": "# My project",
    "config.json": '{"architectures": ["Bert"]}',
    "model.safetensors": "weights",
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_folder_of_something_else(tmp_path, name):
    (tmp_path / name).write_text(OTHERS[name])
    with pytest.raises(
        FileExistsError, match=rf"holds {name} that save_pretrained did not write: nothing was changed"
    ):
        save_pretrained(make(), tmp_path)
    assert snapshot(tmp_path) == {name: OTHERS[name].encode()}


WRONG = {
    "a word for a number": (dict(figures=dict(accuracy="high")), ValueError, "figures="),
    "NaN": (dict(figures=dict(accuracy=float("nan"))), ValueError, "figures="),
    "a list of figures": (dict(figures=[0.5]), ValueError, "figures="),
    "a recipe that JSON can't hold": (
        dict(recipe=dict(device=torch.device("cpu"))),
        TypeError,
        "recipe=.*can't be kept",
    ),
    "too few names": (dict(class_names=["x"]), ValueError, "1 class_names for a model of 3"),
    **{
        f"size {s}": (dict(image_size=s), ValueError, "image_size=")
        for s in (0, -5, "224", 2.5, [224], [800, 800], [1333, 800], [1, 2, 3], True)
    },
}


@pytest.mark.parametrize("what", WRONG)
def test_what_can_not_be_said(tmp_path, what):
    about, kind, message = WRONG[what]
    with pytest.raises(kind, match=message):
        save_pretrained(make(), tmp_path / "new", **about)
    assert not (tmp_path / "new").exists()


# -- the card --


def test_the_card(folder):
    card = ModelCard.load(folder / "README.md")
    about = card.data.to_dict()
    assert (about["library_name"], about["license"], about["pipeline_tag"], about["metrics"]) == (
        "intr_nb",
        "cc-by-4.0",
        "image-classification",
        ["accuracy"],
    )
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.dataset_type, result.metric_type, result.metric_value) == (
        "Garden birds",
        "garden-birds",
        "accuracy",
        0.5,
    )
    for said in (
        "For tests.",
        "| train | 1200 |",
        "| epochs | 12 |",
        "| accuracy | 0.5 |",
        "Squares of 64 x 64",
        "robin, wren, tit",
        'from_pretrained("birds")',
    ):
        assert said in card.text, said


def test_a_card_of_little(tmp_path):
    save_pretrained(make(), tmp_path / "x")
    text = (tmp_path / "x" / "README.md").read_text()
    assert (
        text.count("Not stated") == 4
        and "numbered from 0" in text
        and "license" not in text
        and "model-index" not in text
    )


class Page(HTMLParser):
    "What a browser makes of Markdown in which HTML is allowed."

    def __init__(self, markdown):
        super().__init__()
        self.tags, self.links, self.titles, self.cells, self.text = set(), set(), 0, 0, ""
        self.feed(mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "math"])(markdown))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links |= {v for k, v in attrs if k in ("href", "src")}
        self.titles += tag in ("h1", "h2")
        self.cells += tag in ("td", "th")

    def handle_data(self, data):
        self.text += data


EVIL = [
    "<script>alert(1)</script>",
    "a | b",
    "*bold* _it_",
    "`x`\n---\nlicense: evil\n---",
    "[click](javascript:x)",
    "![](http://x/y.png)",
    "# Title",
    "é: 'ü' \"q\" \\",
    "---",
    "{{ x }} {% y %}",
    "$x$",
    "&lt;b&gt;",
]


def test_names_are_escaped(tmp_path):
    evil = "\n".join(EVIL)
    save_pretrained(
        make(len(EVIL)),
        tmp_path / "x",
        EVIL,
        data={"name": evil, **dict.fromkeys(EVIL, "v")},
        recipe={e: e for e in EVIL},
        figures={e: 1.0 for e in EVIL},
        notes=evil,
        license="mit",
    )
    card = ModelCard.load(tmp_path / "x" / "README.md")
    assert (
        card.data.license == "mit"
        and {r.dataset_name for r in card.data.eval_results} == {evil}
        and [r.metric_type for r in card.data.eval_results] == EVIL
    )
    page = Page(card.text)
    assert page.tags == {
        "h1",
        "h2",
        "p",
        "a",
        "pre",
        "code",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    } and page.links == {"https://github.com/intr-nb/intr_nb", "https://arxiv.org/abs/2311.04157"}
    assert page.titles == 9 and page.cells == 2 * (4 + 1 + 3 * len(EVIL) + len(make().config))
    for name in EVIL:
        assert page.text.count(" ".join(name.split())) >= 5, name
    assert from_pretrained(tmp_path / "x").class_names == EVIL


def test_the_folders_name_can_not_leave_the_code(tmp_path):
    text = (save_pretrained(make(), tmp_path / 'a"); import os #') / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    assert 'from_pretrained("a\\"); import os #")' in code


# -- refused --


def spoil(folder, **changes):
    (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | changes)
    )


REFUSED = {
    "a file for weights": (
        dict(
            config=dict(
                num_classes=3, dim=16, num_heads=2, backbone=dict(name="resnet18", weights="/etc/passwd")
            )
        ),
        "asks for more",
    ),
    "an address": (
        dict(config=dict(num_classes=3, dim=16, num_heads=2, backbone=dict(name="hf-hub:x/y"))),
        "asks for more",
    ),
    "an argument that is none": (
        dict(config=dict(num_classes=3, dim=16, num_heads=2, hook="os.system")),
        "describes no model.*hook",
    ),
    "another class": (dict(model="Popen"), "describes no model.*Popen"),
    "config is a list": (dict(config=[1]), "asks for more"),
    "an unknown backbone": (
        dict(config=dict(num_classes=3, dim=16, num_heads=2, backbone=dict(name="vgg"))),
        "describes no model.*vgg",
    ),
    "other tensors": (dict(sha256="0" * 64), "not the file that config.json was saved with"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_config_that_asks_for_unknown_things(folder, what):
    changes, message = REFUSED[what]
    spoil(folder, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(folder)


def test_half_a_folder(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no config.json.*name= one of"):
        from_pretrained(folder)


class Trojan:
    def __reduce__(self):
        return print, ("ran",)


def test_a_pickle_with_code(tmp_path, capsys):
    torch.save({"model": Trojan()}, tmp_path / "intr_checkpoint_cub_detr_r50.pth")
    with pytest.raises(ValueError, match="could run code: refused"):
        from_pretrained(tmp_path, "cub")
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "source", ["birdz", "a/b/c", "../../etc", "https://x/y", "a b/c", "", "x/y.git", "/nowhere/birds"]
)
def test_no_source(source, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises((ValueError, FileNotFoundError), match="is no file|no config.json"):
        from_pretrained(source)


def test_names_of_models():
    for name in (None, "cup"):
        with pytest.raises(ValueError, match=r"'imageomics/INTR' with name=.*\['cub', 'bird', 'butterfly'\]"):
            from_pretrained("imageomics/INTR", name)
    with pytest.raises(ValueError, match="name='cub' goes with"):
        from_pretrained("someone/else", "cub")
    with pytest.raises(ValueError, match=r"a start, no trained model: load_detr\(num_classes"):
        from_pretrained("detr_resnet50")


# -- the hub, played --


@pytest.fixture
def offline(monkeypatch):
    "The hub's own client, told that there is no network."
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    "source, name, file",
    [
        ("imageomics/INTR", "cub", _AUTHORS["imageomics/INTR"]["cub"]),
        ("someone/birds", None, "config.json and model.safetensors"),
    ],
)
def test_offline(offline, tmp_path, source, name, file):
    with pytest.raises(
        FileNotFoundError,
        match=rf"(?s){source} (could not be had|has no).*"
        rf"download {file} from https://huggingface.co/{source}/tree/main.*folder=.*HF_HOME.*hf auth login",
    ):
        from_pretrained(source, name, folder=tmp_path / "here")


def test_a_folder_serves_without_a_network(offline, tmp_path, folder):
    full = INTR(4, "resnet18", **SIZES)
    torch.save(
        {"model": _official_state(full), "args": argparse.Namespace(nheads=8)},
        tmp_path / _AUTHORS["imageomics/INTR"]["butterfly"],
    )
    assert same(from_pretrained("imageomics/INTR", "butterfly", folder=tmp_path), full)
    assert same(from_pretrained("someone/birds", folder=folder), make())


def test_the_hubs_cache_serves_without_a_network(offline, tmp_path, monkeypatch, folder):
    "The layout of HF_HOME/hub, as the client leaves it."
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo, commit = tmp_path / "cache" / "models--someone--birds", "0123456789abcdef0123456789abcdef01234567"
    (repo / "snapshots").mkdir(parents=True), (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit), folder.rename(repo / "snapshots" / commit)
    assert same(
        intr_nb.models.hub.load(
            intr_nb.models.hub._hub_folder("someone/birds", ["config.json"]) / "config.json"
        ),
        make(),
    )
    assert same(from_pretrained("someone/birds"), make())


def test_what_is_asked_of_the_hub(monkeypatch, folder):
    asked = []

    def download(repo_id, **options):
        asked.append((repo_id, options))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert same(from_pretrained("someone/birds", revision="v1"), make())
    assert asked == [
        (
            "someone/birds",
            dict(revision="v1", local_dir=None, allow_patterns=["config.json", "model.safetensors"]),
        )
    ]
    with pytest.raises(FileNotFoundError, match="imageomics/INTR has no intr_checkpoint_cub"):
        from_pretrained("imageomics/INTR", "cub")


class PlayedHub:
    def __init__(self, fault=None):
        self.calls, self.fault = [], fault

    def create_repo(self, repo_id, **options):
        self.calls.append(("create", repo_id, options))
        if self.fault:
            raise self.fault
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.calls.append(("upload", repo_id, commit_message, snapshot(Path(folder_path))))


def test_push(tmp_path, monkeypatch):
    api = PlayedHub()
    assert (
        push_to_hub(
            make(),
            "someone/birds",
            NAMES,
            private=True,
            message="First",
            api=api,
            data="Garden",
            figures=dict(accuracy=0.5),
        )
        == "https://huggingface.co/someone/birds"
    )
    create, upload = api.calls
    assert create == ("create", "someone/birds", dict(private=True, exist_ok=True)) and upload[:3] == (
        "upload",
        "someone/birds",
        "First",
    )
    assert (
        sorted(upload[3]) == ["README.md", "config.json", "model.safetensors"]
        and b'from_pretrained("someone/birds")' in upload[3]["README.md"]
    )
    for name, data in upload[3].items():
        (tmp_path / name).write_bytes(data)
    assert same(from_pretrained(tmp_path), make()) and from_pretrained(tmp_path).metadata["data"] == "Garden"


def test_push_asks_the_real_client_as_it_can_be_asked():
    "The played hub takes what the real one takes."
    import inspect

    for method, options in (
        (huggingface_hub.HfApi.create_repo, dict(private=True, exist_ok=True)),
        (huggingface_hub.HfApi.upload_folder, dict(folder_path="x", commit_message="y")),
    ):
        inspect.signature(method).bind(None, repo_id="a/b", **options)


@pytest.mark.parametrize("bad", ["birds", "a/b/c", "https://x/y", "a b/c"])
def test_push_to_no_repository(bad):
    api = PlayedHub()
    with pytest.raises(ValueError, match="owner/name"):
        push_to_hub(make(), bad, api=api)
    assert not api.calls


def test_nothing_is_created_for_what_can_not_be_kept():
    api = PlayedHub()
    with pytest.raises(ValueError, match="class_names"):
        push_to_hub(make(), "a/b", ["x"], api=api)
    with pytest.raises(TypeError, match="Linear"):
        push_to_hub(nn.Linear(1, 1), "a/b", api=api)
    assert not api.calls


def test_push_without_permission():
    with pytest.raises(
        OSError, match="a/b was not uploaded .PermissionError: no.*hf auth login.*hf upload a/b folder"
    ):
        push_to_hub(make(), "a/b", api=PlayedHub(PermissionError("no")))


# -- the pictures a model expects --


def pictures():
    a = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)
    return {"array": a, "PIL": Image.fromarray(a), "tall": a.transpose(1, 0, 2).copy()}


@pytest.mark.parametrize("which", pictures())
@pytest.mark.parametrize("size", [None, 64, [40, 50], [60, 200]], ids=str)
def test_as_trained_is_torchvisions_resize(size, which):
    "The same pixels as torchvision's transforms give, with which models are trained."
    model, picture = make(), pictures()[which]
    model.metadata = dict(image_size=size)
    resize = (
        []
        if size is None
        else [v2.Resize((size, size))]
        if isinstance(size, int)
        else [v2.Resize(size[0], max_size=size[1])]
    )
    expected = v2.Compose(
        [v2.ToImage(), *resize, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )(picture)
    torch.testing.assert_close(as_trained(model, picture), torch.Tensor(expected), atol=1e-5, rtol=1e-5)


def test_as_trained_of_files_and_tensors(tmp_path):
    model, a = make(), pictures()["array"]
    Image.fromarray(a).save(tmp_path / "a.png")
    assert as_trained(model, tmp_path / "a.png").equal(as_trained(model, a)) and as_trained(
        model, str(tmp_path / "a.png")
    ).shape == (3, 90, 140)
    x = torch.randn(3, 20, 30)
    assert as_trained(model, x) is x
    turned = Image.fromarray(a)
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was held upright
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert as_trained(model, tmp_path / "turned.jpg").shape == (3, 140, 90)


def test_pictures_that_can_not_be_read(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    Image.fromarray(pictures()["array"]).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    for name in ("empty.jpg", "half.png"):
        with pytest.raises(ValueError, match=f"{name}' can't be read as a picture"):
            as_trained(make(), tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no picture .*nothing.jpg'.*Check the path"):
        as_trained(make(), tmp_path / "nothing.jpg")
    with pytest.raises(FileNotFoundError, match="this is a folder"):
        as_trained(make(), tmp_path)


def test_a_size_that_is_none(folder):
    spoil(folder, metadata=dict(image_size="big"))
    with pytest.raises(ValueError, match="image_size='big'"):
        as_trained(from_pretrained(folder), pictures()["array"])
