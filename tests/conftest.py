"""Fixtures that several test files share."""

import os
from pathlib import Path

import lab as house
import pytest


@pytest.fixture(scope="session")
def chrome():
    "A headless Chromium for the whole session: playwright can be started once only."
    path = house.chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, headless=True, args=house.FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def lab(chrome, tmp_path_factory):
    "A JupyterLab and a Chromium for the whole session; tests/lab.py says what to do with them."
    folder = tmp_path_factory.mktemp("lab")
    shots = Path(os.environ.get("INTR_NB_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    shots.mkdir(parents=True, exist_ok=True)
    made = house.Lab(chrome, folder, shots)
    with house.server(folder) as made.address:
        yield made
