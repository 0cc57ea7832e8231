"""What people really pass, in one table: a case, what is done with it, and what must come of it.

What must come is an error, by its kind and words that its message holds, or the right answer. Cases with a
fixture of their own stand in the tests of their package.
"""

import hashlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from intr_nb.core.images import as_trained, pad_batch, read_picture, to_rgb
from intr_nb.data.birds import Aviary
from intr_nb.data.image_folders import ImageFolders
from intr_nb.data.photos import Photos
from intr_nb.evaluation.benchmark import evaluate_explanations
from intr_nb.evaluation.perturbation import insertion_deletion
from intr_nb.experiments.edits import load_edits
from intr_nb.explanations.class_activation import finer_cam, grad_cam
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.library_methods import integrated_gradients
from intr_nb.models.backbones import build_backbone
from intr_nb.models.checkpoints import load, pretrained, save
from intr_nb.models.hub import from_pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.official import load_official
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.pooled import PooledClassifier
from intr_nb.models.prediction import predict
from intr_nb.training.accuracy import evaluate
from intr_nb.training.features import cache_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

PICTURE = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)
RED = (200, 40, 60)
NAN, INF = float("nan"), float("inf")
SIZES = dict(num_classes=3, backbone=dict(name="patchnet", width=4, dim=8, stride=4), dim=8, num_heads=2)
RECIPE = Recipe(epochs=1, schedule="constant", batch_size=4)


# -- what is given --


def model():
    torch.manual_seed(0)
    made = OneBlockINTR(**SIZES).eval()
    made.class_names, made.metadata = ["ant", "bee", "cat"], dict(image_size=32)
    return made


def tensor(value=0.0, shape=(3, 32, 32), dtype=torch.float32):
    return torch.full(shape, value, dtype=dtype)


def red(name, mode="RGB", size=(30, 20), **how):
    "A red picture in a file"
    picture = Image.new("RGB", size, RED)
    picture = picture.quantize(8) if mode == "P" else picture.convert(mode)
    picture.save(name, **how)
    return name


def noise(name, keep=1.0):
    "A noisy picture in a file, of which only a share is kept"
    Image.fromarray(PICTURE.repeat(9, 0).repeat(9, 1)).save(name)
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[: int(len(data) * keep)])
    return name


def text(name, words=""):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(words if isinstance(words, bytes) else words.encode())
    return name


def turned(name, by):
    "A picture that the camera says is turned"
    exif = Image.Exif()
    exif[0x0112] = by
    Image.fromarray(PICTURE).save(name, exif=exif, quality=100)
    return name


def bomb(name, width=40_000, height=40_000):
    "A PNG of a few bytes that says that it has so many pixels"

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return text(name, b"\x89PNG\r\n\x1a\n" + body)


def animated(name):
    frames = [Image.new("RGB", (30, 20), c) for c in (RED, (0, 0, 255))]
    frames[0].save(name, save_all=True, append_images=frames[1:])
    return name


def folders(*classes, count=4, root="photos"):
    for c in classes:
        for i in range(count):
            Path(root, c).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), RED).save(Path(root, c, f"{i}.png"))
    return root


def table(*lines, header="path,label"):
    folders("ant", "bee")
    return text("photos/list.csv", "\n".join((header, *lines)))


def kept(**changes):
    "A checkpoint, whose JSON says something else in places"
    save(model(), "kept")
    said = json.loads(Path("kept.json").read_text()) | changes
    text("kept.json", json.dumps(said))
    return "kept"


def colour(picture):
    "The mean colour, if every pixel is near it"
    mean = picture.reshape(-1, 3).astype(float).mean(0)
    return "red" if np.abs(picture.astype(float) - RED).max() < 9 else mean.round().tolist()


def two(images=None, labels=(0, 1, 0, 1)):
    images = torch.rand(4, 3, 16, 16) if images is None else images
    return torch.utils.data.TensorDataset(images, torch.tensor(labels))


def renamed(name, other):
    Path(name).rename(other)
    return other


def deep(name, value):
    Image.fromarray(np.full((9, 9), value, np.uint16)).save(name)
    return name


