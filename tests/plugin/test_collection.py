"""Which gates are collected, under which ids, wherever pytest is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import HEAD, section

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_every_gate_is_an_item_with_a_stable_id(project: Project, mode: str) -> None:
    project.gates('name = "first"', 'name = "second"', "")
    result = project.run("-v", "-rA", mode=mode)
    for name in ("first", "second", "stub-gate"):
        result.stdout.fnmatch_lines([f"PASSED fgmf.toml::{name}"])
    result.assert_outcomes(passed=4)


def test_lists_become_one_item_each(project: Project) -> None:
    project.gates('name = "wide"\nepsilon = ["8/255", 0.1]')
    result = project.run("--collect-only", "-q")
    result.stdout.fnmatch_lines(["fgmf.toml::wide@8/255", "fgmf.toml::wide@0.1"])


@pytest.mark.parametrize("name", ["wide@8/255", "wide@0.1"])
def test_a_node_id_with_a_slash_selects_its_gate(project: Project, name: str) -> None:
    project.gates('name = "wide"\nepsilon = ["8/255", 0.1]')
    result = project.run(f"fgmf.toml::{name}", "--fgmf-report=json:report.json")
    result.assert_outcomes(passed=1)
    assert project.outcomes() == {name: "pass"}


def test_the_table_in_pyproject_is_collected(project: Project, local: str) -> None:
    head = HEAD.replace("[model]", "[tool.fgmf.model]").replace("[data]", "[tool.fgmf.data]")
    project.write(
        "pyproject.toml",
        f'[tool.fgmf]{head}\n[[tool.fgmf.gate]]\nkind = "stub-gate"\nname = "inner"\n',
    )
    result = project.run("-rA", mode=local)
    result.stdout.fnmatch_lines(
        ["fgmf: pyproject.toml, profile default: 1 gate: inner", "PASSED pyproject.toml::inner"]
    )


def test_a_pyproject_without_the_table_is_left_alone(project: Project) -> None:
    project.write("pyproject.toml", '[project]\nname = "x"\ndependencies = ["pytest-fgmf"]\n')
    result = project.run()
    result.assert_outcomes(passed=1)
    assert "fgmf:" not in result.stdout.str()


@pytest.mark.parametrize("where", ["tests", "tests/test_own.py", "."])
def test_other_folders_on_the_command_line_do_not_lose_the_gates(
    project: Project, mode: str, where: str
) -> None:
    if mode and where != "tests":
        mode = "-n0"
    project.gates('name = "kept"')
    result = project.run(where, "--fgmf-report=json:report.json", mode=mode)
    result.assert_outcomes(passed=2)
    assert project.outcomes() == {"kept": "pass"}


def test_testpaths_do_not_lose_the_gates(project: Project, mode: str) -> None:
    project.write("pytest.ini", "[pytest]\ntestpaths = tests\n")
    project.gates('name = "kept"')
    result = project.run(mode=mode)
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("ignored", ["--ignore=fgmf.toml", "--ignore-glob=*.toml"])
def test_an_ignored_gate_file_is_seen(project: Project, ignored: str) -> None:
    project.gates('name = "kept"')
    result = project.run(ignored)
    result.stdout.fnmatch_lines(["not run: kept (*not collected*)"])
    project.gates('name = "kept"\nrequired = true')
    assert project.run(ignored).ret == pytest.ExitCode.TESTS_FAILED
    assert project.run(ignored, "tests").ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("ini", [True, False], ids=["configured", "bare"])
def test_a_start_in_a_subdirectory_does_not_lose_the_gates(
    project: Project, monkeypatch: pytest.MonkeyPatch, ini: bool
) -> None:
    project.gates('name = "kept"')
    if ini:
        project.write("pytest.ini", "[pytest]\n")
    else:
        (project.path / ".git").mkdir()
        (project.path / "conftest.py").rename(project.path / "tests" / "conftest.py")
    monkeypatch.chdir(project.path / "tests")
    result = project.run("-rA")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["PASSED ../fgmf.toml::kept"])
    assert "not run" not in result.stdout.str()


@pytest.mark.parametrize(
    ("files", "arguments"),
    [
        ({"tests/pytest.ini": "[pytest]\n"}, ["tests"]),
        ({"tests/pyproject.toml": "[project]\nname = 'x'\nversion = '1'\n"}, ["tests"]),
        ({"ci/pytest.ini": "[pytest]\n"}, ["-c", "ci/pytest.ini", "tests"]),
    ],
)
def test_a_root_that_a_configuration_file_moves_does_not_lose_the_gates(
    project: Project, files: dict[str, str], arguments: list[str]
) -> None:
    project.gates('name = "bad"\noutcome = "fail"\nrequired = true')
    (project.path / "conftest.py").rename(project.path / "tests" / "conftest.py")
    for name, text in files.items():
        project.write(name, text)
    result = project.run(*arguments, "--fgmf-report=json:report.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes() == {"bad": "fail"}
    result.assert_outcomes(passed=1, failed=1)


def test_a_start_one_level_up_does_not_lose_the_gates(project: Project) -> None:
    project.gates('name = "bad"\noutcome = "fail"', name="repo/fgmf.toml")
    (project.path / "repo" / ".git").mkdir()
    (project.path / "tests").rename(project.path / "repo" / "tests")
    (project.path / "conftest.py").rename(project.path / "repo" / "tests" / "conftest.py")
    result = project.run("repo/tests")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_no_gate_file_of_a_stranger_above_is_taken(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.gates('name = "foreign"')  # no .git: pytest's root directory is tests/
    (project.path / "conftest.py").rename(project.path / "tests" / "conftest.py")
    monkeypatch.chdir(project.path / "tests")
    project.run().assert_outcomes(passed=1)


def test_node_ids_run_only_what_they_name_and_say_so(project: Project, local: str) -> None:
    project.gates('name = "kept"\nrequired = true')
    result = project.run("tests/test_own.py::test_own", mode=local)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["fgmf: fgmf.toml: only what was picked runs, and required gates are not checked *"]
    )
    # -q hides the header, not that
    quiet = project.run("-q", "tests/test_own.py::test_own")
    quiet.stdout.fnmatch_lines(["fgmf.toml: only what was picked runs*(node ids were given)"])


def test_packages_run_only_themselves_and_say_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.gates('name = "kept"')
    project.write("shop_tests/__init__.py", "")
    project.write("shop_tests/test_shop.py", "def test_shop(): pass\n")
    monkeypatch.syspath_prepend(str(project.path))
    result = project.run("--pyargs", "shop_tests.test_shop")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["fgmf: fgmf.toml: *(a package was given)"])


def test_pyargs_with_paths_does_not_lose_the_gates(project: Project) -> None:
    project.gates('name = "kept"')
    project.run("--pyargs", "tests").assert_outcomes(passed=2)


def test_nested_gate_files_are_collected_with_their_folder(project: Project, mode: str) -> None:
    project.gates('name = "outer"')
    project.gates('name = "inner"', name="examples/shop/fgmf.toml")
    result = project.run("-rA", mode=mode)
    result.stdout.fnmatch_lines_random(
        ["PASSED fgmf.toml::outer", "PASSED examples/shop/fgmf.toml::inner"]
    )


def test_two_gates_of_one_name_in_two_files_are_an_error(project: Project, local: str) -> None:
    project.gates('name = "same"')
    project.gates('name = "same"', name="examples/fgmf.toml")
    result = project.run(mode=local)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*the name 'same' is used by several gates: examples/fgmf.toml::same, fgmf.toml::same"]
    )


def test_the_named_gate_file_replaces_that_of_the_root(project: Project, mode: str) -> None:
    project.gates('name = "usual"')
    project.gates('name = "special"', name="other/night.toml")
    result = project.run("--fgmf-gatefile=other/night.toml", "-rA", mode=mode)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["PASSED other/night.toml::special"])


@pytest.mark.parametrize("arguments", [(), ("tests",), (".",), ("build",)])
def test_the_named_gate_file_may_lie_where_pytest_does_not_look(
    project: Project, mode: str, arguments: tuple[str, ...]
) -> None:
    if mode == "-n2" and arguments:
        mode = "-n0"
    project.gates('name = "special"', name="build/night.toml")
    result = project.run("--fgmf-gatefile=build/night.toml", "-m", "fgmf", *arguments, mode=mode)
    result.stdout.fnmatch_lines(["PASS * special *"])
    assert result.ret == pytest.ExitCode.OK


def test_a_configured_gate_file_is_relative_to_the_configuration(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("pytest.ini", "[pytest]\nfgmf_gatefile = other/night.toml\n")
    project.gates('name = "special"', name="other/night.toml")
    monkeypatch.chdir(project.path / "tests")
    project.run().assert_outcomes(passed=2)


def test_markers_select_kinds_under_strict_markers(project: Project, local: str) -> None:
    project.gates('name = "kept"')
    result = project.run("--strict-markers", "-m", "stub_gate", mode=local)
    result.assert_outcomes(passed=1, deselected=1)


@pytest.mark.parametrize(
    ("expression", "passed"), [("robustness", 0), ("fgmf", 2), ("not fgmf", 1)]
)
def test_the_common_marker_is_on_gates_and_on_tests_that_use_the_fixture(
    project: Project, expression: str, passed: int
) -> None:
    project.gates('name = "kept"')
    project.write("tests/test_fixture.py", "def test_uses(fgmf): pass\n")
    project.run("--strict-markers", "-m", expression).assert_outcomes(
        passed=passed, deselected=3 - passed
    )


def test_markers_are_documented(project: Project) -> None:
    result = project.run("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.robustness: *", "@pytest.mark.gradient_masking: *"])


def test_keywords_select_by_name(project: Project) -> None:
    project.gates('name = "robust-linf"', 'name = "robust-l2"')
    project.run("-k", "robust-l2").assert_outcomes(passed=1, deselected=2)


def test_collection_shows_the_gates_and_runs_none(project: Project) -> None:
    project.gates('name = "kept"\nrequired = true\noutcome = "fail"')
    result = project.run("--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["fgmf.toml::kept"])


def test_the_header_lists_gates_and_marks_the_required_ones(project: Project) -> None:
    project.gates('name = "a"\nrequired = true', 'name = "b"')
    project.run().stdout.fnmatch_lines(
        ["fgmf: fgmf.toml, profile default: 2 gates: a[*], b (* required)"]
    )


def test_a_long_header_is_cut(project: Project) -> None:
    project.gates(*(f'name = "gate-{n:02}"' for n in range(20)))
    result = project.run("--collect-only")
    result.stdout.fnmatch_lines(["fgmf: *: 20 gates: gate-00, *, gate-11, and 8 more"])


@pytest.mark.parametrize("arguments", [("fgmf.toml",), (".", "fgmf.toml"), ("--keep-duplicates",)])
def test_a_gate_that_is_reached_twice_runs_once(
    project: Project, arguments: tuple[str, ...]
) -> None:
    project.gates('name = "once"')
    """How many tests are deselected beside it differs between versions of pytest."""
    project.run(*arguments, "fgmf.toml", "-m", "fgmf", "-rA").assert_outcomes(passed=1)


def test_gates_point_to_their_lines(project: Project) -> None:
    path = project.gates('name = "a"', 'name = "b"\noutcome = "fail"')
    lines = path.read_text().splitlines()
    second = [n for n, line in enumerate(lines, start=1) if line == "[[gate]]"][1]
    result = project.run("--tb=line")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"{path}:{second}: stub-gate: 0.100 *"])


def test_without_gates_the_plugin_says_nothing(project: Project, local: str) -> None:
    result = project.run(mode=local)
    result.assert_outcomes(passed=1)
    assert "fgmf:" not in result.stdout.str()
    assert section(result) == []
