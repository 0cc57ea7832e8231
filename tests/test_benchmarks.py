"""The benchmarks of edits and explanations: cut off and run again, nothing is lost or counted twice; marks
and controls lie where they should."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from layouts import make_cub100

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import ablations
import edit_birds
import finetune
import is_it_true
import neighbours
import pandas as pd
import scale

from intr_nb.data.photos import Photos
from intr_nb.experiments.edits import edit_region
from intr_nb.models.checkpoints import load


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*args):
        monkeypatch.setattr(
            sys,
            "argv",
            [
                "is_it_true.py",
                "aviary",
                "--masks",
                "20",
                "--steps",
                "4",
                "--methods",
                "evidence",
                "centre",
                *map(str, args),
            ],
        )
        is_it_true.main()
        return capsys.readouterr().out

    return call


def test_a_run_that_is_cut_off_goes_on(run, tmp_path):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    out = run("--images", 2, "--csv", whole)
    assert "evidence - centre" in out and len(whole.read_text().splitlines()) == 1 + 2 * 2
    cut.write_text(whole.read_text()[:-40])  # within the last row: its image is asked again
    run("--images", 2, "--csv", cut)
    assert cut.read_text() == whole.read_text()
    assert not list(tmp_path.glob(".*.part"))


def test_some_questions_and_a_summary(run, tmp_path):
    out = run("--images", 2, "--questions", "pointing", "mass", "--summary", tmp_path / "s.csv")
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    assert [(r["method"], r["metric"]) for r in rows] == [
        (m, q) for m in ("evidence", "centre", "evidence - centre") for q in ("pointing", "mass")
    ]
    assert (
        all(float(r["low"]) <= float(r["mean"]) <= float(r["high"]) and r["n"] == "2" for r in rows)
        and "insertion" not in out
    )
    with pytest.raises(SystemExit):
        run("--questions", "beauty")


def test_what_is_there_is_not_done_again(run, tmp_path, monkeypatch):
    run("--images", 2, "--csv", tmp_path / "a.csv")
    monkeypatch.setattr(is_it_true, "evaluate_explanations", lambda *a, **k: pytest.fail("asked again"))
    run("--images", 2, "--csv", tmp_path / "a.csv")


def test_images_that_are_not_recognised_are_left_out_and_not_asked_again(tmp_path):
    rows = [
        dict(data="Aviary", image="0", method="evidence", insertion="0.5"),
        dict(data="Aviary", image="1", method=is_it_true.LEFT_OUT, insertion=""),
    ]
    is_it_true.write(tmp_path / "a.csv", rows, list(rows[0]))
    assert is_it_true.read(tmp_path / "a.csv", list(rows[0]), ["evidence"]) == rows
    e = is_it_true.as_evaluation(rows)
    assert e.images == [0] and e.rows()[0][3] == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "data,image,method,other\nAviary,0,evidence,1\n",
        "data,image,method,insertion\nAviary,0,RISE,1\nAviary,1,evidence,1\n",
        "data,image,method,insertion\nAviary,0,RISE,1",
    ],
)
def test_another_runs_file_is_left_alone(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    try:
        rows = is_it_true.read(
            tmp_path / "a.csv", ["data", "image", "method", "insertion"], ["evidence", "centre"]
        )
    except ValueError as error:
        assert "another file" in str(error) and (tmp_path / "a.csv").read_text() == text
    else:
        assert rows == [] and not text.endswith("\n")  # only a line that was cut off


@pytest.fixture
def photos():
    "A black bird on blue with a red shoulder at (60, 50), and one without"
    bird = np.full((120, 160, 3), (90, 120, 200), np.uint8)
    bird[30:90, 30:130] = (20, 20, 22)
    plain = bird.copy()
    bird[42:58, 52:68] = (200, 40, 30)
    points = np.array([[[60, 50, 1], [0, 0, 0], [120, 80, 1]]] * 2, float)
    return Photos(
        ["a", "b"],
        [0, 0],
        ["Red winged Blackbird", "Bronzed Cowbird"],
        opener=lambda i: (bird, plain)[i],
        points=points,
        point_names=["left wing", "right wing", "tail"],
    )


def test_the_mark_is_what_has_its_colour_and_the_control_is_as_large_and_elsewhere(photos):
    made = edit_birds.both(photos, 0, "Red winged Blackbird")
    (part, e), (other, control) = made["edit"], made["control"]
    mark, there = (edit_region(x.where, (120, 160)) for x in (e, control))
    assert part == "left wing" and mark.sum() == 16 * 16 and mark[42:58, 52:68].all()
    assert other == "tail" and there.sum() == mark.sum() and there[80, 120] and not (mark & there).any()
    image = photos.image(0)
    assert e(image)[50, 60].max() < 60 and (e(image)[85:, 100:] == image[85:, 100:]).all()
    assert abs(edit_birds.shift(image, e(image), mark) - edit_birds.shift(image, control(image), there)) < 5


def test_no_mark_no_edit(photos):
    assert edit_birds.both(photos, 1, "Red winged Blackbird") == "the mark can't be seen"
    photos.points[0, 2, 2] = 0
    assert edit_birds.both(photos, 0, "Red winged Blackbird") == "no other part has room"


def test_species_and_targets_are_in_the_set():
    assert all(
        {"left wing", "right wing", "belly", "breast", "tail"} >= set(parts)
        for _, parts, *_ in edit_birds.EDITS.values()
    )


@pytest.mark.filterwarnings("ignore:cub100")  # two classes of a hundred
@pytest.mark.parametrize("name", ["intr", "full"])
def test_everything_learns_after_the_head_has(name, tmp_path, monkeypatch):
    root, weights = make_cub100(tmp_path / "crops")[0], tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    state = torchvision.models.mobilenet_v2().features.state_dict()
    for k in state:
        if state[k].dim() == 1:
            state[k][:] = (
                0.1 if k.endswith("bias") else 0.0 if k.endswith("mean") else 1.0
            )  # folded, as the file that goes with the crops
    safetensors.torch.save_file({f"features.{k}": v for k, v in state.items()}, weights)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "finetune.py",
            str(root),
            "--weights",
            str(weights),
            "--features",
            str(tmp_path / "features"),
            "--models",
            name,
            "--size",
            "64",
            "--epochs",
            "1",
            "--test",
            "--save",
            str(tmp_path / "models"),
            "--csv",
            str(tmp_path / "a.csv"),
            "--precision",
            "fp32",
        ],
    )
    finetune.main()
    (row,) = csv.DictReader((tmp_path / "a.csv").open())
    assert row["model"] == name and row["on"] == "test" and float(row["entropy"]) > 0.9
    body = load(tmp_path / f"models/{name}-0").backbone.state_dict()
    assert (
        not torch.equal(body["body.0.0.weight"], state["0.0.weight"])
        and torch.equal(body["body.0.1.bias"], state["0.1.bias"])
        and not body["body.0.1.running_mean"].any()
    )
    monkeypatch.setattr(
        sys, "argv", [*sys.argv, "--start", str(tmp_path / "models"), "--runs", str(tmp_path / "runs")]
    )
    finetune.main()
    first, second = csv.DictReader((tmp_path / "a.csv").open())
    assert (
        second["frozen"] == first["accuracy"]
        and (tmp_path / f"runs/{name}-0/checkpoint.safetensors").exists()
    )


def test_a_picture_that_is_there_twice_or_not_at_all_is_counted():
    assert scale.faults(pd.DataFrame(dict(index=[0, 1, 2, 3])), 4) == (0, 0)
    assert scale.faults(pd.DataFrame(dict(index=[0, 1, 1, 3, 9])), 4) == (1, 1)


def test_pictures_of_the_benchmark_are_made_and_read(tmp_path):
    scale.make_pictures(tmp_path / "pictures", 30)
    found = scale.batch_explain(
        scale.small_model(), tmp_path / "pictures", tmp_path / "found", progress=False
    )
    table = pd.read_parquet(found)
    assert scale.faults(table, 30) == (0, 0) and scale.same_as_predicted(table, scale.small_model())
    table["class_1"] = table["class_1"].to_numpy()[::-1]
    assert not scale.same_as_predicted(table, scale.small_model())


def test_the_neighbours_table_goes_on_where_it_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "ASKED", ("evidence", "similarity", "CAM", "random"))
    monkeypatch.setattr(neighbours, "said", lambda model, data, i: data.label(i))

    def run(*more):
        sizes = "--seeds 0 --tries 1 --birds 32 --held-out 16 --epochs 1 --images 1 --masks 4".split()
        files = ["--folder", tmp_path, "--csv", tmp_path / "a.csv", "--tried", tmp_path / "t.csv"]
        monkeypatch.setattr(sys, "argv", ["neighbours.py", *sizes, *map(str, files), *map(str, more)])
        neighbours.main()

    run("--models", "linear")
    with monkeypatch.context() as m:
        m.setattr(neighbours, "learn", lambda *a: pytest.fail("trained again"))
        run("--models", "linear")
    run("--models", "linear", "ProtoPNet")
    run("--summary", tmp_path / "s.csv")
    rows, tried, summary = (list(csv.DictReader((tmp_path / f"{n}.csv").open())) for n in "ats")
    assert [r["method"] for r in rows[:3]] == ["CAM", "random", "RISE"]
    of_nets = {r["method"]: r for r in rows if r["model"] == "ProtoPNet"}
    assert set(of_nets) == {"evidence", "similarity", "random", "RISE"}
    assert float(of_nets["evidence"]["gap"]) < 1e-9 and rows[0]["gap"] == ""
    assert of_nets["RISE"]["passes"] == "5" and of_nets["RISE"]["left_when_shuffled"] == ""
    assert [(t["model"], t["setting"]) for t in tried] == [("linear", "0"), ("ProtoPNet", "0")]
    assert len(summary) == len(rows) and summary[0]["seeds"] == "1"
    birds = neighbours.Birds(tmp_path, 32, 16, 1, None)
    monkeypatch.setattr(neighbours, "best_setting", lambda *a: 2)
    neighbours.trained("INTR", 5, 0, birds, 1)
    assert (tmp_path / "linear-32x1-seed5-setting2.json").exists()  # what it started from


def test_the_papers_ablations_are_run_once_and_build_what_they_say(tmp_path, monkeypatch):
    for table, count in dict(heads=3, layers=4, encoders=4).items():
        rows = ablations.rows_of(table, "small")
        models = {name: ablations.build("small", 16, changes) for name, changes in rows.items()}
        assert len(models) == count
        for name, model in models.items():
            assert table != "heads" or name == f"{model.num_heads} heads"
            assert table != "layers" or name == f"{model.num_layers} decoder layers"
    assert ablations.rows_of("encoders", "paper")["DeiT-S"]["encoder_layers"] == 0
    birds = torch.utils.data.TensorDataset(torch.randn(16, 3, 32, 32), torch.arange(16))
    data = ([birds] * 3, 16, ablations.Recipe(1))
    monkeypatch.setattr(ablations, "small_data", lambda: data)
    given = ["ablations.py", "heads", "--seeds", "0", "--csv", str(tmp_path / "a.csv")]
    monkeypatch.setattr(sys, "argv", given)
    ablations.main()
    monkeypatch.setattr(ablations, "fit", lambda *a, **k: pytest.fail("trained again"))
    ablations.main()
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [r["row"] for r in rows] == ["4 heads", "8 heads", "16 heads"] and rows[0]["epochs"] == "1"
    monkeypatch.setattr(sys, "argv", [*given, "--size", "paper"])
    with pytest.raises(SystemExit):
        ablations.main()