def made(folder):
    Path(folder).mkdir()
    return folder


def wide():
    "A model of photographs that aren't square"
    made = model()
    made.metadata = dict(image_size=[32, 64])
    return made


def broken():
    made = model()
    made.block.w.weight.data.fill_(NAN)
    return made


def pooled():
    return PooledClassifier(3, dict(name="patchnet", width=4, dim=8, stride=4))


def as_it_is(picture):
    return picture


def ants(**how):
    return ImageFolders(folders("ant", "bee"), **how)


def gone(data):
    Path(data.train.name(0)).unlink()
    return data.train[0]


def listed(*lines, header="path,label"):
    return ImageFolders.from_csv(table(*lines, header=header), valid=0)


def in_inference_mode(method, **how):
    net = model()
    with torch.inference_mode():
        return tuple(method(net, tensor(0.1), **how).evidence.shape[1:])


def cached(data=None, **how):
    data = (data or two(), None)
    return cache_features(model().backbone, data, "features", **dict(views=1, progress=False) | how)


def spoiled(name, contents):
    cached(data := two())
    text(f"features/{name}", contents)
    return cached(data)


def pickled():
    np.save("pickled.npy", np.array([dict(a=1)]), allow_pickle=True)
    return Path("pickled.npy").read_bytes()


class Trojan:
    def __reduce__(self):
        return print, ("ran",)


def trojan(name):
    torch.save({"model": Trojan()}, name)
    return name


def tensors_in(name):
    torch.save({"model": {"a": torch.zeros(1)}}, name)
    return name


def cut(name, size):
    "A checkpoint, one of whose files ends after so many bytes"
    save(model(), "kept")
    Path(name).write_bytes(Path(name).read_bytes()[:size])
    return "kept"


def kept_text(words):
    save(model(), "kept")
    text("kept.json", words)
    return "kept"


def signed(numbers):
    "A checkpoint with these bytes in place of its tensors, and a JSON that says that they are right"
    kept(sha256=hashlib.sha256(numbers).hexdigest())
    text("kept.safetensors", numbers)
    return "kept"


def with_tensors(change):
    "A checkpoint whose tensors were changed, and whose JSON says that they are right"
    save(model(), "first")
    return signed(safetensors.torch.save(change(safetensors.torch.load_file("first.safetensors"))))


def train(data=None, recipe=RECIPE, net=None, **how):
    return fit(model() if net is None else net, (data or two(), None), recipe, progress=False, **how)


# -- the table: what is given, the call, and what must come of it --
# fmt: off

