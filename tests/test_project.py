"""The project round the notebooks: metadata, dependencies, the Makefile, and the tools that make it run."""

import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import intr_nb

ROOT = Path(__file__).resolve().parent.parent
CORE = {"torch", "torchvision", "timm", "numpy", "pillow", "safetensors"}
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


def run(*command, cwd=ROOT, **env):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("IN_TEST", "MAKEFLAGS", "MAKELEVEL")
    } | env
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def write_notebook(path, *cells):
    "A notebook of code cells; those that start with `# ` and a capital are markdown."
    made = [
        nbformat.v4.new_markdown_cell(source)
        if re.match("# [A-Z]", source)
        else nbformat.v4.new_code_cell(source)
        for source in cells
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


# -- metadata --


@pytest.fixture(scope="module")
def metadata():
    return importlib.metadata.metadata("intr_nb")


@pytest.fixture(scope="module")
def settings():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "settings.ini")
    return parser["DEFAULT"]


def test_licence(metadata):
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_python_versions(metadata, settings):
    assert metadata["Requires-Python"] == f">={settings['min_python']}" == f">={PYTHONS[0]}"
    named = [
        c.rpartition(" ")[2]
        for c in metadata.get_all("Classifier")
        if c.startswith("Programming Language :: Python :: 3.")
    ]
    assert named == PYTHONS


def test_one_version_everywhere(metadata, settings):
    assert metadata["Version"] == settings["version"] == intr_nb.__version__


def test_core_dependencies(metadata):
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert {re.match(r"[\w-]+", line)[0] for line in required} == CORE


# -- imports --

GUARD = """
import builtins, importlib, sys
allowed = set(sys.stdlib_module_names) | {"intr_nb", "PIL"} | set(sys.argv[1].split(","))
unguarded = builtins.__import__

def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    asker = (globals or {}).get("__name__", "")
    if level == 0 and asker.partition(".")[0] == "intr_nb" and name.partition(".")[0] not in allowed:
        raise ImportError(f"{asker} imports {name} at its top; import it in the function that uses it")
    return unguarded(name, globals, locals, fromlist, level)

builtins.__import__ = guarded
for module in sys.argv[2:]:
    try:
        importlib.import_module(module)
    except ImportError as e:
        print(f"{module}: {e}")
"""


