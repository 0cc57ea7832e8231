"""A real JupyterLab on loopback and a headless Chromium, to try widgets as a user does.

    def test_my_browser(lab):                      # fixture: one server and one Chromium for the whole session
        page = lab.open_widget('''
            from intr_nb.my_browser import MyBrowser
            b = MyBrowser(...)
            b                                      # the last line displays it
        ''')
        before = page.picture()                    # hash of what the main canvas shows, with the texts in it
        page.choose("target", "Sparrow")           # trait's control, by the label of an option (or value=...)
        page.wait_changed(before)
        page.finish("my_browser")                  # screenshot; fails if the console held an error

What `lab` has
    open_widget(code, theme="light") -> Page       writes a notebook of that one cell, runs it, waits
    open_file(path) -> Page                        a page from a file, with the network off (for twins)
    open_notebook(path) -> Page                    opened, not run; shut_down_kernels()
What a Page has (its `.tab` is playwright's Page, for all that is not here)
    control(trait)                                 locator of the trait's control, made by `Browser.bind`
    choose(trait, label)                           Dropdown: an option with `label` in it; ToggleButtons: that button
    options(trait), chosen(trait)                  a Dropdown's options; the one that it shows
    tick(trait)                                    Checkbox
    drag_slider(trait, dx)                         by so many pixels
    type_in(trait, text)                           number or text field, with Enter; or css=".intr-nb-search-target"
    canvas(name="main")                             locator of a canvas
    press(key, canvas="main")                       a key on a focused canvas: "ArrowRight"
    hover(panel, x=.5, y=.5, canvas="main") -> str  the text under the mouse over panel number `panel`
    click_panel(panel, x=.5, y=.5, canvas="main"), stroke(panel, points, canvas="main")
    text(canvas="main"), picture(canvas="main")      its words; hash of all that it shows
    wait_changed(before, canvas="main") -> str      waits until `picture` differs; returns the new one
    restart_kernel(), save_notebook(), idle()
    error()                                        what the widget says went wrong, or ""
    shot(name)                                     a PNG into $INTR_NB_SCREENSHOTS, or the session's temporary folder
    finish(name)                                   shot, and assertions that the console held no error and that
                                                   axe-core finds nothing in the way of anyone; closes the tab
"""

import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page, seen or not
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}


def chromium():
    "Chromium's path. Where there is none: skipped; in CI, or where INTR_NB_CHROMIUM=required, that is a failure."
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        found, missing = None, 'playwright is not installed: pip install "intr_nb[dev]"'
    else:
        missing = "no chromium, chromium-browser or google-chrome on the PATH: apt-get install chromium"
    if found:
        return found
    if os.environ.get("CI") == "true" or os.environ.get("INTR_NB_CHROMIUM") == "required":
        pytest.fail(f"the widgets' tests must run here: {missing}")
    pytest.skip(missing)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def server(folder, timeout=240):
    "A JupyterLab on `folder`/notebooks, with settings of its own; yields its address and token."
    port, token = free_port(), secrets.token_hex(16)
    homes = {
        name: str(folder / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_RUNTIME_DIR",
            "JUPYTERLAB_SETTINGS_DIR",
            "JUPYTERLAB_WORKSPACES_DIR",
            "IPYTHONDIR",
        )
    }
    for name, setting in SETTINGS.items():
        plugin, key = name.split("/")
        place = Path(homes["JUPYTERLAB_SETTINGS_DIR"], "@jupyterlab", plugin, f"{key}.jupyterlab-settings")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(setting))
    (folder / "notebooks").mkdir()
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder / 'notebooks'}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = (
        {k: v for k, v in os.environ.items() if k != "IN_TEST"}
        | homes
        | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    )
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        start = time.monotonic()
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={token}", timeout=2).read()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() - start > timeout:
                    raise RuntimeError(
                        "JupyterLab did not start:\n" + (folder / "lab.log").read_text()[-3000:]
                    ) from None
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}", token
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