IMAGES = [
    ("JPEG cut in half", lambda: read_picture(noise("a.jpg", 0.5)), ValueError("ends too early, copy it again")),
    ("PNG cut in half", lambda: read_picture(noise("a.png", 0.5)), ValueError("ends too early, copy it again")),
    ("WebP cut in half", lambda: read_picture(noise("a.webp", 0.5)), ValueError("ends too early, copy it again")),
    ("GIF cut in half", lambda: read_picture(noise("a.gif", 0.5)), ValueError("ends too early, copy it again")),
    ("TIFF cut in half", lambda: read_picture(noise("a.tif", 0.5)), ValueError("ends too early, copy it again")),
    ("empty file", lambda: read_picture(text("a.jpg")), ValueError("'a.jpg' .* the file is empty, copy it again")),
    ("a page called .jpg", lambda: read_picture(text("a.jpg", "<html>404")),
     ValueError("not an image.*leave it out")),
    ("a drawing (SVG)", lambda: read_picture(text("a.svg", "<svg/>")), ValueError("not an image, or of a kind")),
    ("wrong ending", lambda: colour(read_picture(renamed(red("a.png"), "a.jpg"))), "red"),
    ("CMYK", lambda: colour(read_picture(red("a.jpg", "CMYK", quality=100))), "red"),
    ("16 bits", lambda: read_picture(deep("a.png", 51400)).max(), 200),
    ("16 bits that hold 12", lambda: read_picture(deep("a.png", 3000)), ValueError("3000.*12 bits.*by 16")),
    ("palette", lambda: colour(read_picture(red("a.png", "P"))), "red"),
    ("palette, its colour clear", lambda: colour(read_picture(red("a.png", "P", transparency=0))), [255] * 3),
    ("grey with alpha", lambda: colour(read_picture(red("a.png", "LA"))), [90] * 3),
    ("animated GIF: the first", lambda: colour(read_picture(animated("a.gif"))), "red"),
    ("animated WebP: the first", lambda: colour(read_picture(animated("a.webp"))), "red"),
    ("camera says: turned", lambda: read_picture(turned("a.jpg", 6)).shape, (30, 20, 3)),
    ("camera says nonsense", lambda: read_picture(turned("a.jpg", 99)).shape, (20, 30, 3)),
    ("1 x 1", lambda: read_picture(red("a.png", size=(1, 1))), ValueError("1 x 1 pixels: expected at least 8 x 8")),
    ("30,000 x 2", lambda: read_picture(red("a.png", size=(30_000, 2))),
     ValueError("30000 x 2 pixels: expected at")),
    ("30,000 x 8, made square", lambda: as_trained(model(), red("a.png", size=(30_000, 8))).shape, (3, 32, 32)),
    ("30,000 x 8, not square", lambda: predict(wide(), red("a.png", size=(30_000, 8))),
     ValueError("1 x 64 pixels: expected at least 4 x 4.*Enlarge")),
    ("decompression bomb", lambda: read_picture(bomb("a.png")), ValueError("1600000000 pixels.*Scale it down")),
    ("a folder", lambda: read_picture(folders("ant")), FileNotFoundError("a folder: give a list of its files")),
    ("no file", lambda: read_picture("a.jpg"), FileNotFoundError("no picture 'a.jpg'.*Check the path")),
    ("an address", lambda: read_picture("https://example.org/a.jpg"), FileNotFoundError("expected a file")),
    ("nothing", lambda: read_picture(None), TypeError("None is no path: expected a text")),
    ("a file's bytes", lambda: predict(model(), Path(red("a.png")).read_bytes()), TypeError("is a bytes: .*BytesIO")),
    ("an open file", lambda: predict(model(), open(red("a.png"), "rb")),
     TypeError("is a BufferedReader: expected a file")),
    ("rows of other lengths", lambda: to_rgb([[0], [0, 1]]), ValueError("a list is no picture: expected a file's")),
    ("array of texts", lambda: to_rgb(np.full((9, 9, 3), "a")), ValueError("ndarray is no picture")),
    ("array of objects", lambda: to_rgb(np.array([[object()] * 9] * 9)), ValueError("ndarray is no picture")),
    ("array, colours first", lambda: to_rgb(np.zeros((3, 20, 30), np.uint8)), ValueError("shape .3, 20, 30.: exp")),
    ("array, seven colours", lambda: to_rgb(np.zeros((9, 9, 7), np.uint8)),
     ValueError("shape .9, 9, 7.: expected")),
    ("array without rows", lambda: to_rgb(np.zeros((0, 9, 3), np.uint8)), ValueError("9 x 0 pixels.*empty crop")),
    ("array of NaN", lambda: to_rgb(np.full((9, 9), NAN)), ValueError("NaN or infinity: expected finite values")),
    ("array beyond 1", lambda: to_rgb(np.full((9, 9), 7.0)), ValueError("values 7 to 7: expected 0 to 1; divide")),
    ("array below 0", lambda: to_rgb(np.full((9, 9), -4)), ValueError("values -4 to -4: expected 8 bits")),
]

