"""What was found by reading the rendered site, as far as the sources tell it: phones, hosts, titles, links, figures."""

import json
import re
from collections import Counter

import pytest
import yaml
from names import ROOT, all_names

NBS = ROOT / "nbs"
PAGES = {
    path.relative_to(NBS).as_posix(): json.loads(path.read_text(encoding="utf-8"))["cells"]
    for path in sorted(NBS.rglob("*.ipynb"))
    if not any(part.startswith((".", "_")) for part in path.relative_to(NBS).parts)
}
CONFIG = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))


def source(cell):
    return "".join(cell["source"])


def markdown(page):
    return "\n\n".join(source(cell) for cell in PAGES[page] if cell["cell_type"] == "markdown")


def prose(page):
    return re.sub(r"```.*?```|`[^`\n]+`", "", markdown(page), flags=re.S)


@pytest.mark.parametrize("wide", ["main table", 'main math[display="block"]', ".cell-output-display"])
def test_what_is_wider_than_a_phone_scrolls_by_itself(wide):
    rules = dict(re.findall(r"^([^\n{]+?) *\{([^}]*)\}", (NBS / "styles.css").read_text(), re.M))
    assert "overflow-x: auto" in rules[wide]


def test_long_headings_and_lines_of_code_break():
    rule = re.search(r"main :is\(h1, h2, h3, h4\)[^{]*\{([^}]*)\}", (NBS / "styles.css").read_text())
    assert "overflow-wrap: anywhere" in rule[1]
    assert CONFIG["format"]["html"]["code-overflow"] == "wrap"


def test_styles_and_mathematics_ask_no_other_host():
    assert CONFIG["format"]["html"]["html-math-method"] == "mathml"
    styles = "".join((NBS / name).read_text() for name in ("site.scss", "styles.css"))
    assert "$web-font-path: false;" in styles and not re.search(r"@import|url\(|https?://", styles)


def test_a_figure_of_a_tutorial_is_there():
    "A stored output that is only text says `<Figure size ...>` where a reader expects a curve."
    drawn = re.compile(r"^(plot_\w+\(|\w+ = plot_|fig\b|.*\.plot\(|.*\.scatter\()", re.M)
    missing, found = [], 0
    for page in (name for name in PAGES if name.startswith("tutorials/")):
        for cell in PAGES[page]:
            text = source(cell)
            if cell["cell_type"] == "code" and drawn.search(text) and "#| eval: false" not in text:
                kinds = " ".join(kind for output in cell["outputs"] for kind in output.get("data", {}))
                found += 1
                missing += [f"{page}: {cell['id']}"] * ("image/" not in kinds)
    assert found >= 10 and not missing, missing


def test_no_two_pages_have_one_title():
    titles = Counter(source(cells[0]).split("\n")[0] for cells in PAGES.values())
    assert not {title for title, n in titles.items() if n > 1}


def test_the_bar_leads_to_pages():
    entries = CONFIG["website"]["navbar"]["left"]
    assert len(entries) >= 4 and all(entry["href"] in PAGES for entry in entries)


def test_pages_link_to_each_other_not_to_an_address():
    "A link with the site's own address leads away from a copy of the site, and is not checked."
    away = {page for page in PAGES if re.search(r"\]\(https://intr-nb\.github\.io", prose(page))}
    assert not away


def anchors(page):
    "What can follow # in a link to a page: its headings, and the names that it exports."
    for line in re.findall(r"^#+ (.+)$", prose(page), re.M):
        plain = re.sub(r"[^\w\s.-]", "", line.lower().replace("`", ""))
        yield re.sub(r"\s+", "-", plain.strip())
    for cell in PAGES[page]:
        yield from (name.lower() for name in re.findall(r"^(?:def|class) (\w+)", source(cell), re.M))


def test_anchors_in_links_exist():
    lost = []
    for page in PAGES:
        for place, anchor in re.findall(r"\]\(([^)\s#:]*\.ipynb)#([^)\s]+)\)", prose(page)):
            target = (NBS / page).parent.joinpath(place).resolve().relative_to(NBS.resolve()).as_posix()
            if anchor not in set(anchors(target)):
                lost.append(f"{page}: {place}#{anchor}")
    assert not lost, lost


def test_the_home_page_installs_from_a_clone():
    "Nothing is on PyPI yet."
    home = markdown("index.ipynb")
    assert '".[labs]"' in home and "intr_nb[labs]" not in home


NEEDED = "attention, evidence, head, margin, query, reference, residual, rest, purity, twin, value score"


def test_words_that_a_newcomer_meets_have_an_entry():
    entries = set(re.findall(r"^### (.+)$", markdown("explanations/glossary.ipynb"), re.M))
    assert set(NEEDED.split(", ")) <= entries


def test_the_pages_for_a_newcomer_are_there():
    "The architecture drawn, INTR beside the others in a table, and minutes at each way in."
    drawn = [c for c in PAGES["explanations/what_intr_is.ipynb"] if c["cell_type"] == "code"]
    assert any("fig-alt" in source(cell) and cell["outputs"] for cell in drawn)
    table = markdown("explanations/beside_others.ipynb")
    assert all(re.search(rf"^\|.*{name}", table, re.M) for name in ("Grad-CAM", "RISE", "ProtoPNet"))
    assert re.search(r"\bwhat_intr_is.ipynb\)[^|]* minutes", markdown("index.ipynb"))


def test_all_names_lead_to_a_page():
    found = re.findall(r"\[`(\w+)`\]\(([^)#]+)", markdown("names.ipynb"))
    assert {name for name, _ in found} == all_names() and all(page in PAGES for _, page in found)
