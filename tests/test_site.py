"""The published site: what nbdev hands to quarto is whole, and every notebook, link and picture can be
reached."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from readme import LINK
from uses import parsed

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
NOTEBOOKS = [
    path.relative_to(NBS)
    for path in sorted(NBS.rglob("*.ipynb"))
    if not any(part.startswith((".", "_")) for part in path.relative_to(NBS).parts)
]
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=str)


@pytest.fixture(scope="session")
def processed(tmp_path_factory):
    "The notebooks as nbdev's own processors leave them for quarto."
    project = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "settings.ini", project)
    shutil.copy(ROOT / "_quarto.yml", project)
    shutil.copytree(NBS, project / "nbs", symlinks=True, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    env = {name: value for name, value in os.environ.items() if name != "IN_TEST"} | {"PYTHONPATH": str(ROOT)}
    imports = "from nbdev.quarto import refresh_quarto_yml; from nbdev.serve import proc_nbs"
    command = f"{imports}; refresh_quarto_yml(); proc_nbs(n_workers=2)"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=project, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return project / "_proc"


def read(path):
    return nbformat.read(path, as_version=4).cells


def prose(cells):
    "The markdown of the cells, without code."
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.S)


def headings(cells):
    return re.findall(r"^#+ .*$", prose(cells), re.M)


def rich_outputs(cells):
    for cell in cells:
        for output in cell.get("outputs", []):
            for kind in ("text/html", "text/markdown"):
                yield output.get("data", {}).get(kind, "")


def test_both_quarto_files_read_the_same():
    link = NBS / "_quarto.yml"
    assert link.read_text() == (ROOT / "_quarto.yml").read_text()
    assert os.readlink(link) == "../_quarto.yml"


def test_what_quarto_reads_is_there(processed):
    config = yaml.safe_load((processed / "_quarto.yml").read_text())
    for name in config["metadata-files"] + [config["format"]["html"]["css"]]:
        assert (processed / name).is_file(), f"_quarto.yml names {name}, which is not in nbs/"
    made_by_nbdev = (processed / "nbdev.yml").read_text()
    assert (NBS / "nbdev.yml").read_text() == made_by_nbdev, (
        "settings.ini changed: run nbdev_proc_nbs and commit nbs/nbdev.yml"
    )


def test_every_notebook_is_in_the_sidebar():
    def entries(items):
        for item in items:
            yield from entries(item["contents"]) if isinstance(item, dict) else [item]

    sidebar = yaml.safe_load((NBS / "sidebar.yml").read_text())["website"]["sidebar"]
    listed, there = list(entries(sidebar["contents"])), [path.as_posix() for path in NOTEBOOKS]
    assert sorted(listed) == sorted(there), "nbs/sidebar.yml and the notebooks in nbs/ differ"


def test_no_two_notebooks_become_one_page():
    "nbdev drops the number in front of a name: 01_model.ipynb and 02_model.ipynb would both be model.html."
    pages = [path.parent / re.sub(r"^\d+[a-zA-Z0-9]*_", "", path.name.lower()) for path in NOTEBOOKS]
    assert len(set(pages)) == len(pages)


@every_notebook
def test_notebook_starts_with_title_and_summary(path):
    "nbdev keeps of the title's cell the heading, one line of summary and `- key: value` lines; the rest of it is lost."
    lines = [line for line in read(NBS / path)[0].source.splitlines() if line.strip()]
    assert re.match(r"# \S", lines[0])
    assert re.match(r"> \S", lines[1])
    assert all(re.match(r"- \S+: \S", line) for line in lines[2:]), (
        f"the docs drop these lines of the first cell: {lines[2:]}"
    )


@every_notebook
def test_no_heading_is_lost(processed, path):
    source, shown = headings(read(NBS / path)), headings(read(processed / path))
    assert len(shown) == len(source) - 1, (
        f"the docs hide headings that end in ' -': {source}"
    )  # the title becomes front matter


@every_notebook
def test_no_error_is_published(processed, path):
    for cells in (read(NBS / path), read(processed / path)):
        errors = [
            output.ename
            for cell in cells
            for output in cell.get("outputs", [])
            if output.output_type == "error"
        ]
        assert not errors


@every_notebook
def test_links_and_pictures_resolve(path):
    cells = read(NBS / path)
    for text in (prose(cells), *rich_outputs(cells)):
        for _, target in LINK.findall(text):
            file = (NBS / path.parent / re.split("[#?]", target)[0]).resolve()
            assert file.is_relative_to(NBS), f"{target} leads out of nbs/: it cannot be reached on the site"
            assert file.is_file(), f"{target} leads nowhere"


def shows_a_picture(cell):
    "Whether the page shows a picture that is stored with the cell."
    if cell.cell_type != "code" or re.search(r"^#\| *(hide *$|include: *false)", cell.source, re.M):
        return False
    kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
    return any(kind.startswith("image/") for kind in kinds)


@every_notebook
def test_pictures_are_told_to_those_who_cannot_see_them(path):
    told = []
    for cell in filter(shows_a_picture, read(NBS / path)):
        alt = re.search(r'^#\| fig-alt: "([^"]*)"$', cell.source, re.M)
        assert alt, f'cell {cell.id} shows a picture: begin it with a line #| fig-alt: "what is to be seen"'
        told.append(alt[1])
        assert len(alt[1]) >= 30, f"too short to tell what is to be seen: {alt[1]!r}"
        assert "%" not in alt[1], f"write per cent, expected no %: {alt[1]!r}"
    assert len(set(told)) == len(told), f"two pictures of one notebook are told alike: {sorted(told)}"


def test_readme_links_and_pictures_resolve():
    text = re.sub(r"```.*?```|`[^`\n]+`", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
    missing = [target for _, target in LINK.findall(text) if not (ROOT / target.split("#")[0]).is_file()]
    assert not missing


@pytest.mark.skipif(
    not shutil.which("quarto"), reason="quarto is not on the PATH: the pages were not rendered"
)
def test_quarto_renders_every_page(processed):
    done = subprocess.run(["quarto", "render", "--no-cache"], cwd=processed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {
        page.relative_to(processed / "_docs").as_posix() for page in (processed / "_docs").rglob("*.html")
    }
    expected = {
        re.sub(r"(^|/)\d+[a-zA-Z0-9]*_", r"\1", path.with_suffix(".html").as_posix().lower())
        for path in NOTEBOOKS
    }
    assert expected <= pages


# -- what a page shows runs without what it hides --

HIDDEN = re.compile(r"^#\| *(hide\b|echo: *false|include: *false)", re.M)


def bound(source):
    "Names that a cell binds at its top level."
    tree = parsed(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((a.asname or a.name).split(".")[0] for a in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def read_names(source):
    tree = parsed(source)
    return {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.parts[0] in ("tutorials", "index.ipynb")], ids=str
)
def test_what_the_page_shows_runs_without_what_it_hides(path):
    "A reader copies the cells that are shown: none of them may need a name that only a hidden cell gives."
    shown, hidden = set(), set()
    for cell in read(NBS / path):
        if cell.cell_type != "code":
            continue
        if HIDDEN.search(cell.source):
            hidden |= set(bound(cell.source)) - shown
        else:
            shown |= set(bound(cell.source))
            lost = read_names(cell.source) & hidden - shown
            assert not lost, f"{sorted(lost)} come from a hidden cell, and this one is shown:\n{cell.source}"


# -- what tools/pages.py makes of it --


@pytest.fixture(scope="session")
def finished(processed, tmp_path_factory):
    "The processed notebooks as they are rendered."
    from pages import finish_all

    folder = tmp_path_factory.mktemp("finished") / "_proc"
    shutil.copytree(processed, folder, ignore=shutil.ignore_patterns(".*"))
    finish_all(folder)
    return folder


def outputs(cells):
    for cell in cells:
        for output in cell.get("outputs", []):
            yield output.get("data", {})


def test_finishing_a_notebook():
    from pages import finish

    fence = "```python\ndef f(x, # as in [`attend`](https://intr-nb.github.io/intr_nb/models/attention.html#attend)\n```"
    site = "https://intr-nb.github.io/intr_nb"
    text = f"See [`attend`]({site}/models/attention.html#attend), not [`_swap`]({site}/a.html#_swap)."
    two = f"[`attend`]({site}/models/attention.html#attend) and [`swap`]({site}/a.html#swap)"
    text += f" [By {two}](00_attention.ipynb)"  # by hand it was [By `attend` and `swap`](00_attention.ipynb)
    code = nbformat.v4.new_code_cell('#| code-fold: show\n#| code-summary: "Exported source"\ndef f(): ...')
    link = '<a href="../models/00_attention.ipynb#attend">1</a>'
    data = ({"text/html": link, "text/plain": "1"}, {"text/markdown": f"### f\n\n{fence}\n\n*{text}*"})
    code.outputs = [nbformat.v4.new_output("display_data", data=d) for d in data]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), code])
    finish(notebook, {"attend"}, "../")
    said = "See [`attend`](../models/attention.html#attend), not `_swap`. [By `attend` and `swap`](00_attention.ipynb)"
    assert notebook.cells[0].source == said
    assert code.source.startswith('#| code-fold: true\n#| code-summary: "Source"')
    raw, documented = (output.data for output in code.outputs)
    assert list(raw) == ["text/markdown"] and "../models/attention.html#attend" in raw["text/markdown"]
    assert "# as in attend\n" in documented["text/markdown"] and said in documented["text/markdown"]


def test_a_lab_on_the_site_has_no_hidden_tests_and_its_answers_in_folds():
    from pages import finish

    source = "if x:\n    ### BEGIN SOLUTION\n    y = 1\n    ### END SOLUTION\n"
    source += "### BEGIN HIDDEN TESTS\nask(2)\n### END HIDDEN TESTS"
    judged = dict(metadata=dict(nbgrader=dict(grade=True, solution=True)))
    answer = nbformat.v4.new_markdown_cell("**Model answer.** Both.", **judged)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source), answer])
    finish(notebook, set(), "../")
    assert [cell.source.split("\n") for cell in notebook.cells] == [
        ["if x:", "    y = 1"],
        ["<details>", "<summary>Model answer</summary>", "", "**Model answer.** Both.", "", "</details>"],
    ]


def test_the_deck_stands_by_itself(processed, tmp_path):
    from pages import deck, to_site

    shutil.copytree(processed / "labs", tmp_path / "labs")
    place, site = tmp_path / "labs" / "slides.ipynb", "https://intr-nb.github.io/intr_nb/"
    notebook = nbformat.read(place, as_version=4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    link = '<a href="../models/00_attention.ipynb#attend">1</a>'
    code.outputs = [nbformat.v4.new_output("display_data", data={"text/html": link, "text/plain": "1"})]
    text = f"[lab](01_attention_by_hand.ipynb), [`attend`]({site}models/attention.html#attend)"
    notebook.cells.append(nbformat.v4.new_markdown_cell(text))
    nbformat.write(notebook, place)
    made = deck(tmp_path)
    assert f"[lab]({site}labs/attention_by_hand.html)" in made.cells[-1].source
    assert f"[`attend`]({site}models/attention.html#attend)" in made.cells[-1].source
    said = json.dumps(made)
    assert "text/html" not in said and f"{site}models/attention.html#attend" in said
    assert "revealjs" in said and not re.search(r"\]\((?!https://)[^)]*\.(ipynb|html)", prose(made.cells))
    assert to_site("[a](#b), [c](https://d.org/e.ipynb)") == "[a](#b), [c](https://d.org/e.ipynb)"


@every_notebook
def test_tutorials_and_labs_say_where_to_run_them(finished, path):
    text = "".join(cell.source for cell in read(finished / path)[:3])
    wanted = path.parts[0] in ("tutorials", "labs") and path.name[0].isdigit()
    assert (f"/blob/main/nbs/{path.as_posix()}) · [Download the notebook](" in text) == wanted


@every_notebook
def test_no_page_asks_another_host_for_scripts(finished, path):
    "Quarto adds require.js and jQuery from elsewhere to a page with an output of HTML or JavaScript."
    for data in outputs(read(finished / path)):
        assert not {"text/html", "application/javascript"} & set(data)
        assert not any(kind.startswith("application/vnd.jupyter.widget") for kind in data)


def test_standalone_figures_load_late_and_from_the_site(finished):
    from pages import FIGURES

    cells = read(finished / "tutorials" / "09_browsers.ipynb")
    text = "".join(cell.source for cell in cells)
    for name in FIGURES.values():
        assert f"src='../figures/{name}.html'" in text
        assert (finished / "figures" / f"{name}.html").is_file(), f"no page gave the figure {name}"
    pages = sorted((finished / "figures").glob("*.html"))
    assert len(pages) >= 8 and (finished / "plotly.min.js").stat().st_size > 1e6
    for page in pages:
        said = page.read_text(encoding="utf-8")
        assert 'src="../plotly.min.js"' in said and "https://cdn." not in said, page.name
    for path in finished.rglob("*.ipynb"):
        for html in (output.get("text/markdown", "") for output in outputs(read(path))):
            assert "srcdoc" not in html and ("<iframe" not in html or "loading='lazy'" in html), path.name


def test_no_page_is_heavier_than_three_megabytes(finished):
    "What a reader loads before anything is clicked; frames come when they are in view."
    sizes = {path.name: path.stat().st_size for path in finished.rglob("*.ipynb")}
    assert not {name: size for name, size in sizes.items() if size > 3e6}


@every_notebook
def test_code_has_no_links(finished, path):
    for data in outputs(read(finished / path)):
        for fence in re.findall(r"```python.*?```", data.get("text/markdown", ""), re.S):
            assert "](" not in fence, fence


@every_notebook
def test_no_link_stands_in_a_link(finished, path):
    "Pandoc shows the inner one as it is typed: [`cam`](../explanations/class_activation.html#cam)."
    cells = read(finished / path)
    for text in (
        "".join(cell.source for cell in cells if cell.cell_type == "markdown"),
        *(data.get("text/markdown", "") for data in outputs(cells)),
    ):
        assert not re.search(r"\[([^][\n]*\[[^][]*\]\([^)]*\))+[^][\n]*\]\(", text), text


@every_notebook
def test_sources_are_folded(finished, path):
    for cell in read(finished / path):
        assert "code-fold: show" not in cell.source and "HIDDEN TESTS\n" not in cell.source


@every_notebook
def test_no_machine_and_no_progress_bar_is_published(path):
    for cell in read(NBS / path):
        text = "".join(str(output) for output in cell.get("outputs", []))
        assert not re.search(r"Traceback \(most recent|/home/|/root/|/work/|/tmp/|\w/s\]|\w/s, ", text), text


def test_all_names_are_listed():
    from names import all_names

    text = "".join(cell.source for cell in read(NBS / "names.ipynb"))
    assert set(re.findall(r"\[`(\w+)`\]\(", text)) == all_names()


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.parts[0] == "tutorials"], ids=str)
def test_a_tutorial_says_at_its_top_what_for(path):
    top = "".join(cell.source for cell in read(NBS / path)[:4])
    assert "**After this you can** " in top and "**Needed:** " in top
    assert re.search(r"\*\*Time:\*\* \d+ minutes to read", top)


# -- the page on the paper is complete --

IN_THE_PAPER = [
    f"{kind} {n}" for kind, last in dict(Eq=11, Table=6, Figure=15).items() for n in range(1, last + 1)
]


@pytest.fixture(scope="module")
def paper_rows():
    "What the page on the paper says of each of its parts: part -> (what it says, where, what came out)."
    text = "\n".join(cell.source for cell in read(NBS / "explanations/reproducing_the_paper.ipynb"))
    rows = re.findall(r"^\| (Eq\.|Table|Figure) (\d+) \| (.+) \| (.+) \| (.+) \|$", text, re.M)
    found = {f"{kind.rstrip('.')} {n}": cells for kind, n, *cells in rows}
    assert len(found) == len(rows), "a part of the paper has two rows"
    return found


def test_the_page_on_the_paper_has_a_row_for_each_of_its_parts(paper_rows):
    assert list(paper_rows) == IN_THE_PAPER


@pytest.mark.parametrize("part", IN_THE_PAPER)
def test_a_row_on_the_paper_says_where_or_why_not(paper_rows, part):
    _, where, outcome = paper_rows[part]
    assert LINK.search(where) or "not done: " in outcome, f"{part} has neither a link nor a reason"
    assert "not done" not in outcome or re.search(r"not done[^:]*: \S+ \S+ \S+", outcome), outcome


def told(name):
    "What a notebook shows: text and text outputs."
    cells = read(NBS / name)
    said = (
        str(o.get("text", o.get("data", {}).get("text/plain"))) for c in cells for o in c.get("outputs", [])
    )
    return "\n".join([*(cell.source for cell in cells), *said])


@pytest.mark.parametrize("part", IN_THE_PAPER)
def test_what_came_out_stands_where_the_row_says(paper_rows, part):
    "Each number is in a linked notebook, in the table of the home page, or, rounded, in a named file."
    claim, *cells = paper_rows[part]
    text = told("index.ipynb") + claim
    for _, target in LINK.findall(" ".join(cells)):
        text += told((Path("explanations") / target).as_posix())
    for name in re.findall(r"`(benchmarks/\w+\.csv)`", cells[1]):
        numbers = re.findall(r"\d+\.\d+", (ROOT / name).read_text())
        text += " ".join(f"{float(n):.{k}f}" for n in numbers for k in (1, 2, 3))
    lost = [n for n in re.findall(r"(?<![\w.])\d+\.\d+", cells[1]) if n not in text]
    assert not lost, f"{part}: {lost} stand in no file that this row names"


# -- the glossary --


def glossary():
    "The words that have an entry, in the order of the page."
    return [
        line[4:] for line in headings(read(NBS / "explanations" / "glossary.ipynb")) if line[:4] == "### "
    ]


def test_glossary_explains_what_browsers_explain_under_the_mouse():
    from intr_nb.browsers.scene import _WORDS

    missing = [words for words in _WORDS if not any(re.fullmatch(words, entry) for entry in glossary())]
    assert not missing, f"give these an entry in nbs/explanations/glossary.ipynb: {missing}"


def test_glossary_is_in_the_order_of_the_alphabet():
    assert glossary() == sorted(set(glossary()), key=str.casefold)


def test_links_within_the_glossary_have_an_entry():
    anchors = {re.sub(r"\s+", "-", entry.lower()) for entry in glossary()}
    linked = re.findall(r"\]\(#([^)]+)\)", prose(read(NBS / "explanations" / "glossary.ipynb")))
    assert linked and set(linked) <= anchors, f"these lead nowhere: {sorted(set(linked) - anchors)}"


# -- rendering: quarto itself is not here --

QUARTO = """#!/bin/sh
echo "$@" > called
mkdir _docs && touch _docs/index.html
echo "$SAID" >&2
exit $CODE
"""


PYTHON = """#!/bin/sh
echo "$@" > tried
exit $WRONG
"""


@pytest.fixture
def rendering(tmp_path, monkeypatch):
    "render() in a project of its own, with a quarto that says this, and pages whose tests end like that."
    import pages

    for name, script in dict(quarto=QUARTO, python=PYTHON).items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "_proc").mkdir()
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def render(said="", code=0, wrong=0):
        for name, value in dict(SAID=said, CODE=code, WRONG=wrong).items():
            monkeypatch.setenv(name, str(value))
        pages.render(tmp_path / "_proc")

    return tmp_path, render


def test_rendered_pages_are_kept_and_tried(rendering):
    project, render = rendering
    with pytest.raises(SystemExit, match="not ready to be published"):
        render(wrong=1)
    assert (project / "_proc" / "called").read_text() == "render --no-cache\n"
    assert "pytest tests/rendered.py" in (project / "tried").read_text()
    assert (project / "_docs" / "index.html").is_file() and (ROOT / "tests" / "rendered.py").is_file()
    render()


@pytest.mark.parametrize(
    "how, expected", [(dict(said="WARN: no such page"), "quarto warned 1 times"), (dict(code=3), "3")]
)
def test_a_warning_of_quarto_stops_the_site(rendering, how, expected):
    project, render = rendering
    with pytest.raises(SystemExit, match=expected):
        render(**how)
    assert not (project / "_docs").exists()


def test_what_publishes_pins_its_quarto():
    steps = yaml.safe_load((ROOT / ".github/workflows/site.yaml").read_text())["jobs"]["build"]["steps"]
    (setup,) = (step for step in steps if "quarto-actions/setup" in step.get("uses", ""))
    assert re.fullmatch(r"\d+\.\d+\.\d+", setup["with"]["version"])
    assert any(step.get("run", "").startswith("make site") for step in steps)


# -- and what tests/rendered.py would find --

PAGE = """<!doctype html><html lang="en"><head><title>Birds</title><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><main><h1 id="top">Birds</h1>{body}</main>{after}</body></html>"""
BAD = """<h3>Too deep</h3><p style="width: 3000px">wide</p><p style="color: #bbb">pale</p>
<img src="lost.png" alt="lost"><a href="#nowhere">there</a><script src="https://example.org/a.js"></script>
<img src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>">
<div class="cell-output"><pre style="width: 9em; overflow: auto">a line that does not fit its box</pre></div>"""
# what quarto's themes do, in short; styles.css and the script after the body have to make it readable
THEME = """body { background: #222; color: #fff; font-size: 17px } a { color: #0c9 }
details > summary, .nav-page a { color: #595959 } figcaption { color: #666 }
code { background: #f8f9fa; white-space: pre } .table a { word-break: break-word }
pre { overflow: auto } pre code { background: none }"""
BODY = """<details open><summary>Solution</summary><p>It adds up.</p></details>
<figure><figcaption>A bird</figcaption></figure><p class="nav-page"><a href="#top">Next page</a></p>
<ul><li>Two edits: <code>compare_edit(model, photo, [edits["black wing"], edits["a corner"]], seed=0)</code></li></ul>
<table class="table"><tr><th><code>python</code></th><th>a wide column</th><th>another wide column</th></tr>
<tr><td><a href="#top">attributions counterfactuals</a></td><td>an-answer-in-one-word</td><td>a-third</td></tr></table>
<div class="cell-output"><pre><code>{line}</code></pre></div>"""


@pytest.fixture(scope="module")
def looked(chrome, tmp_path_factory):
    "What is wrong with a page of this body and style, in a browser; with the site's own styles and script."
    import rendered

    after = "".join(
        item["text"]
        for item in yaml.safe_load((ROOT / "_quarto.yml").read_text())["format"]["html"]["include-after-body"]
    )
    folder = tmp_path_factory.mktemp("pages")
    with rendered.served(folder) as home:

        def look(body, theme, width, scheme):
            style = theme + (NBS / "styles.css").read_text()
            (folder / "page.html").write_text(PAGE.format(style=style, body=body, after=after))
            return "\n".join(rendered.faults(chrome, home, "page.html", width, scheme))

        yield look


def test_what_is_wrong_with_a_rendered_page_is_found(looked):
    said = looked(BAD, "", 390, "light")
    for fault in ("px wider", "levels [1, 3]", "no alt text: data:", "an empty picture: http", "nowhere"):
        assert fault in said
    assert "another host: https://example.org/a.js" in said and "color-contrast" in said
    assert "an output is cut: a line" in looked(BAD, "", 1280, "light")


@pytest.mark.parametrize("width", [390, 1280])
def test_styles_make_the_themes_readable(looked, width):
    line = "a line that goes on and on " * 9
    assert not looked(BODY.format(line=line), THEME, width, "dark")