FOLDERS = [
    ("no folder", lambda: ImageFolders("none"), FileNotFoundError("no folder 'none': expected one that holds")),
    ("None", lambda: ImageFolders(None), TypeError("None is no path: expected a text")),
    ("a file", lambda: ImageFolders(text("a.txt")), FileNotFoundError("no folder 'a.txt'")),
    ("empty", lambda: ImageFolders(made("empty")), ValueError("found 0 classes.*two are needed")),
    ("one class", lambda: ImageFolders(folders("ant")), ValueError("found 1 classes of photographs .ant.")),
    ("a share of 1", lambda: ants(valid=1), ValueError("share is 1: expected 0 or more and less than 1")),
    ("a share as text", lambda: ants(valid="0.2"), ValueError("share is '0.2': expected 0 or more")),
    ("a transform that is none", lambda: ants(transforms=7), TypeError("transforms=7: expected a function")),
    ("one transform in a tuple", lambda: ants(transforms=(abs,)), TypeError("expected a function .* or a pair")),
    ("a transform to pictures", lambda: evaluate(model(), ants(transforms=as_it_is).train),
     TypeError("is a Image: expected a tensor .3, h, w.. Give the data set a transform")),
    ("names as one text", lambda: ants(class_names="ant"), ValueError("class_names='ant': expected a list")),
    ("names that lack one", lambda: ants(class_names=["ant", "cat"]),
     ValueError("class 'bee' that is not in class_n")),
    ("a photograph too many", lambda: ants().train[99], IndexError("photograph 99: there are 6, numbered from 0")),
    ("a part of too many", lambda: ants().train.subset([0, 99]), IndexError("photographs 0 to 99: there are 6")),
    ("a photograph that is gone", lambda: gone(ants()),
     FileNotFoundError("no picture .*ant.0.png'.*Check the path")),
    ("a label of no class", lambda: Photos(["a.png"], [7], ["a", "b"]), ValueError("label 7: expected 0 to 1")),
    ("labels for others", lambda: Photos(["a.png"], [0, 1], ["a", "b"]), ValueError("labels: 2 for 1 photographs")),
    ("none to predict", lambda: predict(model(), made("empty")), ValueError("no picture in 'empty' or below")),
]

TABLES = [
    ("no table", lambda: ImageFolders.from_csv("a.csv"), FileNotFoundError("no table 'a.csv'.*Check the path")),
    ("a data frame", lambda: ImageFolders.from_csv([1]), TypeError(r"\[1\] is no path: expected a text")),
    ("empty", lambda: listed(header=""), ValueError("has no column 'path'")),
    ("a spreadsheet's own file", lambda: ImageFolders.from_csv(text("a.xlsx", b"PK\3\4\xff")),
     ValueError("not UTF-8")),
    ("in UTF-16", lambda: ImageFolders.from_csv(text("a.csv", "path".encode("utf-16"))),
     ValueError("save it again as")),
    ("no rows", lambda: listed(), ValueError("photographs for nothing, none to train with")),
    ("a file that is not there", lambda: listed("ant/9.png,ant", "bee/0.png,bee"),
     ValueError("9.png' .no such file")),
    ("a folder in place of a file", lambda: listed("ant,ant", "bee/0.png,bee"),
     ValueError("ant' .a folder, no file")),
    ("an unquoted comma", lambda: listed("ant/0.png,ant, red"),
     ValueError("line 2: 3 cells for 2 columns.*quotes")),
    ("a quote never closed", lambda: listed('ant/0.png,"ant', "bee/0.png,b"),
     ValueError("line 2: a quote is opened")),
    ("a path out of the folder", lambda: listed("../a.png,ant", "bee/0.png,bee"),
     ValueError("lies outside.*root=")),
    ("a path from the root", lambda: listed("/etc/passwd,ant", "bee/0.png,bee"),
     ValueError("passwd' lies outside")),
    ("a path through a folder", lambda: listed("ant/../../a.png,a", "bee/0.png,b"), ValueError("lies outside of")),
    ("a path with a zero", lambda: listed("ant/\0.png,ant", "bee/0.png,bee"), ValueError("lies outside of")),
    ("the very same, but inside", lambda: listed("bee/../ant/0.png,ant", "bee/0.png,bee").class_names, ["ant", "bee"]),
    ("edits: no file", lambda: load_edits("a.json"), FileNotFoundError("no edits 'a.json'.*Check the path")),
    ("edits: broken", lambda: load_edits(text("a.json", "{")),
     ValueError("no list of edits.*what `save_edits` writes")),
    ("edits: brackets only", lambda: load_edits(text("a.json", "[" * 99_999)), ValueError("no list of edits")),
]

