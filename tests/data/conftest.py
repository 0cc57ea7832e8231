"""Photographs that several test files read."""

import pytest
from layouts import save_noise


@pytest.fixture
def tree(tmp_path):
    for c in ("robin", "wren"):
        for i in range(10):
            save_noise(tmp_path / "birds" / c / f"{i}.png")
    return tmp_path / "birds"
