"""Broken gate files: usage errors (exit 4), never a green run, never an internal error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import HEAD

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

BROKEN = {
    "unknown key": ('name = "a"\nepsilonn = 1', "gate[[]0].epsilonn: expected *epsilon*"),
    "wrong type": ('images = "many"', "gate[[]0].images: expected a whole number, got 'many'"),
    "syntax": ("name = \nimages = 3", "line 11, column 8: expected TOML (*), got 'name ='"),
}


def assert_usage_error(result: pytest.RunResult, *lines: str) -> None:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    everything = [*result.stdout.lines, *result.stderr.lines]
    pytest.LineMatcher(everything).fnmatch_lines([f"*{line}" for line in lines])
    text = "\n".join(everything)
    assert "INTERNALERROR" not in text
    assert "Traceback" not in text
    assert " passed" not in text


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_a_usage_error(project: Project, mode: str, case: str) -> None:
    if mode == "-n2" and case == "wrong type":
        mode = "-n0"
    table, message = BROKEN[case]
    project.gates(table)
    assert_usage_error(project.run("tests", mode=mode), "fgmf.toml: 1 problem *", message)


def test_all_problems_are_said_at_once(project: Project, mode: str) -> None:
    project.write(
        "fgmf.toml",
        """
        schema = 1
        speed = 3
        [model]
        bounds = [1, 0]
        [[gate]]
        kind = "stub-gate"
        epsilonn = 1
        [[gate]]
        kind = "no-such-kind"
        """,
    )
    assert_usage_error(
        project.run(mode=mode),
        "fgmf.toml: 6 problems *",
        "speed: expected *",
        "model.factory: expected *, got nothing",
        "model.bounds: expected *",
        "data: expected *, got nothing",
        "gate[[]0].epsilonn: expected *",
        "gate[[]1].kind: expected one of *stub-gate*, got 'no-such-kind'",
    )


def test_two_gate_files_are_a_usage_error(project: Project, mode: str) -> None:
    project.gates("")
    project.write("pyproject.toml", "[tool.fgmf]\nschema = 1\n")
    assert_usage_error(project.run(mode=mode), "*pyproject.toml: 1 problem*")


def test_an_unreadable_gate_file_is_a_usage_error(project: Project, mode: str) -> None:
    (project.path / "fgmf.toml").mkdir()
    assert_usage_error(project.run(mode=mode), "*expected a readable file, got IsADirectoryError*")


def test_a_dangling_gate_file_is_a_usage_error(project: Project) -> None:
    (project.path / "fgmf.toml").symlink_to("elsewhere.toml")
    assert_usage_error(project.run(), "*expected a readable file, got FileNotFoundError*")


def test_a_gate_file_that_is_named_must_exist(project: Project, mode: str) -> None:
    result = project.run("--fgmf-gatefile=gone.toml", mode=mode)
    assert_usage_error(result, "*--fgmf-gatefile (fgmf_gatefile): expected a gate file*")


def test_a_duplicate_name_is_a_usage_error(project: Project) -> None:
    project.gates("", "")
    assert_usage_error(project.run(), "gate[[]1].name: expected *, got 'stub-gate'*")


def test_a_broken_file_that_is_named_on_the_command_line(project: Project, mode: str) -> None:
    project.gates("epsilonn = 1", name="examples/fgmf.toml")
    assert_usage_error(project.run("examples/fgmf.toml", mode=mode), "*gate[[]0].epsilonn*")


def test_a_broken_file_that_is_found_while_collecting(project: Project, mode: str) -> None:
    project.gates("epsilonn = 1", name="examples/shop/fgmf.toml")
    result = project.run(mode=mode)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*ERROR collecting examples/shop/fgmf.toml*", "*epsilonn*"])
    assert "INTERNALERROR" not in result.stdout.str()


def test_a_broken_file_is_found_when_only_collecting(project: Project) -> None:
    project.gates("epsilonn = 1", name="examples/shop/fgmf.toml")
    assert project.run("--collect-only").ret == pytest.ExitCode.USAGE_ERROR


def test_node_ids_of_other_tests_run_beside_a_broken_file(project: Project) -> None:
    project.gates("epsilonn = 1")
    assert project.run("tests/test_own.py::test_own").ret == pytest.ExitCode.OK


def test_a_broken_file_does_not_hide_the_help(project: Project) -> None:
    project.gates("epsilonn = 1")
    assert project.run("--help").ret == pytest.ExitCode.OK
    assert project.run("--markers").ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (HEAD, "model factory 'shop:model' cannot be imported: ModuleNotFoundError: *'shop'"),
        (
            HEAD.replace("shop:model", "store:raising"),
            "model factory 'store:raising' raised RuntimeError: no weights",
        ),
        (
            HEAD.replace("shop:model", "store:leaving"),
            "model factory 'store:leaving' raised SystemExit: 0",
        ),
        (
            HEAD.replace("shop:model", "store:nothing"),
            "model factory 'store:nothing' returned None; *",
        ),
        (
            HEAD.replace("shop:model", "store:missing"),
            "model factory 'store:missing' cannot be imported: AttributeError: *'missing'",
        ),
    ],
)
def test_a_factory_that_fails_is_an_error_item(
    bare_project: Project, head: str, reason: str
) -> None:
    bare_project.write(
        "store.py",
        """
        import sys

        def raising(): raise RuntimeError("no weights")
        def leaving(): sys.exit(0)
        def nothing(): pass
        """,
    )
    gate = '[[gate]]\nkind = "robustness"\nnorm = "linf"\nepsilon = 0.1\nmin_robust_accuracy = 0.5'
    bare_project.write("fgmf.toml", f"{head}\n{gate}\n")
    result = bare_project.run()
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"robustness: not measured: {reason}"])
