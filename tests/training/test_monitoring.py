"""The figure takes what there is, TensorBoard reads what was written, and the live plot leaves one picture."""

import math
import os
import sys

import pytest
import torch

from intr_nb.training.history import History
from intr_nb.training.learning_curves import _resumptions, _thinned, plot_history
from intr_nb.training.monitoring import LivePlot, TensorBoard, _in_notebook, _to_tensorboard

ROWS = [
    dict(
        epoch=1,
        step=40,
        loss=1 / 3,
        valid_loss=0.1 + 0.2,
        valid_accuracy=0.5,
        lr=3e-5,
        seconds=1e-17,
        entropy=0.9,
        peak=0.02,
        similarity=0.8,
    ),
    dict(
        epoch=2,
        step=80,
        loss=2 / 7,
        valid_loss=0.2,
        valid_accuracy=0.75,
        lr=1e-5,
        seconds=2.0,
        entropy=0.7,
        peak=0.1,
        similarity=0.4,
        resumed=60,
    ),
]


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


def test_plot_has_panels_for_what_is_there():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    assert titles(plot_history(History(ROWS))) == [
        "cross-entropy",
        "validation accuracy",
        "attention",
        "attention: peak",
    ]
    assert (
        titles(plot_history(History([dict(epoch=1, loss=1.0)])))
        == ["cross-entropy"]
        == titles(plot_history(History()))
    )
    odd = plot_history(
        History(
            [
                dict(epoch=1, loss=0.0, share=-0.3, peak=None),
                dict(epoch=2, loss=math.nan, valid_accuracy=torch.tensor(0.5), share=math.inf),
            ]
        ),
        [(0.5, math.nan), (1, 2.0)],
    )
    assert (
        titles(odd) == ["cross-entropy", "validation accuracy", "attention"]
        and odd.axes[0].get_yscale() == "linear"
        and odd.axes[2].get_ylim()[0] < -0.3
    )
    odd.savefig(os.devnull, format="png")
    assert plot_history(History(ROWS)).axes[0].get_yscale() == "log" and plt.get_fignums() == before


def test_resumption_is_marked_where_it_was():
    assert _resumptions(ROWS) == [1.5] and _resumptions([dict(epoch=3, resumed=7)]) == [2]
    labelled = [line for line in plot_history(History(ROWS)).axes[0].lines if line.get_label() == "resumed"]
    assert [line.get_xdata()[0] for line in labelled] == [1.5]


def test_many_steps_are_thinned_to_means():
    x, y = _thinned([(i, i % 2) for i in range(4000)])
    assert len(x) == 400 and set(y) == {0.5} and x[0] == 4.5 and _thinned([]) == [[], []]


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _to_tensorboard(History(ROWS), tmp_path)
    with TensorBoard(tmp_path, purge_step=80) as board:
        board.row(ROWS[1] | dict(loss=0.125))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"train/loss", "valid/accuracy", "attention/entropy", "train/lr"} <= set(events.Tags()["scalars"])
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [
        (40, pytest.approx(1 / 3)),
        (80, 0.125),
    ]


def test_missing_libraries_say_what_to_install(monkeypatch, tmp_path):
    for name in ("matplotlib.pyplot", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"intr_nb\[labs\]"):
        plot_history(History(ROWS))
    with pytest.raises(ImportError, match="pip install tensorboard"):
        _to_tensorboard(History(ROWS), tmp_path)
    with pytest.raises(ImportError, match="labs"):
        LivePlot(enabled=True)
    assert LivePlot().enabled is False


class Recorder(LivePlot):
    def show(self, image):
        self.shown = getattr(self, "shown", 0) + 1


def test_live_plot_is_not_shown_too_often():
    pytest.importorskip("IPython")
    live, history = Recorder(every=1000, enabled=True), History()
    live.update(history)
    assert not hasattr(live, "shown")  # nothing to see yet
    for n in range(50):
        live.update(history, [(i / 10, 1.0) for i in range(n + 1)])
    assert live.shown == 1
    history.rows.append(ROWS[0])
    live.update(history, [])
    live.close()
    live.close()
    assert live.shown == 2  # the last state, once
    quiet = Recorder()
    quiet.update(History(ROWS), force=True)
    assert not _in_notebook() and not hasattr(quiet, "shown")


def test_live_plot_draws_the_end_even_after_a_failure():
    pytest.importorskip("IPython")
    with pytest.raises(RuntimeError), Recorder(every=1000, enabled=True) as live:
        for n in (1, 2):
            live.update(History(ROWS[:n]))
        raise RuntimeError
    assert live.shown == 2 and live.drawn == (2, 0)


def test_an_executed_notebook_keeps_one_picture():
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    code = f"""from intr_nb.training.history import History
from intr_nb.training.monitoring import LivePlot
rows = {ROWS!r}
with LivePlot(every=0.) as live:
    for n in range(1, 6): live.due = 0; live.update(History([rows[0] | dict(epoch=i) for i in range(1, n + 1)]))"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    pictures = [o for o in notebook.cells[0].outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == len(notebook.cells[0].outputs) == 1
    assert pictures[0]["output_type"] == "display_data"