TENSORS = [
    ("NaN", lambda: predict(model(), tensor(NAN)),
     ValueError(r"images: \[0\].*NaN or infinite.*Check their files")),
    ("infinite", lambda: predict(model(), tensor(INF)), ValueError(r"images: \[0\] of this batch hold NaN or inf")),
    ("NaN among others", lambda: predict(model(), [tensor(), tensor(NAN)]),
     ValueError(r"images: \[1\] of this batch")),
    ("explained: NaN", lambda: explain(model(), tensor(NAN)), ValueError("NaN or infinite values")),
    ("two dimensions", lambda: predict(model(), tensor(shape=(32, 32))),
     ValueError("shape .32, 32.*one normalised pic")),
    ("five dimensions", lambda: predict(model(), tensor(shape=(2, 2, 3, 9, 9))),
     ValueError("expected one normalised")),
    ("colours last", lambda: predict(model(), tensor(shape=(32, 32, 3))),
     ValueError("expected one normalised picture")),
    ("four colours", lambda: predict(model(), tensor(shape=(4, 32, 32))),
     ValueError("expected one normalised picture")),
    ("whole numbers", lambda: predict(model(), tensor(0, dtype=torch.int64)),
     ValueError("torch.int64: expected one")),
    ("complex", lambda: predict(model(), tensor(dtype=torch.complex64)), ValueError("complex64: expected one")),
    ("double", lambda: predict(model(), tensor(dtype=torch.float64)).classes, predict(model(), tensor()).classes),
    ("pixels to 255", lambda: predict(model(), tensor(255.0)), ValueError("up to 255: are they pixels.*normalise")),
    ("explained: pixels to 255", lambda: explain(model(), tensor(255.0)), ValueError("up to 255: are they pixels")),
    ("no numbers (meta)", lambda: predict(model(), tensor().to("meta")),
     ValueError("without numbers .device 'meta'.")),
    ("explained: meta", lambda: explain(model(), tensor().to("meta")), ValueError("without numbers")),
    ("sparse", lambda: predict(model(), tensor().to_sparse()),
     ValueError("layout torch.sparse_coo: expected a dense")),
    ("empty", lambda: predict(model(), tensor(shape=(3, 0, 0))),
     ValueError("0 x 0 pixels: expected at least 4 x 4")),
    ("a mask as an array", lambda: explain(model(), tensor(), mask=np.zeros((32, 32), bool)).prediction, 0),
    ("a mask of another size", lambda: explain(model(), tensor(), mask=torch.zeros(5, 5).bool()),
     ValueError("mask: got")),
    ("a mask of floats", lambda: explain(model(), tensor(), mask=torch.zeros(32, 32)),
     ValueError("torch.float32, exp")),
    ("padding all over", lambda: explain(model(), tensor(), mask=torch.ones(32, 32).bool()),
     ValueError("padding all ov")),
    ("a batch without its dimension", lambda: model()(tensor()),
     ValueError(r"Make it a batch with images\[None\]")),
    ("bytes into a model", lambda: model()(tensor(0, (1, 3, 32, 32), torch.uint8)),
     ValueError("divide bytes by 255")),
    ("nothing to pad", lambda: pad_batch([]), ValueError(r"shapes \[\]: expected tensors .*at least one")),
    ("other ranks to pad", lambda: pad_batch([tensor(), tensor(shape=(9, 9))]),
     ValueError("expected tensors .3, h, w.")),
    ("padded to nothing", lambda: pad_batch([tensor()], multiple=0),
     ValueError("multiple=0: expected a whole number")),
    ("a map of NaN", lambda: insertion_deletion(model(), tensor(), tensor(NAN, (8, 8)), 0),
     ValueError("with NaN or")),
    ("a map of one dimension", lambda: insertion_deletion(model(), tensor(), torch.zeros(3), 0),
     ValueError("map of shape")),
    ("Grad-CAM in inference mode", lambda: in_inference_mode(grad_cam), (3, 8, 8)),
    ("Finer-CAM in inference mode", lambda: in_inference_mode(finer_cam), (3, 8, 8)),
    ("gradients in inference mode", lambda: in_inference_mode(integrated_gradients, steps=2), (3, 8, 8)),
]

