"""Networks of prototypes: sums and paths, projection and its memory, files, browsers, what they can't be built from."""

import copy

import pytest
import torch
from torch.testing import assert_close

from intr_nb.browsers.evidence_browser import EvidenceBrowser
from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.evaluation.benchmark import evaluate_explanations
from intr_nb.evaluation.metrics import METRICS
from intr_nb.experiments.ablation import intervene
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.methods import METHODS, methods_for
from intr_nb.explanations.prototype_maps import plot_prototypes, similarity
from intr_nb.models.checkpoints import load, save
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.prediction import predict
from intr_nb.models.protopformer import ProtoPFormer, _background
from intr_nb.models.protopnet import ProtoPNet
from intr_nb.models.prototree import ProtoTree
from intr_nb.training.features import cache_features
from intr_nb.training.loop import fit
from intr_nb.training.projection import project_prototypes
from intr_nb.training.recipe import Recipe

PATCHNET = dict(name="patchnet", width=8, dim=16, stride=8)
VIT = dict(name="timm/vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, embed_dim=32, num_heads=2)
BUILD = dict(
    net=lambda: ProtoPNet(4, PATCHNET, dim=8, per_class=2),
    tree=lambda: ProtoTree(4, PATCHNET, dim=8, depth=3),
    former=lambda: ProtoPFormer(4, VIT, dim=8, per_class=2),
)
HEADS = dict(net=8, tree=7, former=8)
every = pytest.mark.parametrize("kind", BUILD)


def build(kind):
    torch.manual_seed(0)
    model = BUILD[kind]().eval()
    for p in model.parameters():
        with torch.no_grad():
            p.add_(0.2 * torch.randn_like(p))
    return model


def pictures(n=12, seed=1):
    x = 0.3 * torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    for i, picture in enumerate(x):
        picture[i % 4 % 3, 8 * (i % 4) : 8 * (i % 4) + 8] += 2 if i % 4 < 3 else -2
    return [(picture, i % 4) for i, picture in enumerate(x)]


IMAGE = pictures(3)[2][0]
HALF = torch.zeros(32, 32, dtype=torch.bool)
HALF[:, 16:] = True


# -- the sum, the path, the map --


@pytest.mark.parametrize("kind", ["net", "former"])
def test_the_logit_is_the_sum_of_what_prototypes_give(kind):
    model = build(kind).double()
    for how in (dict(), dict(mask=HALF), dict(candidates=[3, 1]), dict(reference="raw"), dict(classes=[2])):
        e = explain(model, IMAGE.double(), **how)
        gap = e.evidence.sum((0, 2, 3)) + e.residual - e.logits
        assert e.adds_up and gap.abs().max() < 1e-9 and len(e.evidence) == HEADS[kind]
    e = explain(model, IMAGE.double(), reference="raw")
    assert set(e.attention.unique().tolist()) == {0, 1} and e.attention.sum((2, 3)).eq(1).all()
    assert (e.residual == 0).all() == (kind == "net")  # what [CLS] looks like has no position
    padded = explain(model, IMAGE.double(), mask=HALF)
    assert (
        padded.attention[..., 2:].abs().max() == 0
        and similarity(model, IMAGE.double(), mask=HALF).evidence[..., 2:].eq(0).all()
    )


def test_a_prototypes_loss_is_its_evidence():
    model, x = build("net").double(), IMAGE.double()
    e = explain(model, x, reference="raw")
    with torch.no_grad(), intervene(model, heads=[(0, 5)], to="zero"):
        left = model(x[None]).logits[0]
    assert_close(e.logits - left, e.evidence[5].sum((1, 2)), atol=1e-9, rtol=0)
    with (
        pytest.raises(NotImplementedError, match=r"_Votes lacks query_slices"),
        intervene(model, heads=[(0, 5)]),
    ):
        pass


def test_a_trees_probabilities_are_those_of_a_walk_through_it():
    model = build("tree").double()
    with torch.no_grad():
        out = model(IMAGE.double()[None])
        z = out.features.flatten(2)[0].T
        g = [(z - p).square().sum(1).add(1e-8).min().sqrt().neg().exp().item() for p in model.tree.vectors]

    def walk(node, weight):
        if node >= 7:
            return weight * (30 * model.tree.leaves[node - 7]).softmax(0)
        return walk(2 * node + 1, weight * (1 - g[node])) + walk(2 * node + 2, weight * g[node])

    assert_close(out.logits[0].exp(), walk(0, 1).detach(), atol=1e-9, rtol=0)
    path = model.path(out, 2)
    assert path[0][0] == 0 and all(b == 2 * a + 1 + yes for (a, yes, _), (b, *_) in zip(path, path[1:]))
    assert_close(torch.tensor([s for *_, s in path]), torch.tensor([g[m] for m, *_ in path]))
    e = explain(model, IMAGE.double())
    assert not e.has("evidence") and e.has("attention")


def test_only_the_foreground_is_seen():
    share = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5]])
    padding = torch.tensor([[False, False, False, False, True]])
    assert _background(share, padding, 0.5).tolist() == [[True, True, False, False, True]]
    model = build("former")
    with torch.no_grad():
        out = model(IMAGE[None], attention="last")
        kept = out.features[0, -1] >= out.features[0, -1].flatten().sort(descending=True).values[6]  # 7 of 16
    assert kept.sum() == 7 and out.attention[0, :, 0].sum(0)[~kept].sum() == 0


