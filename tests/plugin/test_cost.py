"""What the plugin costs a run that has no gate: nothing that is heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

HEAVY = ("torch", "foolbox", "numpy", "pydantic", "onnx", "onnxruntime", "rich", "typer", "PIL")


def python(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_loading_the_plugin_imports_pytest_and_the_standard_library_only() -> None:
    code = """
import sys
import pytest
before = set(sys.modules)
import pytest_fgmf.plugin
new = {name.partition(".")[0] for name in set(sys.modules) - before}
foreign = new - set(sys.stdlib_module_names) - {"pytest_fgmf", "pytest", "_pytest", "pluggy"}
print(sorted(foreign))
"""
    assert python("-c", code).strip() == "[]"


@pytest.mark.parametrize("started", [(), ("-n2",)], ids=["plain", "n2"])
def test_a_run_without_gates_imports_nothing_heavy(
    bare_project: Project, started: tuple[str, ...]
) -> None:
    bare_project.write("pyproject.toml", '[project]\nname = "shop"\n')
    bare_project.write("test_own.py", "def test_own(): pass\n")
    bare_project.write(
        "conftest.py",
        f"""
        import os, pathlib, sys

        def pytest_sessionfinish():
            heavy = sorted(set({HEAVY!r}) & set(sys.modules))
            pathlib.Path(f"imported-{{os.getpid()}}.txt").write_text(repr(heavy))
        """,
    )
    result = bare_project.pytester.runpytest_subprocess("-p", "no:cacheprovider", *started)
    result.assert_outcomes(passed=1)
    imported = [path.read_text() for path in bare_project.path.glob("imported-*.txt")]
    assert imported == ["[]"] * (3 if started else 1)


def test_collecting_gates_imports_no_torch(bare_project: Project) -> None:
    bare_project.write(
        "conftest.py",
        "import sys\n"
        "def pytest_collection_finish(session):\n"
        "    heavy = {'torch', 'numpy', 'foolbox', 'onnxruntime'} & set(sys.modules)\n"
        "    print('heavy:', sorted(heavy), len(session.items))\n",
    )
    bare_project.gates(name="fgmf.toml")
    gate = (
        '[[gate]]\nkind = "robustness"\nnorm = "linf"\nepsilon = 0.1\nmin_robust_accuracy = 0.5\n'
    )
    path = bare_project.path / "fgmf.toml"
    path.write_text(path.read_text() + gate)
    result = bare_project.pytester.runpytest_subprocess("--collect-only", "-q", "-s")
    result.stdout.fnmatch_lines(["fgmf.toml::robustness", "heavy: [[][]] 1"])
