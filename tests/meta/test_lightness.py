"""What is installed must cost nothing until it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {
    "PIL",
    "eagerpy",
    "foolbox",
    "matplotlib",
    "numba",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "quantus",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
}
NOT_FOR_A_LOAD = HEAVY | {"pydantic", "rfc8785", "rich", "typer"}

# Each module more costs every pytest run on the machine about half a millisecond.
LOADED_BY_EVERY_RUN = {"pytest_fgmf", "pytest_fgmf.plugin"}

GATE_FILE = """
schema = 1
[model]
factory = "shop:load"
bounds = [0, 1]
[data]
factory = "shop:data"
[[gate]]
kind = "robustness"
norm = ["linf", "l2"]
epsilon = "8/255"
min_robust_accuracy = 0.45
attacks = ["fgsm", { name = "pgd", steps = 20 }]
"""


def _loaded(code: str, directory: Path) -> set[str]:
    """Top-level modules that a fresh Python has loaded after `code`, away from the checkout."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=directory, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "module", ["fgmf", "pytest_fgmf", "pytest_fgmf.plugin", "fgmf.gatefile", "fgmf.verdict"]
)
def test_loading_brings_nothing_heavy(module: str, tmp_path: Path) -> None:
    loaded = _loaded(f"import {module}", tmp_path)
    assert module.partition(".")[0] in loaded
    assert not loaded & NOT_FOR_A_LOAD


@pytest.mark.parametrize("module", ["fgmf.cli", "fgmf.gates", "fgmf.reporting", "fgmf.running"])
def test_torch_waits_until_something_is_measured(module: str, tmp_path: Path) -> None:
    assert not _loaded(f"import {module}", tmp_path) & HEAVY


def test_a_gate_file_is_checked_without_torch(tmp_path: Path) -> None:
    (tmp_path / "fgmf.toml").write_text(GATE_FILE)
    code = """
import pathlib
from fgmf.gatefile import load_gate_file
assert len(load_gate_file(pathlib.Path("fgmf.toml")).gates) == 2
"""
    assert not _loaded(code, tmp_path) & HEAVY


def test_a_run_without_gates_loads_nothing_heavy(tmp_path: Path) -> None:
    """The plugin is active here: pytest finds it by its entry point."""
    heavy = sorted(NOT_FOR_A_LOAD - {"rich"})  # other plugins may use rich
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "test_plain.py").write_text(
        "import sys\n"
        "def test_plain(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('fgmf')\n"
        f"    assert sys.modules.keys() & set({heavy!r}) == set()\n"
    )
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        "def pytest_unconfigure():\n"
        "    ours = {m for m in sys.modules if m.partition('.')[0] in ('fgmf', 'pytest_fgmf')}\n"
        f"    assert ours == {LOADED_BY_EVERY_RUN!r}, sorted(ours)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
