"""`--fgmf-list`: which gates there are and what they ask; nothing runs, torch is not loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import section

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_gates_are_shown_and_nothing_runs(project: Project, mode: str) -> None:
    project.gates('name = "good"\nrequired = true\nepsilon = "8/255"', 'name = "other"')
    project.write("tests/test_own.py", "def test_own(): raise KeyboardInterrupt\n")
    result = project.run("--fgmf-list", mode=mode)
    assert result.ret == pytest.ExitCode.OK
    assert section(result) == [
        "fgmf.toml, profile default:",
        "gate   kind       required  asks",
        "good   stub-gate  yes       epsilon=8/255",
        "other  stub-gate",
        "gates of tests are known once the tests run",
    ]
    text = result.stdout.str()
    assert "test_own" not in text
    assert "<GateItem good>" in text


def test_selection_and_tests_that_use_the_fixture(project: Project) -> None:
    project.gates('name = "good"', 'name = "other"')
    project.write("tests/test_more.py", "def test_plain(): pass\ndef test_gated(fgmf): pass\n")
    result = project.run("--fgmf-list", "-q", "-k", "good or gated")
    shown = [line for line in result.stdout.lines if "::" in line]
    assert shown == ["fgmf.toml::good", "tests/test_more.py::test_gated"]
    assert [line for line in section(result) if "stub-gate" in line] == ["good  stub-gate"]


def test_what_the_profile_leaves_out_is_said(project: Project) -> None:
    project.gates('name = "good"', 'name = "late"\nprofiles = ["nightly"]')
    assert "left out by profile default: late" in section(project.run("--fgmf-list"))
    lines = section(project.run("--fgmf-list", "--fgmf-profile", "nightly"))
    assert 'late  stub-gate            profiles=["nightly"]' in lines


def test_without_gates_it_says_so_and_is_not_green(project: Project) -> None:
    result = project.run("--fgmf-list")
    assert "no gate file" in section(result)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_broken_file_is_a_usage_error(project: Project) -> None:
    project.write("fgmf.toml", "schema = 1\n[[gate]]\nkind = 'none-such'\n")
    assert project.run("--fgmf-list").ret == pytest.ExitCode.USAGE_ERROR


def test_torch_is_not_loaded(bare_project: Project) -> None:
    bare_project.write(
        "conftest.py",
        "import sys\ndef pytest_unconfigure():\n"
        "    assert not {'torch', 'numpy', 'foolbox'} & set(sys.modules)\n",
    )
    path = bare_project.gates()
    path.write_text(
        path.read_text() + '[[gate]]\nkind = "robustness"\nnorm = "linf"\nepsilon = 0.1\n'
        "min_robust_accuracy = 0.5\n"
    )
    result = bare_project.pytester.runpytest_subprocess("--fgmf-list", "-p", "no:cacheprovider")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["robustness  robustness * norm=linf, epsilon=0.1, *"])