class Page:
    "One tab, and what a user does in it. See the top of this file."

    def __init__(self, tab, shots):
        self.tab, self.shots, self.errors = tab, shots, []
        tab.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        tab.on("pageerror", lambda e: self.errors.append(str(e)))

    # -- what is shown --
    def canvas(self, name="main"):
        return self.tab.locator(f".intr-nb-canvas-{name} .intr-nb-canvas").last

    def text(self, canvas="main"):
        return " ".join(self.canvas(canvas).inner_text().split())

    def picture(self, canvas="main"):
        unmarked = """e => {
          const c = e.cloneNode(true);
          c.querySelectorAll('.intr-nb-position').forEach(x => x.remove());
          return c.innerHTML;
        }"""
        shown = self.canvas(canvas).evaluate(unmarked)
        return hashlib.sha1(shown.encode()).hexdigest()

    def error(self):
        return self.tab.locator(".intr-nb-error").last.inner_text().strip()

    def panel(self, number, canvas="main"):
        return self.canvas(canvas).locator(f'[data-panel="{number}"]')

    def wait_changed(self, before, canvas="main", timeout=60):
        start = time.monotonic()
        while (now := self.picture(canvas)) == before:
            assert time.monotonic() - start < timeout, (
                f"the canvas {canvas!r} still shows what it did {timeout} s ago; the widget says: {self.error()!r}"
            )
            self.tab.wait_for_timeout(50)
        return now

    def settle(self, canvas="main", quiet=600):
        "Waits until nothing changes any more."
        last = None
        while last != (last := self.picture(canvas)):
            self.tab.wait_for_timeout(quiet)
        return last

    # -- what is done --
    def control(self, trait):
        return self.tab.locator(f".intr-nb-{trait.replace('_', '-')}").last

    # ipywidgets writes a menu's blanks as no-break spaces
    def options(self, trait):
        return [o.replace("\xa0", " ") for o in self.control(trait).locator("option").all_inner_texts()]

    def chosen(self, trait):
        return (
            self.control(trait)
            .locator("select")
            .evaluate("e => e.selectedIndex < 0 ? '' : e.options[e.selectedIndex].text")
            .replace("\xa0", " ")
        )

    def choose(self, trait, label):
        control = self.control(trait)
        if control.locator("select").count():
            options = self.options(trait)
            match = [k for k, o in enumerate(options) if o == label] or [
                k for k, o in enumerate(options) if label in o
            ]
            assert match, f"{trait}: no option {label!r} among {options}"
            control.locator("select").select_option(index=match[0])
        else:
            control.get_by_role("button", name=label, exact=True).click()

    def tick(self, trait):
        self.control(trait).locator("input[type=checkbox]").click()

    def drag_slider(self, trait, dx):
        handle = self.control(trait).locator(".noUi-handle")
        handle.scroll_into_view_if_needed()
        box = self.at_rest(handle)
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.tab.mouse.move(x, y)
        self.tab.mouse.down()
        self.tab.mouse.move(x + dx, y, steps=6)
        self.tab.mouse.up()

    def type_in(self, trait=None, text="", css=None):
        field = (self.tab.locator(css).last if css else self.control(trait)).locator("input").first
        field.fill(str(text))
        field.press("Enter")

    def at_rest(self, locator):
        "Where it is, once it stays there: rows of controls come and go, and a click by place must not miss."
        box = None
        while box != (box := locator.bounding_box()):
            self.tab.wait_for_timeout(100)
        return box

    def press(self, key, canvas="main"):
        self.canvas(canvas).focus()
        self.tab.keyboard.press(key)

    def point(self, number, x=0.5, y=0.5, canvas="main"):
        panel = self.panel(number, canvas)
        panel.scroll_into_view_if_needed()
        box = self.at_rest(panel)
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def hover(self, number, x=0.5, y=0.5, canvas="main"):
        self.tab.mouse.move(*self.point(number, x, y, canvas))
        tip = self.tab.locator(f".intr-nb-canvas-{canvas} .intr-nb-tip").last
        tip.wait_for(state="visible", timeout=60_000)
        return tip.inner_text()

    def click_panel(self, number, x=0.5, y=0.5, canvas="main"):
        self.tab.mouse.click(*self.point(number, x, y, canvas))

    def stroke(self, number, points, canvas="main"):
        for k, (x, y) in enumerate(points):
            self.tab.mouse.move(*self.point(number, x, y, canvas), steps=4)
            if k == 0:
                self.tab.mouse.down()
        self.tab.mouse.up()

    # -- the notebook --
    def idle(self):
        self.tab.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=240_000)

    def run_all(self):
        self.idle()
        self.tab.wait_for_timeout(700)  # a run asked for before the kernel has connected is lost
        self.tab.get_by_role("menuitem", name="Run", exact=True).click()
        self.tab.locator('[data-command="runmenu:run-all"]').click()
        self.tab.wait_for_function(
            r"[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every(e => /\[\d+\]/.test(e.textContent))",
            timeout=240_000,
        )

    def tool(self, name):
        "A button of the notebook's toolbar; JupyterLab writes it as one of two elements."
        item = f".jp-NotebookPanel:visible [data-jp-item-name={name}]"
        return self.tab.locator(f"{item} button, {item} jp-button").first

    def save_notebook(self):
        self.tool("save").click()
        self.tab.wait_for_timeout(1500)

    def restart_kernel(self):
        self.tool("restart").click()
        self.tab.locator(".jp-Dialog .jp-mod-accept").click()
        self.tab.wait_for_timeout(2000)
        self.idle()

    # -- the end --
    def shot(self, name):
        path = self.shots / f"{name}.png"
        self.tab.screenshot(path=path)
        return path

    def barriers(self):
        "What axe-core finds in the widgets, or in a page that is all ours: WCAG's rules and good practice."
        from axe_playwright_python.sync_playwright import Axe

        ours = None if self.tab.url.startswith("file:") else ".intr-nb-view"
        if ours and not self.tab.locator(ours).count():
            return ""  # JupyterLab's own page
        found = Axe().run(self.tab, context=ours)
        return found.generate_report() if found.violations_count else ""

    def finish(self, name):
        self.shot(name)
        barriers = self.barriers()
        self.tab.context.close()
        assert not self.errors, f"the console of the page says: {self.errors}"
        assert not barriers, barriers