ARGUMENTS = [
    ("no model", lambda: predict(None, PICTURE),
     TypeError("model is a NoneType: expected a torch module, such as load")),
    ("a name as model", lambda: predict("aviary16", PICTURE), TypeError("model is a str: expected a torch module")),
    ("a model without logits", lambda: predict(torch.nn.Conv2d(3, 3, 1), PICTURE),
     TypeError("expected an object with `logits`")),
    ("weights of NaN", lambda: predict(broken(), PICTURE),
     ValueError("logits for the pictures hold NaN.*Load it again")),
    ("a model without numbers", lambda: predict(model().to("meta"), tensor()),
     ValueError("'meta' hold no numbers")),
    ("explained: a linear layer", lambda: explain(torch.nn.Linear(1, 1), tensor()),
     TypeError("one that returns its atten")),
    ("explained: pooled", lambda: explain(pooled(), tensor()),
     TypeError("no attention to explain: take cam or grad_cam")),
    ("explained: half", lambda: explain(model().half(), tensor()),
     TypeError("parts can't add up in so few digits")),
    ("a class too many", lambda: explain(model(), tensor(), [7]),
     ValueError("no class 7. Expected an index from 0 to 2")),
    ("a class from the end", lambda: explain(model(), tensor(), [-1]), ValueError("no class -1")),
    ("a class nearly", lambda: explain(model(), tensor(), "ants"), ValueError("no class 'ants'.*perhaps 'ant'")),
    ("a class twice", lambda: explain(model(), tensor(), [0, 0]), ValueError("names a class twice")),
    ("no candidates", lambda: explain(model(), tensor(), candidates=[]),
     ValueError("candidates is empty: expected at least")),
    ("a class that does not compete", lambda: explain(model(), tensor(), [2], candidates=[0, 1]),
     ValueError("add them there")),
    ("an unknown reference", lambda: explain(model(), tensor(), reference="zero"),
     ValueError("expected 'raw', 'mean' or")),
    ("top 0", lambda: predict(model(), PICTURE, top=0), ValueError("top=0: expected a whole number, 1 or more")),
    ("batches of 0", lambda: evaluate(model(), two(), batch_size=0),
     ValueError("batch_size=0: expected a whole number")),
    ("-1 processes", lambda: evaluate(model(), two(), workers=-1),
     ValueError("workers=-1: expected a whole number")),
    ("Grad-CAM in batches of 0", lambda: grad_cam(model(), tensor(), batch_size=0),
     ValueError("batch_size=0: expected")),
    ("a layer of another model", lambda: grad_cam(model(), tensor(), layer=torch.nn.ReLU()),
     ValueError("is no part of")),
    ("methods without names", lambda: evaluate_explanations(model(), "cam", two()),
     TypeError("methods: expected a dict")),
    ("learn: no model", lambda: train(net=1),
     TypeError("model is a int: expected one with `num_classes` and `backbone`")),
    ("learn: a linear layer", lambda: train(net=torch.nn.Linear(1, 1)),
     TypeError("a Linear: expected one with `num_cl")),
    ("learn: three data sets", lambda: fit(model(), (two(),) * 3),
     ValueError("no training images in this tuple.*a pair")),
    ("learn: one data set", lambda: fit(model(), two()), ValueError("no training images in this TensorDataset")),
    ("learn: a dict as recipe", lambda: train(recipe=dict(epochs=1)), TypeError("expected a Recipe, such as")),
    ("learn: a folder that is a number", lambda: train(folder=3), TypeError("3 is no path: expected a text")),
    ("learn: a folder that is a file", lambda: train(folder=text("a.txt")),
     OSError("can't be written .*Choose a folder")),
    ("learn: processes as text", lambda: train(workers="2"), ValueError("workers='2': expected a whole number")),
    ("learn: seconds as text", lambda: train(save_every="5"), ValueError("save_every='5': expected seconds")),
    ("learn: device 'meta'", lambda: train(device="meta"), ValueError("device='meta': expected None")),
    ("learn: images without colours", lambda: train(two(torch.rand(4, 16, 16))),
     TypeError("image number 0 is torch.float32")),
    ("learn: images of 2 x 2", lambda: train(two(torch.rand(4, 3, 2, 2))),
     ValueError("2 x 2 pixels: expected at least")),
    ("learn: a model without numbers", lambda: train(net=model().to("meta")),
     ValueError("'meta' hold no numbers|no numbers")),
    ("features: 0 views", lambda: cached(views=0), ValueError("views=0: expected a whole number")),
    ("features: batches of 0", lambda: cached(batch_size=0), ValueError("batch_size=0: expected a whole number")),
    ("features: a cut file", lambda: spoiled("train.npy", b"\x93NUMPY"),
     ValueError("train.npy' is broken or gone.*again")),
    ("features: a pickled file", lambda: spoiled("train.npy", pickled()),
     ValueError("train.npy' is broken or gone")),
    ("features: half a note", lambda: spoiled("train.json", b"{"),
     ValueError("holds the features of another backbone")),
    ("features: another note", lambda: spoiled("train.json", b"[]"), ValueError("holds the features of another")),
    ("backbone: a number", lambda: build_backbone(3), ValueError("backbone=3: expected one of")),
    ("backbone: nearly", lambda: build_backbone("resnet19"), ValueError("close: resnet18")),
    ("backbone: an argument", lambda: build_backbone(dict(name="patchnet", wings=2)),
     TypeError("can't be built: .*wings")),
    ("one class", lambda: OneBlockINTR(1), ValueError("num_classes=1: expected a whole number, at least 2")),
    ("heads that don't divide", lambda: OneBlockINTR(3, dim=10, num_heads=3), ValueError("does not divide dim=10")),
    ("layers without end", lambda: INTR(3, decoder_layers=10**7),
     ValueError("decoder_layers=10000000: expected a whole")),
    ("-1 birds", lambda: Aviary(-1), ValueError("n=-1: expected a whole number, 1 or more")),
    ("a shipped model, nearly", lambda: pretrained("avary16"), ValueError("expected one of .'aviary16'")),
]

