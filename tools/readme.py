"""Write README.md from nbs/index.ipynb, without quarto.

Usage: python tools/readme.py (from anywhere in the project)
nbdev's processors apply the directives (`#| hide`, `#| echo: false` and the like). Links and pictures are
relative to nbs/ in the
notebook and to the project's root in README.md. Pictures among the outputs go to README_files/.
"""

import os
import re
import shutil
from base64 import b64decode
from pathlib import Path

from nbdev.process import NBProcessor
from nbdev.processors import FilterDefaults, add_links, exec_show_docs, insert_warning

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "README_files"
NOTE = "<!-- Made from nbs/index.ipynb by `make export`: edit that. -->"
LEFT_OUT = [
    add_links,
    exec_show_docs,
    insert_warning,
]  # for the site; the first two depend on the machine, too
LINK = re.compile(r"""(\]\(|(?:src|href)=["'])(?!\w+:|/|\#)([^)"'\s]+)""")


def hides(cell, option):
    return re.search(rf"^#\| {option}: *false", cell.source, re.M)


def fence(text, language=""):
    return f"```{language}\n{text.rstrip()}\n```"


def from_root(markdown):
    "Relative links and pictures outside code, seen from the project's root instead of nbs/."
    parts = re.split(r"(```.*?```|`[^`\n]+`)", markdown, flags=re.S)
    return "".join(
        part if i % 2 else LINK.sub(lambda found: found[1] + os.path.normpath(f"nbs/{found[2]}"), part)
        for i, part in enumerate(parts)
    )


def output_to_markdown(output, name):
    if output["output_type"] == "error":
        raise SystemExit(
            f"nbs/index.ipynb holds an error: {output['ename']}: {output['evalue']}. "
            "Mend it and run the notebook again."
        )
    if output["output_type"] == "stream":
        return fence("".join(output["text"]))
    data = output["data"]
    if "text/markdown" in data:
        return from_root("".join(data["text/markdown"]))
    if "image/png" in data:
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"{name}.png").write_bytes(b64decode("".join(data["image/png"])))
        return f"![figure]({PICTURES.name}/{name}.png)"
    return fence("".join(data["text/plain"]))


def cell_to_markdown(cell):
    "The parts of one processed cell that are to be seen."
    if cell.cell_type == "markdown":
        return [from_root(cell.source)]
    if cell.cell_type == "raw" or hides(cell, "include"):
        return []
    source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip()
    shown = [fence(source, "python")] if source and not hides(cell, "echo") else []
    outputs = [] if hides(cell, "output") else cell.outputs
    return shown + [output_to_markdown(output, f"cell{cell.idx_}_{i}") for i, output in enumerate(outputs)]


def main():
    processor = NBProcessor(
        ROOT / "nbs" / "index.ipynb",
        procs=[proc for proc in FilterDefaults().procs() if proc not in LEFT_OUT],
    )
    processor.process()
    front = processor.nb.frontmatter_
    shutil.rmtree(PICTURES, ignore_errors=True)
    parts = [NOTE, f"# {front['title']}", front.get("description", "")]
    for cell in processor.nb.cells:
        parts += cell_to_markdown(cell)
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    (ROOT / "README.md").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
