"""Required gates that do not run fail the run, whatever kept them from running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import section

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

REQUIRED = 'name = "must"\nrequired = true'


@pytest.mark.parametrize(
    "arguments",
    [
        ("-k", "test_own"),
        ("-m", "not fgmf"),
        ("--deselect", "fgmf.toml::must"),
        ("--deselect", "fgmf.toml"),
        ("-k", "nothing"),
    ],
)
def test_deselected(project: Project, mode: str, arguments: tuple[str, ...]) -> None:
    if mode == "-n2" and arguments != ("-k", "test_own"):
        mode = "-n0"
    project.gates(REQUIRED)
    result = project.run(*arguments, "--junitxml=junit.xml", mode=mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of must*",
            "stub-gate: not measured: the gate is required, but it was not run: deselected",
            "ERROR fgmf.toml::must - stub-gate: not measured: *",
        ]
    )
    assert project.junit()["must"].find("error") is not None


@pytest.mark.parametrize("own", ["pass", "fail"])
def test_last_failed(project: Project, own: str) -> None:
    project.gates(REQUIRED)
    project.write("tests/test_own.py", "def test_own(): assert 0\n")
    arguments = ("-p", "cacheprovider")
    project.run(*arguments).assert_outcomes(passed=1, failed=1)
    if own == "pass":
        project.write("tests/test_own.py", "def test_own(): assert 1\n")
    result = project.run(*arguments, "--lf")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=int(own == "pass"), failed=int(own == "fail"), errors=1)
    # what did not run counts as failed, so that the next --lf runs it
    again = project.run(*arguments, "--lf")
    again.stdout.fnmatch_lines(["PASS * must *"])


@pytest.mark.parametrize(
    ("mark", "word"),
    [("skip", "skipped"), ("skipif(True, reason='x')", "skipped"), ("xfail", "expected to fail")],
)
def test_skipped_and_expected_to_fail(project: Project, mode: str, mark: str, word: str) -> None:
    if mode == "-n2" and mark != "xfail":
        mode = "-n0"
    project.gates(f'{REQUIRED}\noutcome = "fail"')
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\nimport pytest\ndef pytest_itemcollected(item):\n"
        + f"    if item.name == 'must': item.add_marker(pytest.mark.{mark})\n"
    )
    result = project.run("--fgmf-report=json:report.json", mode=mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*the gate is required, but it was not run: {word}*"])
    assert project.outcomes() == {"must": "error"}
    assert len(project.report()["verdicts"]) == 1


def test_a_required_gate_that_ran_is_met(project: Project, mode: str) -> None:
    project.gates(REQUIRED)
    result = project.run("--fgmf-require=must", mode=mode)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=2)


def test_a_required_gate_that_failed_is_reported_once(project: Project, local: str) -> None:
    project.gates(f'{REQUIRED}\noutcome = "fail"')
    result = project.run(mode=local)
    result.assert_outcomes(passed=1, failed=1, errors=0)


def test_a_run_that_stopped_early_names_what_it_owes(project: Project) -> None:
    project.gates(REQUIRED)
    project.write("tests/test_own.py", "def test_own(): assert 0\n")
    result = project.run("-x", "tests")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*not run: it was not collected, or the run stopped before it*"])


def test_without_a_terminal_the_exit_status_tells(project: Project) -> None:
    project.gates(REQUIRED)
    result = project.run("-k", "test_own", "-p", "no:terminal")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_only_collecting_requires_nothing(project: Project) -> None:
    project.gates(REQUIRED)
    assert project.run("--collect-only", "-k", "test_own").ret == pytest.ExitCode.OK


def test_a_gate_that_the_profile_leaves_out_is_not_owed(project: Project, local: str) -> None:
    project.gates('name = "now"', f'{REQUIRED}\nprofiles = ["nightly"]')
    result = project.run("--fgmf-require=must", mode=local)
    assert result.ret == pytest.ExitCode.OK
    assert "left out by profile default: must" in section(result)


@pytest.mark.parametrize("given", ["option", "ini"])
def test_a_vanished_gate_file_is_noticed(project: Project, mode: str, given: str) -> None:
    arguments = []
    if given == "option":
        arguments = ["--fgmf-require=must", "--fgmf-require", "other"]
    else:
        project.write("pytest.ini", "[pytest]\nfgmf_require =\n    must\n    other\n")
        mode = "" if mode == "-n0" else mode
    result = project.run(*arguments, "--fgmf-report=json:report.json", mode=mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*not run: there is no gate file"])
    assert project.outcomes() == {"must": "error", "other": "error"}


def test_a_renamed_gate_is_noticed(project: Project, local: str) -> None:
    project.gates('name = "renamed"')
    result = project.run("--fgmf-require=must", mode=local)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*not run: fgmf.toml has no gate of that name"])


def test_node_ids_do_not_lift_what_the_command_line_requires(project: Project) -> None:
    project.gates(REQUIRED)
    picked = project.run("tests/test_own.py::test_own", "--fgmf-require=must")
    assert picked.ret == pytest.ExitCode.TESTS_FAILED
    picked.stdout.fnmatch_lines(["*not run: nothing that was picked ran it (node ids were given)"])
    met = project.run("fgmf.toml::must", "--fgmf-require=must")
    assert met.ret == pytest.ExitCode.OK


def test_a_required_gate_of_a_nested_file_is_owed_too(project: Project, mode: str) -> None:
    project.gates(REQUIRED, name="examples/fgmf.toml")
    result = project.run("-k", "test_own", mode=mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR examples/fgmf.toml::must - *"])


def test_a_required_gate_in_a_test_that_is_expected_to_fail(project: Project, mode: str) -> None:
    # The xfail stands in the user's test that is written here: it must not hide the gate.
    project.write(
        "tests/test_gate.py",
        """
        import pytest
        from conftest import StubGate

        @pytest.mark.xfail
        def test_gate(fgmf):
            fgmf.assert_gate(StubGate(name="must", outcome="fail", required=True))
        """,
    )
    result = project.run("tests", mode=mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "stub-gate: not measured: * it was not run: expected to fail (xfail)",
            "ERROR tests/test_gate.py::test_gate - *",
        ]
    )


def test_an_interrupted_run_stays_interrupted(project: Project) -> None:
    project.gates(REQUIRED)
    project.write("tests/test_own.py", "def test_own(): raise KeyboardInterrupt\n")
    result = project.run("tests", "--fgmf-report=json:report.json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert project.outcomes() == {"must": "error"}


def test_a_crashed_worker_leaves_its_gate_unmet(project: Project) -> None:
    project.gates(REQUIRED)
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\nimport os\ndef crash(*_): os._exit(1)\nGateRun.classifier = crash\n"
    )
    result = project.run("--fgmf-report=json:report.json", "--max-worker-restart=0", mode="-n2")
    assert result.ret != pytest.ExitCode.OK
    assert project.outcomes() == {"must": "error"}


def test_a_hook_that_turns_a_failure_into_a_pass(project: Project) -> None:
    project.gates(f'{REQUIRED}\noutcome = "fail"')
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\nimport pytest\n"
        + "@pytest.hookimpl(wrapper=True)\n"
        + "def pytest_runtest_makereport(item, call):\n"
        + "    report = yield\n"
        + "    report.outcome, report.longrepr = 'passed', None\n"
        + "    return report\n"
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["required gate must ended FAIL*"])
