"""The report: written whole or not at all."""

import pytest

from intr_nb.core.report import Report


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="can't be written .*Choose a folder"):
        Report("x").save(tmp_path / "file" / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_report_that_fails_halfway_keeps_the_old_one(tmp_path, monkeypatch):
    import os

    path = Report("old").save(tmp_path / "report.html")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        Report("new").save(path)
    assert "old" in path.read_text() and [p.name for p in tmp_path.iterdir()] == ["report.html"]
