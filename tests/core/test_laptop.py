"""Is this laptop ready? What is missing is named, and what to do."""

import subprocess
import sys
from importlib import metadata

import pytest

from intr_nb.core import laptop


def test_the_command_says_that_this_machine_is_ready():
    done = subprocess.run([sys.executable, "-m", "intr_nb.core.laptop"], capture_output=True, text=True)
    assert done.returncode == 0 and "Ready for the labs." in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("✓") == 5


def test_a_missing_library_is_named(monkeypatch, capsys):
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["torch>=2", 'no-such-library>=3; extra == "labs"']
    )
    assert laptop._main() == 1
    said = capsys.readouterr().out
    assert "1 of 2 libraries" in said and "no-such-library>=3. In the clone: pip install" in said
    assert "Not ready" in said


def test_another_environments_kernel_is_noticed(monkeypatch):
    from jupyter_client import kernelspec

    class Spec:
        argv = ["/elsewhere/bin/python3.9", "-m", "ipykernel_launcher"]

    monkeypatch.setattr(kernelspec, "get_kernel_spec", lambda name: Spec)
    fine, said = laptop._kernel()
    assert not fine and "/elsewhere/bin/python3.9" in said and "make lab" in said


@pytest.mark.parametrize("seconds, slow", [(0.01, False), (60.0, True)])
def test_a_slow_machine_is_told_and_not_refused(monkeypatch, seconds, slow):
    monkeypatch.setattr(laptop, "_workload", lambda: seconds)
    fine, said = laptop._speed()
    assert fine and ("that is slow" in said) == slow