# -- as every other model --


@every
def test_they_are_models_like_the_others(kind):
    model = build(kind)
    with torch.no_grad():
        out = model(IMAGE[None], attention="all")
        assert_close(model.logits_from_features(out), out.logits)
        assert_close(model(IMAGE[None], candidates=[3, 1]).logits, out.logits[:, [3, 1]])
        features = model.backbone(IMAGE[None])
        assert_close(model.from_features(features).logits, out.logits)
        region = torch.ones(4, 4, dtype=torch.bool)
        region[1] = False
        with intervene(model, region=region):
            assert model(IMAGE[None], attention="last").attention[0, :, 0, region].sum() == 0
    assert out.attention.shape == (1, 1, HEADS[kind], 4, 4, 4)
    names = [n for n, _ in model.named_parameters()]
    assert len(names) == len(set(names)) == len({*model.state_dict()} & set(names))  # nothing is stored twice
    assert "similarity" in methods_for(model) and ("evidence" in methods_for(model)) == (kind != "tree")
    assert "similarity" not in methods_for(OneBlockINTR(4, PATCHNET, dim=16, num_heads=2))
    found = evaluate_explanations(
        model,
        {"similarity": METHODS["similarity"]},
        pictures(),
        {"deletion": METRICS["deletion"]},
        images=[0],
        only_right=False,
        progress=False,
    )
    assert len(found.rows()) == 1
    assert "0." in repr(predict(model, IMAGE))
    assert len(HeadBrowser(model, IMAGE[None], class_names=list("abcd")).to_figure().data) > 1


@pytest.mark.parametrize("kind", ["net", "former"])
def test_the_evidence_browser_takes_them(kind):
    assert len(EvidenceBrowser(build(kind), IMAGE[None], class_names=list("abcd")).to_figure().data) > 1


# -- projection --


@every
def test_prototypes_become_patches_of_their_class(kind, tmp_path):
    model, train = build(kind), pictures()
    with pytest.raises(
        RuntimeError, match=f"these {HEADS[kind]} prototypes were never projected.*project_proto"
    ):
        plot_prototypes(model, IMAGE, train)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TypeError, match="OneBlockINTR has no prototypes"):
        project_prototypes(OneBlockINTR(4, PATCHNET, dim=16, num_heads=2), train)
    if kind != "tree":
        with pytest.raises(ValueError, match=r"no training picture of classes \[0, 2\].*Nothing was changed"):
            project_prototypes(model, [pair for pair in train if pair[1] % 2])
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    layer = model.searches[0]
    was = layer.vectors.detach().clone()
    found = project_prototypes(model, train, batch_size=5)
    with torch.no_grad():
        everything = [model.compared(model(x[None]))[0][1:] for x, _ in train]
    for m, (i, row, column) in enumerate(layer.patches()):
        assert_close(everything[i][0][0, 4 * row + column], layer.vectors[m], atol=1e-5, rtol=0)
        assert kind == "tree" or train[i][1] == m // 2
        own = [
            torch.cdist(was[m][None], x[0])[0, ~hidden[0]].min()
            for (x, hidden), (_, c) in zip(everything, train)
            if kind == "tree" or c == m // 2
        ]
        assert_close((was[m] - layer.vectors[m]).norm(), min(own), atol=1e-4, rtol=0)
    assert found["moved"] > 0 and 0 < found["patches"] <= HEADS[kind] * (2 if kind == "former" else 1)
    if kind == "former":
        assert {source[1:] for source in model.whole.patches()} == {(-1, -1)}
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.searches[0].patches() == layer.patches()
    assert torch.equal(again(IMAGE[None]).logits, model(IMAGE[None]).logits)
    assert len(plot_prototypes(again, IMAGE, train, top=2).axes) == 6
    with pytest.raises(ValueError, match="in these it is not there"):
        plot_prototypes(model, IMAGE, pictures(seed=9))
    with torch.no_grad():
        layer.vectors[0] += 1e-3
    with pytest.raises(RuntimeError, match="have moved since they were projected"):
        layer.patches()


