# Everything runs in .venv, which the targets make as they need it. `make help` lists them.
# PYTHON=python3.12 chooses the interpreter. TORCH is uv's --torch-backend: auto takes the build of PyTorch that
# fits the graphics card, and without one that for CPUs, without 4 GB of CUDA's libraries; TORCH=cpu insists.
PYTHON ?= python3
TORCH  ?= auto

BIN     := .venv/bin
# JupyterLab refuses to start as root, which is who one is in a container; it listens on this machine only
ROOT    := $(if $(filter 0,$(shell id -u)),--allow-root)
CODE    := nbs tests tools benchmarks
UV      := $(BIN)/uv pip install --python $(BIN)/python
# PyTorch keeps its builds in an index of its own; where that can't be reached, the one on PyPI does
INSTALL  = $(UV) --torch-backend $(TORCH) -e '.[$(1)]' || $(UV) -e '.[$(1)]'

.DEFAULT_GOAL := help
.PHONY: help demo test bench lab check course grade weights export site slides clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/labs ## learn birds, explain them, write demo/report.html
	$(BIN)/python tools/run_notebook.py nbs/tutorials/01_quickstart.ipynb demo/quickstart.ipynb

test: .venv/dev ## check style, arrows and notebooks, run every notebook, then the tests
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports
	$(BIN)/python tools/check_notebooks.py
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers 2 --do_print --timing
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder

bench: .venv/labs ## time it beside plain ways, and beside the authors' code (REFERENCE=a checkout of it)
	$(BIN)/python benchmarks/speed.py $(if $(REFERENCE),--reference "$(REFERENCE)")

lab: .venv/labs ## open JupyterLab on the notebooks
	cd nbs && JUPYTER_PREFER_ENV_PATH=1 ../$(BIN)/python -m jupyterlab $(ROOT)

check: .venv/labs ## is this machine ready for the labs?
	$(BIN)/python -m intr_nb.core.laptop

course: .venv/course ## write the labs: course/students/ to hand out, course/autograder/ to grade with
	$(BIN)/python tools/course.py build

grade: .venv/course ## make grade HANDIN=folder: points to course/grades.csv, pages to course/feedback/ (TIMEOUT=300 s a cell)
	TIMEOUT=$(TIMEOUT) $(BIN)/python tools/course.py grade "$(HANDIN)"

weights: .venv/labs ## retrain the checkpoint that ships in the package (tools/make_weights.py aviary16-full: the other)
	$(BIN)/python tools/make_weights.py

export: .venv/dev ## for maintainers: write intr_nb/ and README.md from the notebooks
	$(BIN)/ruff check --quiet --select I --fix $(CODE)
	$(BIN)/ruff format --quiet $(CODE)
	$(BIN)/python tools/stills.py
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export
	$(BIN)/python tools/names.py
	$(BIN)/python tools/sidebar.py
	$(BIN)/python tools/readme.py

site: .venv/dev ## build the site in _docs/ and try it in a browser (without quarto: its notebooks in _proc/)
	$(BIN)/python tools/readme.py
	$(BIN)/python tools/pages.py

slides: .venv/dev ## the lecture's deck, slides/slides.html, from nbs/labs/slides.ipynb (needs quarto)
	$(BIN)/python tools/pages.py slides

clean: ## remove what these targets made, .venv too; course/ stays, it holds grades
	rm -rf .venv demo slides _proc _docs .pytest_cache build *.egg-info
	find intr_nb nbs tests tools -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# .venv/labs, .venv/course and .venv/dev are stamps: what a user needs, a lecturer on top of it, a maintainer on top
.venv/labs: pyproject.toml | .venv/bin/uv
	$(call INSTALL,labs)
	@touch $@

.venv/course: pyproject.toml | .venv/bin/uv
	$(call INSTALL,course)
	@touch $@ .venv/labs

.venv/dev: pyproject.toml | .venv/bin/uv
	$(call INSTALL,dev)
	@touch $@ .venv/labs .venv/course

.venv/bin/uv:
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no $(PYTHON). Install Python 3.10 to 3.13, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else \
		"$(PYTHON) is Python %d.%d; intr_nb needs 3.10 to 3.13. Name another one: make PYTHON=python3.12" % v)'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) lacks the venv module. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet 'uv>=0.7'