def module_names(folder):
    "Every module of the package in `folder`, packages too: `intr_nb.models`, `intr_nb.models.intr`."
    parts = [
        path.relative_to(folder).with_suffix("").parts for path in sorted((folder / "intr_nb").rglob("*.py"))
    ]
    return [".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts if p[-1] != "_modidx"]


def browsers(folder):
    "The modules whose classes are made of ipywidgets and traitlets, so that they import those at their top."
    return [name for name in module_names(folder) if name.startswith("intr_nb.browsers.")]


def import_guarded(folder, modules):
    "What each module says that can't be imported on a bare machine, by its name."
    done = run(sys.executable, "-c", GUARD, ",".join(CORE), *modules, cwd=folder, PYTHONPATH=str(folder))
    assert done.returncode == 0, done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def test_modules_import_with_the_core_dependencies_alone():
    modules = [name for name in module_names(ROOT) if name not in browsers(ROOT)]
    assert len(modules) > 50
    assert import_guarded(ROOT, modules) == {}


def test_browsers_say_what_to_install():
    said = import_guarded(ROOT, browsers(ROOT))
    assert "intr_nb.browsers.browser" in said
    wrong = {
        name: message for name, message in said.items() if not message.endswith('pip install "intr_nb[labs]"')
    }
    assert not wrong


def test_a_module_that_imports_more_is_found(tmp_path):
    (tmp_path / "intr_nb").mkdir()
    (tmp_path / "intr_nb" / "__init__.py").write_text("")
    (tmp_path / "intr_nb" / "greedy.py").write_text("import numpy\nfrom matplotlib import pyplot\n")
    said = import_guarded(tmp_path, ["intr_nb", "intr_nb.greedy"])
    assert "intr_nb.greedy imports matplotlib" in said["intr_nb.greedy"]


# -- make --


FIRST_LOOK = """
import sys
from intr_nb import Aviary, pretrained
from intr_nb.browsers.attribute_study import AttributeStudy
from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.browsers.method_browser import MethodBrowser
from intr_nb.evaluation.user_study import bird_examples
model, birds = pretrained(), Aviary(16, seed=2)
shown = [HeadBrowser(model, birds), MethodBrowser(model, birds)]
shown.append(AttributeStudy(model, bird_examples(birds, 2, 1), "Ada", sys.argv[1]))
for browser in shown:
    browser._ipython_display_()
print(*sorted({"torchvision", "timm", "torch._dynamo", "sympy", "pandas"} & set(sys.modules)), file=sys.stderr)
"""


def test_a_first_look_waits_for_no_library_that_it_does_not_use(tmp_path):
    "torchvision imports PyTorch's compiler, timm imports torchvision: together two thirds of a cold start"
    done = run(sys.executable, "-W", "ignore", "-c", FIRST_LOOK, tmp_path / "ada.jsonl")
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_make_help_lists_every_target():
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    listed = dict(re.findall(r"^make (\w+) +(\S.*)$", run("make", "help").stdout, re.M))
    assert list(listed) == targets
    assert {"demo", "test", "lab", "weights", "help"} <= set(targets)


def test_make_names_a_missing_python(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    done = run("make", "demo", "PYTHON=no-such-python", cwd=tmp_path)
    assert done.returncode != 0
    assert "There is no no-such-python" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_runs_what_the_readme_says():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "make test"
    assert "\nmake test\n" in (ROOT / "README.md").read_text()


# -- tools/run_notebook.py --


def run_notebook(notebook, copy):
    return run(sys.executable, ROOT / "tools" / "run_notebook.py", notebook, copy)


def test_notebook_runs_in_this_python_and_in_its_folder(tmp_path):
    notebook = write_notebook(
        tmp_path / "in" / "a.ipynb",
        "# Counting",
        "import os, sys; print(sys.executable, os.getcwd())",
        "for i in range(3): print(f'\\r{i} of 2', end='', flush=True)",
    )
    copy = tmp_path / "out" / "a.ipynb"
    done = run_notebook(notebook, copy)
    assert done.returncode == 0, done.stderr
    assert f"{sys.executable} {notebook.parent}" in done.stdout
    assert "Counting" in done.stdout and "0 of 2\n1 of 2\n2 of 2" in done.stdout  # text mode reads \r as \n
    assert nbformat.read(copy, as_version=4).cells[-1].outputs[0].text.strip() == "2 of 2"
    assert os.listdir(copy.parent) == ["a.ipynb"]


def test_failing_notebook_shows_the_cell_and_leaves_nothing(tmp_path):
    notebook = write_notebook(
        tmp_path / "b.ipynb", "print('before')", "birds = 0\n1 / birds", "print('after')"
    )
    done = run_notebook(notebook, tmp_path / "out" / "b.ipynb")
    assert done.returncode == 1
    assert "before" in done.stdout and "after" not in done.stdout
    assert "birds = 0\n1 / birds" in done.stderr and "ZeroDivisionError" in done.stderr
    assert os.listdir(tmp_path / "out") == []


def test_place_that_cannot_be_written_is_named_before_the_run(tmp_path):
    notebook = write_notebook(tmp_path / "c.ipynb", "print('ran')")
    (tmp_path / "file").touch()
    done = run_notebook(notebook, tmp_path / "file" / "c.ipynb")
    assert done.returncode == 1
    assert f"Cannot write {tmp_path}/file/c.ipynb" in done.stderr and "ran" not in done.stdout


# -- tools/check_notebooks.py --


@pytest.fixture
def small_project(tmp_path):
    "A project of two notebooks, in step with its module and its README."
    for name in ("settings.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    write_notebook(
        tmp_path / "nbs" / "index.ipynb",
        "# Title\n\n> Summary",
        "# Start\n\nSee [one](lib/one.ipynb).",
        "#| echo: false\nprint('not run')",
    )
    write_notebook(
        tmp_path / "nbs" / "lib" / "one.ipynb", "# One\n\n> Summary", "#| default_exp one", "#| export\nx = 1"
    )
    for command in (
        "from nbdev.clean import nbdev_clean as f",
        "from nbdev.doclinks import nbdev_export as f",
    ):
        assert run(sys.executable, "-c", f"{command}; f()", cwd=tmp_path).returncode == 0
    for script in ("names.py", "sidebar.py", "readme.py"):
        assert run(sys.executable, f"tools/{script}", cwd=tmp_path).returncode == 0
    return tmp_path


def check(project):
    return run(sys.executable, project / "tools" / "check_notebooks.py", cwd=project)


def test_project_in_step_passes(small_project):
    done = check(small_project)
    assert done.returncode == 0, done.stderr
    assert (
        (small_project / "README.md")
        .read_text()
        .endswith("# Title\n\nSummary\n\n# Start\n\nSee [one](nbs/lib/one.ipynb).\n")
    )


@pytest.mark.parametrize(
    "path, old, new",
    [
        ("intr_nb/one.py", "x = 1", "x = 2"),
        ("nbs/lib/one.ipynb", '"execution_count": null', '"execution_count": 7'),
        ("README.md", "Summary", "Another summary"),
    ],
)
def test_what_is_out_of_step_is_named(small_project, path, old, new):
    file = small_project / path
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    before = file.read_bytes()
    done = check(small_project)
    assert done.returncode == 1 and path in done.stderr and "make export" in done.stderr
    assert file.read_bytes() == before


def test_module_without_a_notebook_is_named(small_project):
    (small_project / "intr_nb" / "stray.py").write_text("y = 1\n")
    assert "intr_nb/stray.py (comes from no notebook)" in check(small_project).stderr
