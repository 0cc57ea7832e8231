"""AttributeStudy: no answer is lost or mixed in, and the score is the paper's."""

import json

import pytest

from intr_nb.browsers.attribute_study import AttributeStudy
from intr_nb.data.birds import Aviary
from intr_nb.evaluation.user_study import StudyExample, append_answer, bird_examples, read_answers
from intr_nb.models.checkpoints import pretrained

MODEL, BIRDS = pretrained("aviary16"), Aviary(32, seed=2)
EXAMPLES = bird_examples(BIRDS, 2, 1)


def fill(path, student, choose):
    s = AttributeStudy(MODEL, EXAMPLES, student, path)
    for i, h in s.order:
        s.answer(choose(s, i, h))
    return s


def test_a_half_written_line_costs_only_itself(tmp_path):
    path = tmp_path / "a.jsonl"
    s = AttributeStudy(MODEL, EXAMPLES, "Ada", path)
    s.answer(None)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-9])
    s = AttributeStudy(MODEL, EXAMPLES, "Ada", path)
    assert s.position == 1
    s.answer(None)
    assert AttributeStudy(MODEL, EXAMPLES, "Ada", path).answered == 2


def test_order_is_the_students_own_and_stays():
    a, b, c = (
        AttributeStudy(MODEL, EXAMPLES, n, seed=s, path="/nonexistent/none.jsonl").order
        for n, s in (("Ada", 0), ("Ben", 0), ("Ada", 1))
    )
    assert (
        a == AttributeStudy(MODEL, EXAMPLES, "Ada", path="/nonexistent/none.jsonl").order
        and a != b
        and a != c
        and sorted(a) == sorted(b)
    )


def test_an_answer_can_be_changed(tmp_path):
    s = AttributeStudy(MODEL, EXAMPLES, "Ada", tmp_path / "a.jsonl")
    first, (i, h) = list(EXAMPLES[s.order[0][0]].attributes)[0], s.order[0]
    s.answer(None)
    s.position = 0
    s.answer(first)
    assert AttributeStudy(MODEL, EXAMPLES, "Ada", tmp_path / "a.jsonl").answers == {(i, h): first}


def test_more_than_half_must_name_it(tmp_path):
    def first(s, i, h):
        return list(s.examples[i].attributes)[0]

    files = [
        fill(tmp_path / f"{k}.jsonl", f"s{k}", first if k < 2 else lambda *_: None).path for k in range(4)
    ]
    s = AttributeStudy(MODEL, EXAMPLES, "x", tmp_path / "x.jsonl")
    assert s.score(*files).majority == 0  # two of four are not more than half
    n = sum(len(e.attributes) for e in EXAMPLES)
    assert (
        s.score(*files[:3]).majority == pytest.approx(len(EXAMPLES) / n) and s.score(*files[:3]).students == 3
    )


def test_an_unfinished_image_does_not_count(tmp_path):
    s = AttributeStudy(MODEL, EXAMPLES, "Ada", tmp_path / "a.jsonl")
    s.answer(None)
    assert s.score().rows == [] and s.score().students == 0


def test_readers_of_the_masks_reach_the_ceiling(tmp_path):
    s = fill(tmp_path / "a.jsonl", "Ada", lambda s, i, h: s.truth(i)[h])
    assert s.score().majority == s.score().possible and s.score().right == 1


@pytest.mark.parametrize(
    "line, words",
    [
        ('{"a": 1}', "is no answer"),
        (
            json.dumps(dict(study="other", student="s", image="i", head=0, answer=None, time="1")),
            "belongs to study other",
        ),
    ],
)
def test_strange_lines(tmp_path, line, words):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=words):
        AttributeStudy(MODEL, EXAMPLES, "Ada", tmp_path / "a.jsonl")


def test_without_masks_there_is_no_truth(tmp_path):
    e = [StudyExample(EXAMPLES[0].image, {'<img src=x onerror="alert(1)">': "yes"})]
    s = AttributeStudy(MODEL, e, "../../Ada <b>", tmp_path / "a.jsonl")
    view, s.pause = s.view(), 0
    for _ in range(len(s.order)):
        view.children[2].children[2].children[0].click()
    score = s.score()
    assert (
        not s.error
        and score.majority == 1
        and score.possible is None
        and "<img" not in score._repr_html_()
        and "<img" not in s.to_figure().to_json().replace("\\u003c", "<")
    )
    assert "/" not in AttributeStudy(MODEL, e, "../../Ada").path.name


def test_a_file_that_cannot_be_written_is_told_and_the_question_stays(tmp_path):
    s = AttributeStudy(MODEL, EXAMPLES, "Ada", tmp_path / "no" / "a.jsonl")
    view = s.view()
    view.children[2].children[2].children[0].click()
    assert "FileNotFoundError" in s.error and s.position == 0 and s.answers == {}


def test_a_double_click_is_one_answer_and_open_questions_are_told(tmp_path):
    s = AttributeStudy(MODEL, EXAMPLES, "Ada", tmp_path / "a.jsonl")
    view = s.view()
    back, on, answers = view.children[2].children
    answers.children[0].click(), answers.children[0].click()
    assert s.answered == 1 and s.position == 1
    for _ in range(len(s.order)):
        on.click()
    assert (
        f"{len(s.order) - 1} of {len(s.order)} questions are still open" in s.canvas().svg
        and "Thank you" not in s.canvas().svg
    )
    s.canvas()._handle_custom_msg(dict(type="click", name="question 1", row=None, column=None), [])
    assert s.position == 1 and not s.error
    back.click()
    assert s.position == 0


def test_wrong_values():
    for wrong, words in (
        (dict(examples=[]), "empty"),
        (dict(what="value_scores"), "attention"),
        (dict(student=" "), "student is empty"),
    ):
        with pytest.raises(ValueError, match=words):
            AttributeStudy(**dict(dict(model=MODEL, examples=EXAMPLES, student="Ada"), **wrong))
    with pytest.raises(ValueError, match="each=9"):
        bird_examples(BIRDS, 2, 9)
    with pytest.raises(FileNotFoundError, match="no answers"):
        read_answers("nowhere.jsonl")
    assert callable(append_answer)
