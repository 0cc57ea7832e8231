"""The study without a screen: answers that survive a crash, truths by masks, and the paper's score."""

import json

import numpy as np
import pytest
import torch

from intr_nb.data.birds import Aviary
from intr_nb.evaluation.user_study import (
    StudyExample,
    append_answer,
    bird_examples,
    image_fingerprints,
    question_order,
    read_answers,
    score_answers,
    study_fingerprint,
    true_attributes,
)
from intr_nb.models.checkpoints import pretrained

BIRDS = Aviary(32, seed=2)
EXAMPLES = bird_examples(BIRDS, 2, 1)
LINE = dict(study="s", student="Ada", image="i", head=0, answer="wing", time="1")


def sheets(answers: dict, heads: int):
    "{student: [one answer a head]} to a single image, as `read_answers` returns them"
    return {(s, "i", h): dict(answer=a[h]) for s, a in answers.items() for h in range(heads) if h < len(a)}


def score(answers, attributes=("wing", "crown"), truth=None, heads=2):
    example = StudyExample(None, dict.fromkeys(attributes, "red"))
    return score_answers(sheets(answers, heads), [example], ["i"], [truth], heads)


def test_half_a_line_costs_only_itself(tmp_path):
    path = tmp_path / "a.jsonl"
    append_answer(path, LINE)
    path.write_bytes(path.read_bytes() + b'{"study": "s", "stu')
    append_answer(path, LINE | dict(head=1, answer=None))
    assert [a["answer"] for a in read_answers(path, study="s").values()] == ["wing", None]


def test_of_two_answers_the_later_counts_whatever_the_file(tmp_path):
    append_answer(tmp_path / "a.jsonl", LINE | dict(time="2", answer="crown", person="p"))
    append_answer(tmp_path / "b.jsonl", LINE | dict(person="p", student="ADA "))
    (answer,) = read_answers(tmp_path / "a.jsonl", tmp_path / "b.jsonl").values()
    assert answer["answer"] == "crown"


@pytest.mark.parametrize(
    "one, other", [({}, {}), (dict(person="p"), dict(person="q")), (dict(person="p"), {})]
)
@pytest.mark.parametrize("name", ["Ada", " ada", "ADA\u00a0"])
def test_two_people_of_one_name_are_not_pooled(tmp_path, name, one, other):
    append_answer(tmp_path / "a.jsonl", LINE | one)
    append_answer(tmp_path / "b.jsonl", LINE | other | dict(student=name, head=1))
    with pytest.raises(ValueError, match="two people are called 'Ada', in .*a.jsonl' and in .*b.jsonl'"):
        read_answers(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    append_answer(tmp_path / "c.jsonl", LINE | other | dict(student="Ada B", head=1))
    assert len(read_answers(tmp_path / "a.jsonl", tmp_path / "c.jsonl")) == 2


def test_two_people_in_one_file(tmp_path):
    for person in "pq":
        append_answer(tmp_path / "a.jsonl", LINE | dict(person=person))
    with pytest.raises(ValueError, match="two people are called 'Ada'"):
        read_answers(tmp_path / "a.jsonl")


def test_the_chance_level_is_that_of_the_buttons():
    assert score(dict(a=["wing", None]), truth=["wing", None]).chance == pytest.approx(1 / 3)
    assert score(dict(a=["wing", None])).chance is None


@pytest.mark.parametrize(
    "line, words",
    [
        ({"a": 1}, "line 1 .* is no answer: expected study, student, .* and time"),
        (LINE | dict(study="other"), "belongs to study other, not s"),
    ],
)
def test_strange_lines(tmp_path, line, words):
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=words):
        read_answers(tmp_path / "a.jsonl", study="s")
    with pytest.raises(FileNotFoundError, match="no answers"):
        read_answers(tmp_path / "nowhere.jsonl")


def test_more_than_half_must_name_it():
    assert score(dict(a=["wing", None], b=[None, None])).majority == 0
    s = score(dict(a=["wing", None], b=["wing", "crown"], c=[None, None]))
    assert s.majority == 0.5 and s.students == 3 and s.possible is None and s.right is None
    assert s.by_attribute() == dict(wing=1.0, crown=0.0)


def test_an_unfinished_image_does_not_count():
    s = score(dict(a=["wing"]))
    assert s.rows == [] and s.students == 0 and np.isnan(s.majority)


def test_the_truth_is_the_ceiling_and_guesses_are_not_right():
    s = score(dict(a=["wing", None]), truth=["wing", None])
    assert s.possible == s.majority == 0.5 and s.right == 1
    assert score(dict(a=["crown", "wing"]), truth=["wing", None]).right == 0


def test_truth_of_a_map_is_where_it_lies_area_for_area():
    masks = {k: np.zeros((8, 8), bool) for k in ("wing", "crown", "tail")}
    masks["wing"][:4, :4], masks["crown"][:4, 4:], masks["tail"][4:, :4] = True, True, True
    e = StudyExample(None, dict(wing="red", crown="red"), masks)  # the tail is plain: there, but no answer
    maps = torch.zeros(3, 2, 2)
    maps[0, 0, 1] = maps[1, 1, 1] = maps[2, 0, 0] = 1
    assert true_attributes(maps, e) == ["crown", None, "wing"]
    assert true_attributes(maps, StudyExample(None, e.attributes)) is None


def test_orders_and_fingerprints_are_the_same_again():
    assert question_order(3, 4, "Ada") == question_order(3, 4, "Ada") != question_order(3, 4, "Ben")
    assert sorted(question_order(3, 4, "Ada", 1)) == [(i, h) for i in range(3) for h in range(4)]
    model = pretrained("aviary16")
    images = image_fingerprints(model, EXAMPLES)
    assert len(set(images)) == len(EXAMPLES) and images == image_fingerprints(model, EXAMPLES)
    one = study_fingerprint(model, images, ["wing"], 8, "attention")
    assert one != study_fingerprint(model, images, ["wing", "crown"], 8, "attention")


def test_wrong_numbers():
    with pytest.raises(ValueError, match="each=9"):
        bird_examples(BIRDS, 2, 9)
    with pytest.raises(ValueError, match="species=17.*1 to 16"):
        bird_examples(BIRDS, 17, 1)


def test_html_is_escaped():
    assert "<b>" not in score(dict(a=[None, None]), attributes=("<b>",))._repr_html_()
