"""The rendered pages as a reader meets them: in a real browser, wide and narrow, light and dark, the network off.

Usage: python -m pytest tests/rendered.py     (`make site` does it once it has rendered; SITE=folder: other pages)
No test_ in its name: `make test` has no rendered pages. tests/test_site.py tries `faults` on small ones.
"""

import functools
import os
import re
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SITE = Path(os.environ.get("SITE") or Path(__file__).resolve().parent.parent / "_docs")
PAGES = sorted(page.relative_to(SITE).as_posix() for page in SITE.rglob("*.html"))
PAGES = [page for page in PAGES if page.split("/")[0] not in ("figures", "site_libs")]
LOOKS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
HEAVY = 3_000_000  # bytes, before anything is clicked
SEEN = """() => {
  const all = what => [...document.querySelectorAll(what)], root = document.documentElement;
  for (const image of all('main img')) image.loading = 'eager';
  return {
    over: root.scrollWidth - root.clientWidth,
    mute: all('main img').filter(i => !i.alt.trim()).map(i => i.src),
    blank: all('main img').filter(i => i.complete && !i.naturalWidth).map(i => i.src),
    lost: all('main a[href^="#"]').map(a => decodeURIComponent(a.hash.slice(1)))
      .filter(id => id && !document.getElementById(id)),
    split: all('main table a')
      .filter(a => a.getClientRects().length > a.innerText.trim().split(/[\\s-]+/).length).map(a => a.innerText),
    levels: all('main :is(h1, h2, h3, h4, h5, h6)').map(h => +h.tagName[1]),
    cut: innerWidth < 768 ? [] : all('main .cell-output > pre')
      .filter(p => p.scrollWidth > p.clientWidth + 1).map(p => p.innerText),
  }
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *said): ...

    def translate_path(self, path):  # 404.html names its neighbours by where the site will stand
        return super().translate_path(path.removeprefix("/intr_nb"))


@contextmanager
def served(folder):
    "The address of a folder that is served to this machine alone, until the block ends."
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def _in_words(seen, asked, weight):
    "What is wrong with what was seen on a page, a sentence each."
    levels = seen["levels"]
    if seen["over"] > 0:
        yield f"the page is {seen['over']} px wider than its window"
    if levels[:1] != [1] or any(b > a + 1 for a, b in zip(levels, levels[1:])):
        yield f"expected headings in order from a single h1, got the levels {levels}"
    if weight > HEAVY:
        yield f"{weight} bytes before anything was clicked, expected at most {HEAVY}"
    told = dict(mute="no alt text", blank="an empty picture", lost="no such anchor", cut="an output is cut")
    told["split"] = "words are broken"
    yield from (f"{words}: {what}" for key, words in told.items() for what in seen[key])
    yield from (f"asks another host: {address}" for address in asked)


def _barriers(tab):
    "What axe-core finds in the page's own part that is in somebody's way."
    from axe_playwright_python.sync_playwright import Axe

    for found in Axe().run(tab, context="main").response["violations"]:
        if found["impact"] in ("serious", "critical"):
            yield f"{found['id']}, {len(found['nodes'])} times, first: {found['nodes'][0]['html'][:200]}"


def faults(chrome, home, page, width, scheme):
    "Everything wrong with a page of the site served at `home`, in sentences."
    context = chrome.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
    asked, sizes = [], []

    def only_ours(route):
        ours = route.request.url.startswith((home, "data:", "blob:"))
        if not ours:
            asked.append(route.request.url)
        return route.continue_() if ours else route.abort()

    context.route("**/*", only_ours)
    tab = context.new_page()
    tab.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", 0))))
    tab.goto(home + page)
    if scheme == "dark":  # with a button of its own the site doesn't ask what the reader's system prefers
        tab.evaluate("document.body.classList.contains('quarto-dark') || window.quartoToggleColorScheme?.()")
    found = [*_in_words(tab.evaluate(SEEN), asked, sum(sizes)), *_barriers(tab)]
    context.close()
    return found


@pytest.fixture(scope="session")
def home():
    with served(SITE) as address:
        yield address


@pytest.mark.parametrize("page", PAGES)
def test_page(chrome, home, page):
    said = {f"{w} px, {scheme}": faults(chrome, home, page, w, scheme) for w, scheme in LOOKS}
    said = {how: found for how, found in said.items() if found}
    assert not said, "\n".join(f"{how}: {line}" for how, found in said.items() for line in found)


def test_there_are_pages():
    assert "index.html" in PAGES, f"no index.html in {SITE}: run make site, with quarto on the PATH"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    "Within the site, as files: what another host holds is not asked."
    text = re.sub(r"<(script|pre)\b.*?</\1>", "", (SITE / page).read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r'(?:href|src)="(?!\w+:|//|#)([^"]+)"', text):
        path = re.split("[#?]", target)[0]
        root = path.startswith("/")
        file = SITE / path.removeprefix("/intr_nb")[1:] if root else (SITE / page).parent / path
        file = file / "index.html" if file.is_dir() else file
        assert file.is_file(), f"{page}: {target} leads nowhere"
