"""Each outcome in pytest's terms: letters, words, JUnit, exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

FOUR = (
    'name = "good"',
    'name = "bad"\noutcome = "fail"',
    'name = "vague"\noutcome = "inconclusive"',
    'name = "broken"\nraises = "no such layer"',
)


def test_fail_and_inconclusive_are_failures_and_error_is_an_error(
    project: Project, mode: str
) -> None:
    project.gates(*FOUR)
    result = project.run("--junitxml=junit.xml", mode=mode)
    result.assert_outcomes(passed=2, failed=2, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    cases = project.junit()
    assert [child.tag for child in cases["good"]] == ["properties"]
    assert cases["bad"].find("failure") is not None
    assert cases["vague"].find("failure") is not None
    assert cases["broken"].find("failure") is None
    error = cases["broken"].find("error")
    assert error is not None
    assert "no such layer" in error.attrib["message"]


def test_a_failure_is_told_in_words_whose_first_line_stands_alone(
    project: Project, mode: str
) -> None:
    project.gates('name = "bad"\noutcome = "fail"')
    result = project.run("--junitxml=junit.xml", mode=mode)
    result.stdout.fnmatch_lines(
        [
            "*___ bad ___*",
            "stub-gate: 0.100 [[]0.050, 0.150] < 0.50 required (n=10; 95 %; seed *)",
            "reproduce: pytest fgmf.toml::bad",
            "FAILED fgmf.toml::bad - stub-gate: 0.100 *",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "runtest" not in result.stdout.str()
    failure = project.junit()["bad"].find("failure")
    assert failure is not None
    assert failure.attrib["message"].startswith("stub-gate: 0.100 [0.050, 0.150] < 0.50 required")
    assert "\n" not in failure.attrib["message"]


def test_an_error_names_exception_and_place_below_its_first_line(project: Project) -> None:
    project.gates('name = "broken"\nraises = "no such layer"')
    result = project.run()
    result.stdout.fnmatch_lines(
        [
            "stub-gate: not measured: RuntimeError: no such layer",
            "*in check",
            "ERROR fgmf.toml::broken - stub-gate: not measured: RuntimeError: no such layer",
        ]
    )


def test_full_trace_shows_python(project: Project) -> None:
    project.gates('name = "bad"\noutcome = "fail"')
    result = project.run("--full-trace")
    assert "def raise_unless_passed" in result.stdout.str()


def test_an_accepted_inconclusive_passes_and_is_seen(project: Project, local: str) -> None:
    project.gates('name = "vague"\noutcome = "inconclusive"\ninconclusive = "pass"')
    result = project.run(mode=local)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["INCONCLUSIVE (accepted)  vague *"])


def test_inconclusive_pass_does_not_let_a_failure_through(project: Project) -> None:
    project.gates('name = "bad"\noutcome = "fail"\ninconclusive = "pass"')
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED


def test_junit_properties_are_plain_text(project: Project, mode: str) -> None:
    project.gates('name = "good"')
    project.run("--junitxml=junit.xml", mode=mode)
    properties = {
        entry.attrib["name"]: entry.attrib["value"]
        for entry in project.junit()["good"].iter("property")
    }
    assert properties["fgmf.gate"] == "good"
    assert properties["fgmf.outcome"] == "pass"
    assert properties["fgmf.measured"] == "0.9"
    assert properties["fgmf.threshold"] == "0.5"
    assert properties["fgmf.image_count"] == "10"


def test_a_skip_raised_while_loading_is_an_error(project: Project) -> None:
    """A factory is no test: what it raises, skips too, leaves the gate unmeasured.

    The skip stands in the user's factory that is written here.
    """
    project.write("skipping.py", "import pytest\ndef skip(*_): pytest.skip('no weights here')\n")
    project.gates('name = "good"')
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text() + "\nimport skipping\nGateRun.classifier = skipping.skip\n"
    )
    result = project.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*not measured: Skipped: no weights here*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_an_interrupt_stops_the_run(project: Project) -> None:
    project.gates('name = "good"')
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\ndef interrupt(*_): raise KeyboardInterrupt\nGateRun.classifier = interrupt\n"
    )
    assert project.run().ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize("quiet", [("-q",), ("-qq",), ("-p", "no:terminal"), ("--tb=no",)])
def test_the_exit_status_does_not_depend_on_what_is_shown(
    project: Project, quiet: tuple[str, ...]
) -> None:
    project.gates(*FOUR)
    assert project.run(*quiet).ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("shown", ["-q", "-v", "--color=yes", "-n2"])
def test_the_table_shows_every_gate(project: Project, shown: str) -> None:
    project.gates(*FOUR)
    result = project.run(shown)
    result.stdout.fnmatch_lines(
        [
            "outcome * gate * kind * measured * required * images * time * remarks",
            "FAIL * bad * stub-gate * 0.100 [[]0.050, 0.150] * >= 0.50 * 10 * 0.2 s",
            "ERROR * broken * RuntimeError: no such layer",
            "PASS * good *",
            "INCONCLUSIVE * vague *",
        ]
    )
