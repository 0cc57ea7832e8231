"""Figures: one scale for all panels, its zero stated, names as text, padding grey."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from intr_nb.core.display import AGAINST, FOR, overlay
from intr_nb.explanations.evidence_plots import _strongest, plot_evidence, plot_margin
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.explanation import Explanation
from intr_nb.explanations.head_plots import common_order, plot_heads, plot_layers
from intr_nb.explanations.masking import rise
from intr_nb.explanations.panels import alt_text, digits, short_name, value_colours
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
Figure = pytest.importorskip("matplotlib.figure").Figure

NAMES = [f"bird {i}" for i in range(5)]


def one_block(seed=0, **kw):
    torch.manual_seed(seed)
    return OneBlockINTR(5, dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=4, **kw).eval()


def picture(seed=0, h=64, w=64):
    return torch.randn(3, h, w, generator=torch.Generator().manual_seed(seed))


def explained(seed=0, **kw):
    return explain(one_block(), picture(seed), class_names=NAMES, **kw)


def full_decoder(layers=2, **kw):
    torch.manual_seed(0)
    model = INTR(
        5,
        backbone=dict(name="patchnet", width=8, dim=32, stride=8),
        dim=32,
        num_heads=4,
        encoder_layers=0,
        decoder_layers=layers,
        ffn_dim=32,
    )
    with torch.no_grad():
        model.query_embed.weight.mul_(30)
    return explain(model, picture(), class_names=NAMES, **kw)


def maps(figure):
    return [im for ax in figure.axes for im in ax.images if im.get_array().ndim == 2]


def texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text)]


def bars(figure):
    return [ax for ax in figure.axes if hasattr(ax, "_colorbar")]


FIGURES = dict(
    heads=lambda **kw: plot_heads([explained(0), explained(1)], **kw),
    evidence_heads=lambda **kw: plot_heads([explained(0), explained(1)], what="evidence", **kw),
    value_scores=lambda **kw: plot_heads(explained(), what="value_scores", **kw),
    evidence=lambda **kw: plot_evidence(explained(), **kw),
    margin=lambda **kw: plot_margin(explained(), **kw),
    layers=lambda **kw: plot_layers(full_decoder(), **kw),
    evidence_layers=lambda **kw: plot_layers(full_decoder(), what="evidence", **kw),
)
WEIGHTS = ("heads", "layers")  # of attention: no sign


@pytest.mark.parametrize("kind", FIGURES)
def test_one_scale_for_all_panels(kind):
    figure = FIGURES[kind]()
    norms = {(im.norm.vmin, im.norm.vmax) for im in maps(figure)}
    assert len(maps(figure)) == (
        10 if "layers" in kind else 8 if "heads" in kind else 4 if kind == "value_scores" else 5
    )
    assert len(norms) == 1  # shared
    low, high = norms.pop()
    assert low == (0 if kind in WEIGHTS else -high)  # zero in the middle where maps have a sign
    assert high == pytest.approx(max(abs(im.get_array()).max() for im in maps(figure)))  # nothing cut off
    (bar,) = bars(figure)
    assert (bar._colorbar.vmin, bar._colorbar.vmax) == (low, high)
    assert ("sums to 1 per head" if kind in WEIGHTS else "logit units") in bar.get_ylabel()
    assert len({im.get_cmap().name for im in maps(figure)}) == 1


@pytest.mark.parametrize("kind", FIGURES)
def test_own_scale_only_when_asked(kind):
    figure = FIGURES[kind](own_scale=True)
    for im in maps(figure):
        assert im.norm.vmax == pytest.approx(abs(im.get_array()).max())
    assert len({im.norm.vmax for im in maps(figure)}) == len(maps(figure))
    assert not bars(figure) and "own scale" in figure.get_suptitle()
    assert sum(t.startswith("to ") for t in texts(figure)) == len(
        maps(figure)
    )  # every panel says what full colour means


@pytest.mark.parametrize("kind", FIGURES)
def test_a_limit_can_be_set(kind):
    assert {im.norm.vmax for im in maps(FIGURES[kind](limit=7.0))} == {7.0}


@pytest.mark.parametrize("kind", FIGURES)
def test_figures_are_returned_not_shown(kind):
    before = plt.get_fignums()
    figure = FIGURES[kind]()
    assert isinstance(figure, Figure) and plt.get_fignums() == before
    figure.canvas.draw()


@pytest.mark.parametrize("kind", FIGURES)
def test_true_grid_unless_smoothed(kind):
    assert {im.get_interpolation() for im in maps(FIGURES[kind]())} == {"nearest"}
    assert {im.get_interpolation() for im in maps(FIGURES[kind](smooth=True))} == {"bilinear"}
    assert {im.get_array().shape for im in maps(FIGURES[kind]())} == {(8, 8)}


@pytest.mark.parametrize(
    "reference, says",
    [
        ("median", "each head’s median over the image"),
        ("mean", "each head’s mean over the image"),
        ("raw", "as the model has it"),
    ],
)
@pytest.mark.parametrize("kind", ["evidence_heads", "value_scores", "evidence", "margin"])
def test_the_reference_is_stated(kind, reference, says):
    e = explained(reference=reference)
    figure = (
        plot_heads(e, what=kind.removesuffix("_heads"))
        if kind in ("evidence_heads", "value_scores")
        else plot_margin(e)
        if kind == "margin"
        else plot_evidence(e)
    )
    assert f"reference of s: {says}" in figure.get_suptitle()


def test_panels_add_up_and_say_so():
    e = explained()
    m = e.margin(2, 4)
    *heads, total = [im.get_array() for im in maps(plot_margin(e, 2, "bird 4"))]
    np.testing.assert_allclose(sum(heads), total, atol=1e-6)
    np.testing.assert_allclose(total, m.total, atol=1e-6)
    assert (
        f"bird 2 over bird 4: {m.value:+.3f} logits = {m.total.sum():+.3f} evidence"
        in plot_margin(e, 2, 4).get_suptitle()
    )
    *heads, total = [im.get_array() for im in maps(plot_evidence(e, 3))]
    np.testing.assert_allclose(total, e.evidence[:, 3].sum(0), atol=1e-6)
    np.testing.assert_allclose(heads[0], e.evidence[e.heads_by("evidence", 3)[0], 3], atol=1e-6)
    assert f"all: {e.evidence[:, 3].sum():+.3f}" in texts(plot_evidence(e, 3))


def test_rows_are_images_and_columns_are_heads():
    rows = [explained(i) for i in range(3)]
    figure = plot_heads(rows, c=[1, "bird 2", 3], by="evidence", top=3, what="evidence")
    order = common_order(rows, [1, 2, 3], "evidence")[:3]
    assert [t for t in texts(figure) if t.startswith("head")] == [f"head {r}" for r in order]
    shown = np.array([im.get_array() for im in maps(figure)]).reshape(3, 3, 8, 8)
    for e, c, row in zip(rows, (1, 2, 3), shown):
        np.testing.assert_allclose(row, e.evidence[order, c], atol=1e-6)
    assert [im.get_array().tolist() for im in maps(plot_heads(rows[0], by=None))] == rows[0].attention[
        :, rows[0].prediction
    ].tolist()


def test_mean_rank_orders_the_heads():
    a, b = explained(0), explained(1)
    one = a.heads_by("attention", 0)
    assert common_order([a], [0], "attention") == common_order([a, a], [0, 0], "attention") == one
    assert common_order([a, b], [0, 0], None) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "orders, common",
    [
        ([[2, 0, 3, 1]], [2, 0, 3, 1]),
        ([[2, 0, 3, 1], [2, 0, 3, 1]], [2, 0, 3, 1]),
        ([[0, 1, 2, 3], [1, 2, 3, 0], [1, 3, 2, 0]], [1, 2, 0, 3]),
    ],
)
def test_known_orders(orders, common):
    "Ranks of the last: head 0: 0, 3, 3; 1: 1, 0, 0; 2: 2, 1, 2; 3: 3, 2, 1"
    made = []
    for order in orders:
        evidence = torch.zeros(4, 2, 1, 1)
        for rank, head in enumerate(order):
            evidence[head] = -rank
        made.append(Explanation(torch.zeros(2), picture(), evidence=evidence))
    assert common_order(made, [0] * len(made), "evidence") == common


@pytest.mark.parametrize(
    "hostile",
    [
        "$x_1$",
        r"$\frac{$ unbalanced $",
        "<img src=x onerror=alert(1)>",
        "100 % of $5 and $6",
        "a\nb\tc\x00",
        "",
        "永遠" * 30,
    ],
)
def test_names_are_text(hostile):
    e = explain(one_block(), picture(), class_names=[hostile] + [f"{hostile} {i}" for i in range(4)])
    for figure in (
        plot_margin(e, 0, 1),
        plot_evidence(e, 0),
        plot_heads([e, e], c=0),
        plot_heads(e, c=0, own_scale=True),
    ):
        assert not any(
            t.get_parse_math()
            for t in figure.findobj(matplotlib.text.Text)
            if hostile and hostile in t.get_text()
        )
        figure.canvas.draw()  # mathematics out of balance would raise here
    assert short_name(hostile) in plot_margin(e, 0, 1).get_suptitle() and "\n" not in short_name(hostile)


def test_long_names_are_cut():
    assert len(short_name("x" * 500, 30)) <= 30 and short_name("abc") == "abc"
    assert short_name("a\n  b") == short_name("a\x00b") == "a b"
    assert short_name("begin " + "x" * 50 + " end", 21).startswith("begin") and short_name(
        "begin " + "x" * 50 + " end", 21
    ).endswith("end")
    e = explain(one_block(), picture(), class_names=["long " * 200 + str(i) for i in range(5)])
    assert max(len(line) for t in texts(plot_margin(e)) for line in t.split("\n")) < 200


def test_padding_is_grey():
    padded, mask = torch.zeros(3, 64, 96), torch.ones(64, 96, dtype=torch.bool)
    padded[:, :, :64], mask[:, :64] = picture(), False
    e = explain(one_block(), padded, mask=mask)
    for figure in (plot_margin(e), plot_heads(e), plot_evidence(e)):
        panels = [ax for ax in figure.axes if ax.images]
        for ax in panels:
            cover = ax.images[-1].get_array()
            assert cover.shape == (8, 12, 4) and (cover[:, 8:, 3] == 1).all() and (cover[:, :8, 3] == 0).all()
            assert cover[:, 8:, :3].std() < 1e-9 and ax.images[-1].get_extent() == [0, 96, 64, 0]
    assert not any(im.get_array().shape[-1] == 4 for ax in plot_margin(explained()).axes for im in ax.images)


def test_images_are_grey_under_a_map():
    for ax in plot_margin(explained()).axes[1:6]:
        under = ax.images[0].get_array()
        assert (under.max(2) == under.min(2)).all()


def test_colours_are_clear_at_zero():
    signed, plain = value_colours(True), value_colours(False)
    assert signed(0.5)[3] == 0 and plain(0.0)[3] == 0
    np.testing.assert_allclose(
        np.array(signed([0.0, 1.0])), np.array([[*AGAINST, 255], [*FOR, 255]]) / 255, atol=0.01
    )
    assert (np.diff(plain(np.linspace(0, 1, 50))[:, 3]) > 0).all()


def test_alternative_text():
    e = explained()
    said = alt_text(e)
    assert e.name(e.prediction) in said and e.name(e.runner_up()) in said and "from the left" in said
    best = e.margin().heads.sum((1, 2)).argmax().item()
    assert f"Strongest: head {best} (" in said
    for kind in FIGURES:
        assert "Predicted" in FIGURES[kind]().get_label()


def test_a_full_decoder_has_no_saliency():
    assert len(maps(plot_heads(full_decoder(1)))) == 4 and len(maps(plot_heads(full_decoder()))) == 8
    for drawn in (plot_margin, plot_evidence):
        drawn(full_decoder())
    with pytest.raises(AttributeError, match="every pair of classes"):
        plot_heads(full_decoder(), what="value_scores")
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "reference, says",
    [
        ("mean", "reference of s: each head’s mean over the image"),
        ("raw", "reference of s: as the model has it"),
    ],
)
def test_a_full_decoders_reference_is_stated(reference, says):
    e = full_decoder(reference=reference)
    for figure in (
        plot_margin(e),
        plot_evidence(e),
        plot_heads(e, what="evidence"),
        plot_layers(e, what="evidence"),
    ):
        assert says in figure.get_suptitle()
    for figure in (plot_heads(e), plot_layers(e)):
        assert "reference of s" not in figure.get_suptitle()  # attention has none


# what share the maps carry


@pytest.mark.parametrize(
    "made",
    [
        explained,
        full_decoder,
        lambda: full_decoder().layer(-1),
        lambda: explain(one_block(fc=True), picture(), class_names=NAMES),
    ],
)
def test_titles_say_what_the_maps_carry(made):
    e = made()
    a, b = e.prediction, e.runner_up()
    logit, margin = e.share(c=3), e.share(c=a, over=b)
    for figure, share in ((plot_evidence(e, 3), logit), (plot_margin(e), margin)):
        assert (
            f"\nmaps carry {share}; reference of s" in figure.get_suptitle()
            and f"maps carry {share}" in figure.get_label()
        )
    assert f"maps carry {logit}" in " ".join(plot_heads(e, c=3, what="evidence").axes[0].get_ylabel().split())
    assert "maps carry" not in plot_heads(e).axes[0].get_ylabel()


def test_the_share_of_one_layer_is_its_own():
    e = full_decoder()
    shares = [
        plot_margin(x, 1, 3).get_suptitle().split("maps carry ")[1].split(";")[0]
        for x in (e, e.layer(0), e.layer(1))
    ]
    assert (
        shares == [str(x.share(c=1, over=3)) for x in (e, e.layer(0), e.layer(1))] and len(set(shares)) == 3
    )


def test_small_numbers_keep_their_digits():
    e = Explanation(
        torch.tensor([2e-6, 0.0]),
        picture(),
        evidence=torch.tensor([1e-6, 3e-6])[:, None, None, None]
        * torch.tensor([1.0, 0.0])[None, :, None, None],
        residual=torch.tensor([-2e-6, 0.0]),
    )
    figure = plot_margin(e)
    assert (
        "+0.0000020 logits = +0.0000040 evidence -0.0000020 residual" in figure.get_suptitle()
        and "head 1: +0.0000030" in texts(figure)
    )
    assert [digits(0), digits(7.0), digits(0.1, -0.002), digits(0.00123)] == [3, 3, 3, 4]


# many heads


def test_heads_of_a_full_decoder_have_layers():
    e = full_decoder()
    assert [t.split(":")[0] for t in texts(plot_evidence(e)) if t.startswith("layer")] == [
        e.head_name(r) for r in e.heads_by("evidence")
    ]
    assert {t for t in texts(plot_heads(e)) if "head " in t and t.startswith("layer")} == {
        f"layer {l}, head {r}" for l in (0, 1) for r in range(4)
    }
    assert {t for t in texts(plot_heads(e.layer(-1))) if t.startswith("layer")} == {
        f"layer 1, head {r}" for r in range(4)
    }
    best = e.margin().heads.sum((1, 2)).argmax().item()
    assert (
        f"Strongest: layer {best // 4}, head {best % 4} (" in alt_text(e)
        and alt_text(e) in plot_margin(e).get_label()
    )


def test_strongest_whatever_their_sign():
    heads = torch.tensor([0.1, -3.0, 2.0, 0.2, 2.0])[:, None, None] * torch.eye(2)
    assert (
        _strongest(heads, 3) == ([2, 4, 1], [0, 3])
        and _strongest(heads, None) == ([2, 4, 3, 0, 1], [])
        and _strongest(heads, 9)[1] == []
    )
    for top in (0, -1):
        with pytest.raises(ValueError, match=f"top={top}: expected how many heads"):
            _strongest(heads, top)


def test_left_out_heads_are_counted_and_added():
    e = full_decoder(4)  # 16 maps
    for figure, total in (
        (plot_margin(e), e.margin().total),
        (plot_evidence(e, 2, top=5), e.evidence[:, 2].sum(0)),
    ):
        *heads, whole = [im.get_array() for im in maps(figure)]
        np.testing.assert_allclose(sum(heads), whole, atol=1e-6)
        np.testing.assert_allclose(whole, total, atol=1e-6)
    assert "12 of 16 heads" in plot_margin(e).get_suptitle() and any(
        t.startswith("4 others: ") for t in texts(plot_margin(e))
    )
    assert (
        "5 of 16 heads" in plot_evidence(e, top=5).get_suptitle() and len(maps(plot_evidence(e, top=5))) == 7
    )
    assert any(t.startswith("1 other: ") for t in texts(plot_margin(e, top=15)))
    assert (
        len(maps(plot_margin(e, top=None))) == 17 and " heads" not in plot_margin(e, top=None).get_suptitle()
    )
    assert (
        len(maps(plot_heads(e))) == 8
        and "8 of 16 heads" in plot_heads(e).get_suptitle()
        and len(maps(plot_heads(e, top=None))) == 16
    )
    assert " heads" not in plot_heads(explained()).get_suptitle() + plot_margin(explained()).get_suptitle()
    for draw in (plot_heads, plot_margin, plot_evidence, plot_layers):
        with pytest.raises(ValueError, match="top=0"):
            draw(e, top=0)
    assert not plt.get_fignums()


# layer by layer


@pytest.mark.parametrize("what", ["attention", "evidence"])
def test_rows_are_layers(what):
    e = full_decoder(3)
    figure = plot_layers(e, "bird 3", what=what)
    shown = np.array([im.get_array() for im in maps(figure)]).reshape(3, 5, 8, 8)
    known = getattr(e, what)[:, 3].unflatten(0, (3, 4))
    np.testing.assert_allclose(shown[:, 1:], known, atol=1e-7)
    np.testing.assert_allclose(shown[:, 0], known.mean(1) if what == "attention" else known.sum(1), atol=1e-6)
    assert [ax.get_ylabel() for ax in figure.axes[:15:5]] == ["layer 0", "layer 1", "layer 2"]
    assert [ax.get_title().split("\n")[0] for ax in figure.axes[6:10]] == [
        f"layer 1, head {r}" for r in range(4)
    ]
    assert "bird 3" in figure.get_suptitle() and ("maps carry" in figure.get_suptitle()) == (
        what == "evidence"
    )
    figure.canvas.draw()


def test_strongest_heads_of_each_layer():
    e = full_decoder()
    figure = plot_layers(e, 1, what="evidence", top=2)
    size = e.evidence[:, 1].sum((1, 2)).abs().view(2, 4)
    for l in (0, 1):
        assert [ax.get_title().split("\n")[0] for ax in figure.axes[3 * l + 1 : 3 * l + 3]] == [
            f"layer {l}, head {r}" for r in sorted(size[l].topk(2).indices.tolist())
        ]
    np.testing.assert_allclose(
        maps(figure)[3].get_array(), e.layer(1).evidence[:, 1].sum(0), atol=1e-7
    )  # all heads, also those left out
    assert "2 of 4 heads in each layer" in figure.get_suptitle()
    one = plot_layers(e.layer(1))
    assert len(maps(one)) == 5 and one.axes[0].get_ylabel() == "layer 1"


def test_one_block_has_no_layers():
    with pytest.raises(ValueError, match="by OneBlockINTR, has no layers: expected that of a full decoder"):
        plot_layers(explained())
    with pytest.raises(ValueError, match="what='alpha'"):
        plot_layers(full_decoder(), what="alpha")


def test_other_makers_get_the_same_figures():
    e = Explanation(
        torch.tensor([1.0, 2.0, 0.0]),
        picture(),
        evidence=torch.rand(1, 3, 4, 4),
        source="RISE",
        unit="probability",
    )
    figure = plot_margin(e)
    assert (
        len(maps(figure)) == 1
        and "RISE" in figure.get_suptitle()
        and bars(figure)[0].get_ylabel() == "probability per position"
    )
    plot_evidence(e), plot_heads(e, what="evidence", by="evidence")


def test_fc_and_no_evidence_at_all():
    plot_margin(explain(one_block(fc=True), picture()))
    assert len(maps(plot_heads(explain(one_block(fc=True), picture()), what="value_scores"))) == 4
    nothing = Explanation(
        torch.zeros(2), picture(), evidence=torch.zeros(2, 2, 4, 4), residual=torch.zeros(2)
    )
    plot_margin(nothing).canvas.draw()  # a scale without width


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: plot_heads([]), "empty list"),
        (lambda: plot_heads(explained(), c=9), "no class 9"),
        (lambda: plot_heads([explained()], c=[0, 1]), "c has 2 classes for 1 explanations"),
        (
            lambda: plot_heads(explained(), what="alpha"),
            "what='alpha': expected 'attention', 'evidence' or 'value_scores'",
        ),
        (lambda: plot_heads(explained(), by="size"), "by='size'"),
        (lambda: plot_margin(explained(), "sparrow"), "no class 'sparrow'"),
        (lambda: plot_evidence(explained(classes=[1]), 2), "was not kept"),
    ],
)
def test_wrong_arguments(call, says):
    with pytest.raises(ValueError, match=says):
        call()
    assert not plt.get_fignums()


def test_without_matplotlib_it_says_what_to_install():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import torch\n"
        "from intr_nb.explanations.evidence_plots import plot_margin\n"
        "from intr_nb.explanations.explanation import Explanation\n"
        "parts = dict(evidence=torch.zeros(2, 2, 4, 4), residual=torch.zeros(2))\n"
        "e = Explanation(torch.zeros(2), torch.zeros(3, 32, 32), **parts); e._repr_html_()\n"
        "try: plot_margin(e)\nexcept ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and 'pip install "intr_nb[labs]"' in done.stdout, done.stderr


def test_our_figure_may_be_a_kernels_first():
    "A bare figure shows by itself afterwards: the backend made its setting outside of our style"
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    cells = [
        "import torch\n"
        "from intr_nb.explanations.evidence_plots import plot_margin\n"
        "from intr_nb.explanations.explanation import Explanation\n"
        "parts = dict(evidence=torch.rand(2, 2, 4, 4))\n"
        "plot_margin(Explanation(torch.tensor([1.0, 0.0]), torch.zeros(3, 32, 32), **parts))",
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    pictures = [["image/png" in o.get("data", {}) for o in c.outputs] for c in notebook.cells]
    assert pictures == [[True], [True]], [c.outputs for c in notebook.cells]


@pytest.mark.parametrize("image_size", [32, [24, 80], None])
def test_a_photograph_keeps_its_aspect(image_size, tmp_path):
    "The model may have seen a square: picture and map are drawn as the photograph was."
    torch.manual_seed(0)
    model = OneBlockINTR(3, dim=16, num_heads=2)
    model.metadata = dict(image_size=image_size)
    Image.new("RGB", (500, 353), "teal").save(tmp_path / "p.png")
    for picture in (tmp_path / "p.png", Image.open(tmp_path / "p.png"), np.zeros((353, 500, 3), np.uint8)):
        e = explain(model, picture)
        assert e.aspect == 500 / 353
    for figure in (plot_heads(e), plot_evidence(e), plot_margin(e)):
        figure.draw_without_rendering()
        boxes = [ax.get_window_extent() for ax in figure.axes if ax.images]
        assert len(boxes) >= 3 and [b.width / b.height for b in boxes] == pytest.approx(
            [500 / 353] * len(boxes), abs=0.01
        )
    shown = overlay(e.image, e.evidence[0, 0], aspect=e.aspect)
    assert shown.size == (224, 158) and explain(model, e.image).aspect is None
    assert rise(model, tmp_path / "p.png", masks=4).aspect == e.aspect
