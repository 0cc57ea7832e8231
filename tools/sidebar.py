"""Write nbs/sidebar.yml: the site's contents follow the folders and the numbers in the notebooks' names.

Usage: python tools/sidebar.py (from anywhere in the project)
"""

from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
PACKAGES = ["core", "data", "models", "training", "explanations", "evaluation", "experiments", "browsers"]
PAGES = [
    "what_intr_is",
    "what_the_sum_says",
    "gallery",
    "beside_others",
    "reproducing_the_paper",
    "how_fast_it_is",
    "how_far_it_goes",
    "glossary",
]
HEAD = """# Written by `make export` from the folders in nbs/; a notebook's number is its place in its section
website:
  sidebar:
    style: docked
    contents:
      - index.ipynb
"""


def section(title, notebooks):
    lines = [f"      - section: {title}", "        contents:"]
    return "\n".join(lines + [f"          - {path.relative_to(NBS).as_posix()}" for path in notebooks]) + "\n"


def notebooks(folder, numbered=True):
    found = sorted((NBS / folder).glob("*.ipynb"))
    return [path for path in found if path.name[0].isdigit() == numbered]


def main():
    text = HEAD + section("Tutorials", notebooks("tutorials"))
    if labs := notebooks("labs") + notebooks("labs", numbered=False):
        text += section("Course", labs)
    there = {path.stem: path for path in notebooks("explanations", numbered=False)}
    if pages := [there[stem] for stem in dict.fromkeys([*PAGES, *there]) if stem in there]:  # a new one last
        text += section("What it means", pages)
    for package in PACKAGES:
        text += section(package.capitalize(), notebooks(package))
    text += "      - names.ipynb\n"
    (NBS / "sidebar.yml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