# -- training --


@every
def test_each_learns(kind, tmp_path):
    torch.manual_seed(0)
    model, data = BUILD[kind](), pictures(32)
    history = fit(model, (data, data), Recipe(epochs=16, lr=2e-2, batch_size=8), device="cpu", progress=False)
    assert history.best["valid_accuracy"] > 0.7  # chance: 0.25


def test_costs_are_part_of_the_loss_and_counted_by_the_image():
    torch.manual_seed(0)
    model, labels = build("net").train(), torch.tensor([0, 1, 2])
    out = model(torch.stack([x for x, _ in pictures(3)]))
    got = model.extra_loss(out, labels)
    for i, c in enumerate(labels):
        z = out.features[i].flatten(1).T
        far = torch.cdist(model.votes.vectors, z).square().min(1).values
        own = torch.arange(8) // 2 == c
        assert_close(got[i], 0.8 * far[own].min() - 0.08 * far[~own].min(), atol=1e-4, rtol=1e-4)
    shares = torch.nn.functional.one_hot(labels, 4).float()
    assert_close(model.extra_loss(out, shares), got)
    plain, dear = (
        fit(
            ProtoPNet(4, PATCHNET, dim=8, per_class=2, cluster=weight, separation=0.0),
            (pictures(8), None),
            Recipe(epochs=1, lr=1e-9, batch_size=8),
            device="cpu",
            progress=False,
        ).rows[0]["loss"]
        for weight in (0.0, 50.0)
        if torch.manual_seed(0)
    )
    assert dear > plain + 2


def test_stages_say_what_learns(tmp_path):
    model, data = build("net"), pictures(8)
    before = copy.deepcopy(model.state_dict())
    recipe = Recipe(epochs=1, lr=1e-2, batch_size=8)
    parts = {"warm": {"input_proj", "votes.vectors"}, "last": {"votes.weight"}}
    for stage, learning in parts.items():
        model.load_state_dict(before)
        cached = cache_features(model.stage(stage).backbone, (data, data), tmp_path / stage, views=1)
        fit(model, cached, recipe, device="cpu", progress=False)
        moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        assert moved and all(k.startswith(tuple(learning)) for k in moved)
    assert model.stage("joint").backbone.training is False and model.train().backbone.training
    former = build("former").stage("last")
    learning = {n for n, p in former.named_parameters() if p.requires_grad}
    assert learning == {"parts.weight", "whole.weight"}
    with pytest.raises(ValueError, match="stage 'cold'.*'warm', 'joint' or 'last'"):
        model.stage("cold")


# -- bad input --


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: ProtoPNet(1, PATCHNET), "num_classes=1"),
        (lambda: ProtoPNet(4, PATCHNET, per_class=0), "per_class=0.*1 or more"),
        (lambda: ProtoTree(40, PATCHNET, depth=5), "depth=5: 32 leaves can't tell 40 classes apart"),
        (lambda: ProtoPFormer(4, VIT, foreground=0), "foreground=0.*more than 0"),
        (lambda: ProtoPFormer(4, "resnet18"), "resnet18.*plain vision transformer"),
        (lambda: ProtoPFormer(4, VIT | dict(reg_tokens=2)), "3 tokens without a place.*expected one"),
        (
            lambda: ProtoPFormer(4, VIT | dict(class_token=False, global_pool="avg", fc_norm=False)),
            r"0 tokens",
        ),
        (lambda: similarity(OneBlockINTR(4, PATCHNET, dim=16, num_heads=2), IMAGE), "has no prototypes"),
    ],
)
def test_what_they_are_not_built_from(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()


def test_other_classes_and_another_models_file_are_refused(tmp_path):
    model = build("net")
    with pytest.raises(ValueError, match="image number 2 has the label 4"):
        project_prototypes(model, [(x, c + 2) for x, c in pictures()])
    save(model, tmp_path / "net")
    save(build("tree"), tmp_path / "tree")
    (tmp_path / "net.safetensors").write_bytes((tmp_path / "tree.safetensors").read_bytes())
    with pytest.raises(ValueError, match="is not the file that net.json was saved with"):
        load(tmp_path / "net")