class Lab:
    "One server and one Chromium; `open_widget` and `open_file` give a `Page`. See the top of this file."

    def __init__(self, chrome, folder, shots):
        self.chrome, self.folder, self.shots, self.address, self.number = chrome, folder, shots, None, 0

    def tab(self, **options):
        context = self.chrome.new_context(viewport=dict(width=1280, height=1200), **options)
        context.set_default_timeout(
            120_000
        )  # waiting ends as soon as there is something to see; a busy machine needs patience
        return Page(context.new_page(), self.shots)

    def write(self, *cells):
        self.number += 1
        path = self.folder / "notebooks" / f"widget{self.number}.ipynb"
        made = [nbformat.v4.new_code_cell(textwrap.dedent(c).strip()) for c in cells]
        nbformat.write(
            nbformat.v4.new_notebook(
                cells=made,
                metadata=dict(kernelspec=dict(name="python3", display_name="Python 3", language="python")),
            ),
            path,
        )
        return path

    def open_notebook(self, path, theme="light"):
        page, (base, token) = self.tab(), self.address
        name = "JupyterLab Dark" if theme == "dark" else "JupyterLab Light"
        setting = json.dumps(dict(raw=json.dumps(dict(theme=name)))).encode()
        request = urllib.request.Request(
            f"{base}/lab/api/settings/@jupyterlab/apputils-extension:themes?token={token}",
            setting,
            {"Content-Type": "application/json"},
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=120).read()
        page.tab.goto(f"{base}/lab/tree/{path.name}?token={token}&reset")
        page.tab.locator(".jp-Notebook").wait_for(timeout=240_000)
        page.idle()
        return page

    def open_widget(self, code, *more, theme="light"):
        "A notebook whose first cell is `code`; run, and its widget waited for."
        page = self.open_notebook(self.write(code, *more), theme)
        page.run_all()
        try:
            page.canvas().locator("svg").wait_for(timeout=120_000)
        except Exception:
            page.shot("failed")
            raise AssertionError(
                f"no widget: {page.tab.locator('.jp-OutputArea').all_inner_texts()}, console: {page.errors}"
            ) from None
        page.settle()
        page.tab.keyboard.press("Escape")
        return page

    def shut_down_kernels(self):
        base, token = self.address
        for session in json.load(urllib.request.urlopen(f"{base}/api/sessions?token={token}")):
            urllib.request.urlopen(
                urllib.request.Request(f"{base}/api/sessions/{session['id']}?token={token}", method="DELETE")
            )

    def open_file(self, path):
        "A page from a file, with the network off."
        page = self.tab(offline=True)
        page.tab.goto(Path(path).resolve().as_uri())
        return page
