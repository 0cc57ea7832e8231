"""Finish the notebooks that nbdev made in _proc/ for the site; where quarto is on the PATH, render and try them.

Usage: python tools/pages.py          (from anywhere in the project; `make site` does it)
       python tools/pages.py slides   the lecture alone, as slides/slides.html (`make slides` does it)
What nbdev leaves is right in a notebook and less so on a page: an output of HTML makes quarto load require.js
and jQuery from other hosts, backticks become links within the code of a signature and within other links, and
the source of every function stands open above its documentation. The browsers' standalone figures become files of their
own, loaded when they come into view, with plotly's script beside them; the tutorial on browsers shows them, too.
Below each signature stands where the tutorials and labs use it.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml
from names import all_names
from stills import write
from uses import all_uses, told_where

ROOT = Path(__file__).resolve().parent.parent
WEBSITE = yaml.safe_load((ROOT / "nbs" / "nbdev.yml").read_text(encoding="utf-8"))["website"]
FENCE = "`" * 7  # longer than any in an output
LINK = re.compile(r"\[`?([^\]`]+)`?\]\([^)\s]*\)")
SITE = WEBSITE["site-url"] + "/"
REPOSITORY = WEBSITE["repo-url"].removeprefix("https://github.com/")
PAGE = re.compile(r'href="(?!\w+:)([^"]*/)?(?:\d+_)?([^"/]+)\.ipynb')  # of a notebook, in HTML
ABOUT = re.compile(r"""(\]\(|href=")(?!\w+:|/|#)([^)"#\s]+)\.ipynb""")  # the same, and in markdown
HIDDEN_TESTS = re.compile(r"^ *### BEGIN HIDDEN TESTS\n.*?^ *### END HIDDEN TESTS\n?", re.M | re.S)
MARKS = re.compile(r"^ *### (BEGIN|END) SOLUTION\n?", re.M)
FRAME = re.compile(r"srcdoc='([^']*)'")
PLOTLY = re.compile(r'<script[^>]*src="https://cdn\.plot\.ly/[^"]*"[^>]*>')
# which page's standalone figure stands in the tutorial on browsers, below the picture of that name
FIGURES = dict(
    head_browser="head_standalone",
    evidence_browser="evidence_standalone",
    bird_editor="bird_editor",
    paint_editor="paint_editor",
    candidate_browser="candidate_standalone",
    method_browser="method_standalone",
    attribute_study="study_standalone",
)
NESTED = re.compile(r"\[([^][\n]*)\[(`[^`\]]+`)\]\([^)\s]*\)([^][\n]*)\](?=\()")  # a link in a link's text
OWN = re.compile(rf"\[`([^`\]]+)`\]\({re.escape(SITE)}([^)\s]*)\)")


def raw_html(data, linked):
    "An output's HTML as a raw block of markdown, which quarto passes on without scripts of its own."
    if "text/html" in data:
        linked = linked(data.pop("text/html"))
        data.pop("text/plain", None)
        data["text/markdown"] = f"{FENCE}{{=html}}\n{linked}\n{FENCE}"


def plain_signatures(text):
    "Markdown in which code has no links."
    return re.sub(r"```.*?```", lambda fence: LINK.sub(r"\1", fence[0]), text, flags=re.S)


def own_links(text, names, home):
    "Links that nbdev made of backticks: to public names alone, and within the site wherever it is served."

    def link(found):
        name, place = found.groups()
        if name.split(".")[0].split("(")[0] not in names:
            return f"`{name}`"
        return f"[`{name}`]({home}{place})"

    return OWN.sub(link, NESTED.sub(r"[\1\2\3]", text))


def closed(source):
    "The source of an exported function in a fold that is shut: its documentation follows."
    if "#| code-fold: show" not in source:
        return source
    source = source.replace("#| code-fold: show", "#| code-fold: true")
    return source.replace('"Exported source"', '"Source"')


def ungraded(cell):
    "A lab's cell for readers: hidden tests and nbgrader's marks are the course's, a model answer is in a fold."
    marks = cell.metadata.get("nbgrader", {})
    if cell.cell_type == "code":
        return MARKS.sub("", HIDDEN_TESTS.sub("", cell.source)).rstrip("\n")
    if marks.get("grade") and marks.get("solution"):
        return f"<details>\n<summary>Model answer</summary>\n\n{cell.source}\n\n</details>"
    return cell.source


def doors(path):
    "Where a reader can run a tutorial or a lab, as a line of markdown; nothing for other pages."
    if path.parts[0] not in ("tutorials", "labs") or not path.name[0].isdigit():
        return ""
    place = f"main/nbs/{path.as_posix()}"
    colab = f"https://colab.research.google.com/github/{REPOSITORY}/blob/{place}"
    file = f"https://github.com/{REPOSITORY}/raw/{place}"
    install = f"{'../' * (len(path.parts) - 1)}labs/installing.ipynb"
    return f"[Open in Colab]({colab}) · [Download the notebook]({file}) · [What to install]({install})"


def framed(text, name, home, figures):
    "HTML whose frames load a page from `figures`, kept there by name, in place of holding it."

    def keep(found):
        page = html.unescape(found[1])
        figures[name] = PLOTLY.sub('<script charset="utf-8" src="../plotly.min.js">', page)
        return f"src='{home}figures/{name}.html'"

    return FRAME.sub(keep, text)


def to_page(text):
    "HTML whose links to notebooks lead to their pages, from where it stands."
    return PAGE.sub(r'href="\1\2.html', text)


def to_site(text):
    "HTML or markdown of labs/ whose links to notebooks lead to the site, from wherever it stands."

    def link(found):
        folder, page = os.path.split(os.path.normpath(f"labs/{found[2]}"))
        return f"{found[1]}{SITE}{folder}/{page.lstrip('0123456789_')}.html"

    return ABOUT.sub(link, text)


def finish(notebook, names, home, linked=to_page, page="page", figures=None):
    "Change a processed notebook that was read; from it, `home` leads to a site with these public names."
    for cell in notebook.cells:
        cell.source = ungraded(cell)
        if cell.cell_type == "markdown":
            cell.source = own_links(cell.source, names, home)
        if cell.cell_type != "code":
            continue
        cell.source = closed(cell.source)
        for output in cell.outputs:
            data = output.get("data", {})
            if "text/markdown" in data:
                text = plain_signatures(data["text/markdown"])
                data["text/markdown"] = own_links(text, names, home)
            if "text/html" in data and figures is not None:
                data["text/html"] = framed(data["text/html"], page, home, figures)
            raw_html(data, linked)


def frame(name):
    "A figure that was kept, in a frame that scrolls on a phone, as a cell of markdown."
    page = FIGURES[name]
    style = "border: 0; width: 100%; min-width: 680px; height: 640px"
    shown = f"<iframe title='{name}' loading='lazy' style='{style}' src='../figures/{page}.html'></iframe>"
    block = f"{FENCE}{{=html}}\n<div class='figure-frame'>{shown}</div>\n{FENCE}"
    identity = f"live-{name}".replace("_", "-")
    return nbformat.v4.new_markdown_cell(f"Without a kernel, here and now:\n\n{block}", id=identity)


def in_tutorial(notebook):
    "The tutorial on browsers with each standalone figure below its picture."
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cells += [frame(name) for name in FIGURES if f"(browsers/{name}.jpg)" in cell.source]
    notebook.cells = cells


def finish_all(folder):
    "Every notebook of a folder that nbdev filled, and the files that they share."
    import plotly

    names, uses, figures = all_names(), all_uses(), {}
    for path in sorted(folder.rglob("*.ipynb")):
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        place = path.relative_to(folder)
        home = "../" * (len(place.parts) - 1)
        finish(notebook, names, home, page=re.sub(r"^\d+_", "", path.stem), figures=figures)
        notebook.cells = list(told_where(notebook.cells, uses, home))
        if line := doors(place):
            notebook.cells.insert(1, nbformat.v4.new_markdown_cell(line, id="doors"))  # after the title
        if path.stem == "09_browsers":
            in_tutorial(notebook)
        write(path, notebook)
    (folder / "figures").mkdir(exist_ok=True)
    for name, page in figures.items():
        (folder / "figures" / f"{name}.html").write_text(page, encoding="utf-8")
    shutil.copy(Path(plotly.__file__).parent / "package_data" / "plotly.min.js", folder)


def render(folder):
    "The pages, where there is a quarto; else what to do."
    if not shutil.which("quarto"):
        print(
            "quarto is not on the PATH: the processed notebooks are in _proc/, the pages were not rendered."
        )
        print("Install it from https://quarto.org/docs/get-started/ and run make site again.")
        return
    done = subprocess.run(["quarto", "render", "--no-cache"], cwd=folder, stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr)
    if warnings := [line for line in done.stderr.splitlines() if re.search(r"\bWARN", line)]:
        sys.exit(f"quarto warned {len(warnings)} times, first: {warnings[0]}")
    if done.returncode:
        sys.exit(done.returncode)
    shutil.rmtree(ROOT / "_docs", ignore_errors=True)
    shutil.move(folder / "_docs", ROOT)
    print("The site is in _docs/: open _docs/index.html")
    look()


def look():
    "Try the rendered pages in a browser, with the network off."
    command = [sys.executable, "-m", "pytest", "tests/rendered.py", "-q", "-n", "2"]
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit("the pages in _docs/ are not ready to be published: see above")


def deck(folder):
    "The lecture's notebook as it stands by itself: every link leads to the site."
    notebook = nbformat.read(folder / "labs" / "slides.ipynb", as_version=nbformat.NO_CONVERT)
    finish(notebook, all_names(), SITE, linked=to_site)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = to_site(cell.source)
    return notebook


def make_slides(folder):
    "slides/slides.html where there is a quarto; else the notebook that it is made of."
    place = ROOT / "slides" / "slides.ipynb"
    place.parent.mkdir(exist_ok=True)
    write(place, deck(folder))
    (place.parent / "_quarto.yml").write_text(
        "project: {type: default}\n"
    )  # not a page of the site around it
    if not shutil.which("quarto"):
        sys.exit(
            "quarto is not on the PATH: slides/slides.ipynb is ready for it. "
            "Install it from https://quarto.org/docs/get-started/ and run make slides again."
        )
    sys.exit(subprocess.run(["quarto", "render", place.name], cwd=place.parent).returncode)


def main():
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs

    os.chdir(ROOT)
    refresh_quarto_yml()
    folder = Path(proc_nbs(n_workers=2, force=True))
    if sys.argv[1:] == ["slides"]:
        make_slides(folder)
    finish_all(folder)
    render(folder)


if __name__ == "__main__":
    main()
