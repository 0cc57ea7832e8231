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
        (dict(student=" You"), "anybody could write that"),
    ):
        with pytest.raises(ValueError, match=words):
            AttributeStudy(**dict(dict(model=MODEL, examples=EXAMPLES, student="Ada"), **wrong))
    with pytest.raises(ValueError, match="each=9"):
        bird_examples(BIRDS, 2, 9)
    with pytest.raises(FileNotFoundError, match="no answers"):
        read_answers("nowhere.jsonl")
    assert callable(append_answer)


def row(study):
    "The field for the name and its button"
    return study.view().children[3].children


def test_who_has_no_name_is_asked_for_one(tmp_path):
    s = AttributeStudy(MODEL, EXAMPLES, path=tmp_path / "a.jsonl")
    view, (field, start) = s.view(), row(s)
    assert "a name or a number" in s.canvas().svg and view.children[2].layout.display == "none"
    for wrong, words in ("", "student is empty"), ("you", "anybody could write that"):
        field.value = wrong
        start.click()
        assert words in s.error and "intr-nb-wrong" in field._dom_classes and s.student is None
    field.value = " Ada  B "
    start.click()
    assert s.student == "Ada B" and not s.error and "question 1 of 16" in s.canvas().svg
    assert view.children[3].layout.display == "none" and view.children[2].layout.display is None
    assert [b.description for b in view.children[2].children[2].children] == [t for t, _ in s._choices()]
    view.children[2].children[2].children[0].click()
    assert s.answered == 1 and json.loads(s.path.read_text())["student"] == "Ada B"
    with pytest.raises(ValueError, match="no student yet"):
        AttributeStudy(MODEL, EXAMPLES).to_figure()


def test_a_page_saved_before_the_end_does_not_hold_the_truth(tmp_path, monkeypatch):
    s = fill(tmp_path / "a.jsonl", "Ada", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(
            AttributeStudy, "truth", lambda *_: pytest.fail("what `save` writes asked for the truth")
        )
        assert len(s.to_figure().layout.updatemenus) == 1
    s.tell()
    i = s.order[0][0]
    words = [trace.text[0] for trace in s.to_figure().data if trace.type == "scatter"]
    assert words == [(s.truth(i)[h] or "none of these").replace("_", " ") for _, h in s.questions_of(i)]


def test_a_name_that_has_answers_is_asked_for_twice(tmp_path):
    path = tmp_path / "a.jsonl"
    AttributeStudy(MODEL, EXAMPLES, "Ada", path).answer(None)
    s = AttributeStudy(MODEL, EXAMPLES, path=path)
    s.view(), setattr(row(s)[0], "value", "ADA"), row(s)[1].click()
    assert "1 answer of 'Ada' is already in a.jsonl" in s.error
    assert "press Start once more" in s.error and s.student is None
    row(s)[1].click()
    assert s.student == "Ada" and s.position == 1 and not s.error, "the order is that of the first spelling"
    assert "go on only if" in s.notice and "go on only if" in s.canvas().svg
    s.answer(None)
    assert s.notice == "" and "go on only if" not in s.canvas().svg
    assert len({json.loads(line)["person"] for line in path.read_text().splitlines()}) == 1


def test_another_file_of_that_name_is_told(tmp_path):
    AttributeStudy(MODEL, EXAMPLES, "Ada", tmp_path / "a.jsonl").answer(None)
    (tmp_path / "other things.jsonl").write_text("no answers\n[1]\n")
    s = AttributeStudy(MODEL, EXAMPLES, "ada ", tmp_path / "b.jsonl")
    assert "a.jsonl has answers of 'Ada'" in s.notice and "take a name of your own" in s.notice
    assert AttributeStudy(MODEL, EXAMPLES, "Ben", tmp_path / "c.jsonl").notice == ""
    s.answer(None)
    with pytest.raises(ValueError, match="two people are called"):
        s.score(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes())
    assert s.score(tmp_path / "a.jsonl", tmp_path / "copy.jsonl").students == 0


def test_spellings_of_a_name_share_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    AttributeStudy(MODEL, EXAMPLES, "Ada").answer(None)
    assert AttributeStudy(MODEL, EXAMPLES, "ADA ").answered == 1 and len(list(tmp_path.iterdir())) == 1


def test_what_was_right_is_told_at_the_end_and_not_before(tmp_path):
    path = tmp_path / "a.jsonl"
    s = AttributeStudy(MODEL, EXAMPLES, "Ada", path)
    s.view()
    s.canvas()._handle_custom_msg(dict(type="click", name="tell"), [])
    assert "told at the end" in s.error and not s.told
    wrong = [next(a for a in (None, *EXAMPLES[i].attributes) if a != s.truth(i)[h]) for i, h in s.order]
    for k, (i, h) in enumerate(s.order):
        assert "the truth" not in s.canvas().svg and "✗" not in s.canvas().svg
        s.answer(s.truth(i)[h] if k < 5 else wrong[k])
    assert "click here to see what was right" in s.canvas().svg.lower() and "✗" not in s.canvas().svg
    s.canvas()._handle_custom_msg(dict(type="click", name="tell"), [])
    drawn = s.canvas().svg
    assert not s.error and drawn.count("✓") == 5 and drawn.count("✗") == drawn.count(">is: ") == 11
    assert f"5 of 16 answers are right (31%); guessing would reach {s.chance():.0%}" in drawn
    options = [len(EXAMPLES[i].attributes) + 1 for i, _ in s.order]
    assert s.chance() == pytest.approx(sum(1 / n for n in options) / 16) == pytest.approx(s.score().chance)
    s.position = 7
    assert "the truth: " in s.canvas().svg and s.view().children[2].children[2].children == ()
    again = AttributeStudy(MODEL, EXAMPLES, "Ada", path)
    assert again.told and again.answers == s.answers
    with pytest.raises(ValueError, match="stay as they are"):
        again.answer(None)


def test_the_copied_cell_goes_on(tmp_path):
    s = AttributeStudy(MODEL, EXAMPLES, None, tmp_path / "a.jsonl")
    s.enter("Ada")
    s.answer(None)
    scope = dict(model=MODEL, examples=EXAMPLES)
    exec(s.code().replace("AttributeStudy(", "made = AttributeStudy("), scope)
    assert scope["made"].student == "Ada" and scope["made"].position == 1
