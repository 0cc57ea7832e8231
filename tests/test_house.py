"""The house: eight packages whose arrows go one way, one name for one thing, rooms that can be read."""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import nbformat
import pytest
from sidebar import PACKAGES

import intr_nb

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
MODULES = [p for p in sorted((ROOT / "intr_nb").glob("*/*.py")) if p.name != "__init__.py"]
NOTEBOOKS = [p for package in PACKAGES for p in sorted((NBS / package).glob("[0-9]*.ipynb"))]


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def definitions(path):
    "Names that a module defines at its top: functions, classes, constants; what @patch hangs onto a class is none."
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if not any("patch" in ast.dump(d) for d in node.decorator_list):
                yield node.name
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def public(path):
    return [name for name in dict.fromkeys(definitions(path)) if not name.startswith("_")]


def imports(path):
    "The modules of the package that a module imports, at its top and in its functions."
    package = dotted(path.parent)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package if node.level == 1 else package.rpartition(".")[0]
            yield f"{base}.{node.module}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("intr_nb."):
            yield node.module  # nbdev leaves imports over several lines as they are


def exported(path):
    cells = nbformat.read(path, as_version=4).cells
    return [c for c in cells if c.cell_type == "code" and re.match(r"#\| *export", c.source)]


# -- packages and arrows --


def test_the_packages_are_those_of_the_contract():
    assert {p.parent.name for p in MODULES} == set(PACKAGES)
    assert {p.name for p in (ROOT / "intr_nb").iterdir() if p.is_dir() and p.name != "__pycache__"} == {
        *PACKAGES,
        "checkpoints",
    }


def test_arrows_go_one_way():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_no_modules_import_each_other_in_a_circle():
    graph = {dotted(path): set(imports(path)) for path in MODULES}
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, f"a circle: {' -> '.join([*open_[open_.index(name) :], name])}"
        if name not in done:
            open_.append(name)
            for other in sorted(graph.get(name, ())):
                visit(other)
            done.add(open_.pop())

    for name in graph:
        visit(name)


def test_every_module_comes_from_the_notebook_of_its_name():
    for path in MODULES:
        source = re.search(r"File to edit: (\S+\.ipynb)", path.read_text(encoding="utf-8"))[1]
        notebook = (path.parent / source).resolve()
        assert notebook.parent == NBS / path.parent.name and notebook.stem[3:] == path.stem


# -- names --


def test_no_two_public_names_are_alike():
    homes = defaultdict(list)
    for path in MODULES:
        for name in public(path):
            homes[name].append(dotted(path))
    assert not {name: where for name, where in homes.items() if len(where) > 1}
    assert len(homes) <= 270  # 250, and what the course and the neighbours need


def test_public_functions_say_what_they_take():
    silent = []
    for path in MODULES:
        lines, names = path.read_text(encoding="utf-8").splitlines(), public(path)
        for node in ast.parse("\n".join(lines)).body:
            if isinstance(node, ast.FunctionDef) and node.name in names and node.args.args:
                header = lines[node.lineno - 1 : node.body[0].lineno - 1]
                silent += [f"{dotted(path)}.{node.name}"] * (not any("  # " in line for line in header))
    assert not silent, "a comment beside a parameter becomes its row on the function's page"


def test_no_module_has_the_name_of_a_function():
    names = {name for path in MODULES for name in public(path)}
    assert not [dotted(path) for path in MODULES if path.stem in names]


def test_top_level_names_can_be_had_and_cost_nothing_until_used():
    names = [getattr(intr_nb, name) for name in intr_nb.__all__]
    assert len(names) == len(set(intr_nb.__all__)) <= 36
    before, after = "assert 'torch' not in sys.modules", "assert 'torch' in sys.modules"
    code = f"import sys, intr_nb; {before}; from intr_nb import Recipe; {after}"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_name_that_is_not_there_lists_those_that_are():
    with pytest.raises(AttributeError, match="Explanation.*HeadBrowser"):
        intr_nb.Aviarie  # noqa: B018


# -- rooms --


def test_lines_can_be_read():
    lines = [
        line for path in MODULES for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    made = [line for line in lines if not line.startswith(("# %%", "__all__", '"""', "           '"))]
    assert sum(len(line) > 110 for line in made) <= len(made) / 100


def test_modules_are_short():
    lengths = {dotted(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: n for name, n in lengths.items() if n > 300}
    assert sum(n > 250 for n in lengths.values()) <= 8


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_exported_cells_are_short(path):
    "Thirty lines at most; a table of data may be longer."
    code = [c.source for c in exported(path) if re.search(r"^\s*(def|class) ", c.source, re.M)]
    for source in code:
        lines = [x for x in source.splitlines() if x.strip() and not x.startswith("#|")]
        assert len(lines) <= 30, (
            f"split the cell that begins with {lines[0]!r}: {len(lines)} lines, expected at most 30"
        )


def test_notebooks_of_a_package_have_different_numbers():
    numbers = Counter((path.parent.name, path.name[:2]) for path in NOTEBOOKS)
    assert not [key for key, n in numbers.items() if n > 1]