CHECKPOINTS = [
    ("no file", lambda: load("none"), FileNotFoundError("no file 'none.safetensors': a checkpoint is")),
    ("no path", lambda: load(None), TypeError("None is no path")),
    ("an empty path", lambda: load(""), TypeError("'' is no path")),
    ("a hostile name", lambda: pretrained("../../etc/passwd"), ValueError("no pretrained model is called")),
    ("a hostile folder", lambda: from_pretrained("../../no/such"),
     ValueError("is no file, no folder, and no repository")),
    ("a zero in the path", lambda: load("a\0b"), FileNotFoundError("no file")),
    ("tensors cut", lambda: load(cut("kept.safetensors", 500)),
     ValueError(r"\(500 bytes\) is not the file.*Copy both")),
    ("tensors empty", lambda: load(cut("kept.safetensors", 0)), ValueError(r"\(0 bytes\) is not the file that")),
    ("tensors of another model", lambda: load(kept(sha256="0" * 64)), ValueError("truncated, or of another model")),
    ("a pickle called safetensors", lambda: load(signed(pickled())),
     ValueError("truncated or no checkpoint: Safetensor")),
    ("a pickle with code", lambda: load_official(trojan("a.pth")),
     ValueError("could run code: refused, nothing in it ran")),
    ("an empty .pth", lambda: load_official(text("a.pth")), ValueError(r"'a.pth' \(0 bytes\) is truncated or no")),
    ("another .pth", lambda: load_official(tensors_in("a.pth")),
     ValueError("no INTR of the authors: it lacks query_emb")),
    ("JSON cut", lambda: load(cut("kept.json", 80)),
     ValueError(r"kept.json' \(80 bytes\) is truncated or no JSON")),
    ("JSON of brackets", lambda: load(kept_text("[" * 99_999)), ValueError("truncated or no JSON")),
    ("JSON of another program", lambda: load(kept_text('{"format": "npm"}')),
     ValueError("not written by intr_nb's")),
    ("JSON a list", lambda: load(kept_text("[]")), ValueError("not written by intr_nb's `save`")),
    ("JSON no text", lambda: load(kept_text(bytes(range(256)))), ValueError("truncated or no JSON")),
    ("a later version", lambda: load(kept(version=2)), ValueError("version 2: .* reads version 1. Update")),
    ("another kind of model", lambda: load(kept(model="Linear")), ValueError("describes no model.*Linear")),
    ("a list of kinds", lambda: load(kept(model=["INTR"])), ValueError("describes no model")),
    ("an unknown argument", lambda: load(kept(config=dict(num_classes=3, wings=2))),
     ValueError("describes no .*wings")),
    ("an argument that can't be", lambda: load(kept(config=dict(num_classes=-3))),
     ValueError("describes no model.*-3")),
    ("classes that are NaN", lambda: load(kept(config=dict(num_classes=NAN))),
     ValueError("describes no model.*nan")),
    ("more classes", lambda: load(kept(config=SIZES | dict(num_classes=4))),
     ValueError(r"block.queries \(3, 8\), not \(4, 8")),
    ("layers without end", lambda: load(kept(model="INTR", config=dict(num_classes=3, decoder_layers=10**9))),
     ValueError("describes no model.*decoder_layers")),
    ("weights from a file",
     lambda: load(kept(config=dict(num_classes=3, backbone=dict(name="resnet18", weights="/etc/a")))),
     ValueError("asks for more than a model's sizes.*Nothing was built")),
    ("names for others", lambda: load(kept(class_names=["ant"])),
     ValueError("1 class_names for a model of 3 classes")),
    ("names as one text", lambda: load(kept(class_names="abc")),
     ValueError("3 class_names .*expected a list of one")),
    ("a number of names", lambda: load(kept(class_names=3)), ValueError("3 class_names for a model")),
    ("metadata a list", lambda: load(kept(metadata=[1])), ValueError("not written by intr_nb's `save`")),
    ("a size that can't be", lambda: predict(load(kept(metadata=dict(image_size=10**9))), PICTURE),
     ValueError("image_size=1")),
    ("a tensor too few", lambda: load(with_tensors(lambda t: dict(list(t.items())[1:]))),
     ValueError("does not fit this .*missing")),
    ("a tensor too many", lambda: load(with_tensors(lambda t: t | {"x": torch.zeros(1)})),
     ValueError(r"1 unknown \(x\)")),
    ("tensors of another shape",
     lambda: load(with_tensors(lambda t: {k: v[:1] if v.dim() else v for k, v in t.items()})),
     ValueError("does not fit this OneBlockINTR: 27 of another shape")),
    ("tensors of whole numbers", lambda: load(with_tensors(lambda t: {k: v.int() for k, v in t.items()})),
     ValueError("whole numbers")),
    ("save: a folder of that name", lambda: save(model(), made("kept.json")[:4]),
     OSError("can't be written .it is a folder")),
    ("save: nowhere", lambda: save(model(), ""), TypeError("'' is no path")),
    ("save: a linear layer", lambda: save(torch.nn.Linear(1, 1), "a"),
     TypeError("Linear can't be kept: expected an")),
]

# fmt: on
PARTS = dict(
    image=IMAGES, folder=FOLDERS, table=TABLES, tensor=TENSORS, argument=ARGUMENTS, checkpoint=CHECKPOINTS
)
CASES = [pytest.param(*row[1:], id=f"{part}: {row[0]}") for part, rows in PARTS.items() for row in rows]


def test_the_table_is_long_enough_and_names_are_there_once():
    assert len(CASES) >= 80 and len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("call, expected", CASES)
def test_what_people_really_pass(call, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not isinstance(expected, Exception):
        assert call() == expected
        return
    with pytest.raises(type(expected), match=str(expected)) as error:
        call()
    assert len(str(error.value)) > 20 and "\n" not in str(error.value)
