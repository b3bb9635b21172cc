"""Gates against their baselines: losses fail, and what cannot be compared never passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import section
from tests.plugin.test_broken_files import assert_usage_error

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

GOOD = 'name = "good"\nends = "rrrrrrrrbw"'
WORSE = 'name = "good"\nends = "rrrbbbbbbw"'
FAIL = "--fgmf-compare-fail=robust_accuracy:2pp"
STRICT = (FAIL, "--fgmf-report=json:report.json")
UPDATE = "--fgmf-update-baseline"


def baseline(project: Project, name: str = "good") -> Path:
    return project.path / ".fgmf" / "baselines" / f"{name}.json"


def learned(project: Project, *tables: str) -> Path:
    """A project with baselines of these gates."""
    project.gates(*(tables or (GOOD,)))
    project.run(UPDATE)
    assert baseline(project).is_file()
    return baseline(project)


def test_a_loss_is_a_failed_test(project: Project, mode: str) -> None:
    learned(project)
    project.gates(WORSE)
    result = project.run(*STRICT, "--junitxml=junit.xml", mode=mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "regression: good: robust accuracy 0.800 -> 0.300, difference -0.500 *"
            "more than robust_accuracy:2pp",
            "against its baseline * before * now * difference * newly broken * newly fixed *",
            "good * 0.800 * 0.300 * -0.500 * 5 * 0 * 0.062 * 0.031 * 10 *",
            "FAILED fgmf.toml::good - regression: good: *",
        ]
    )
    (comparison,) = project.report()["run"]["comparisons"]
    assert (comparison["outcome"], comparison["worst"]["newly_broken"]) == ("fail", 5)
    assert project.junit()["good"].find("failure") is not None


def test_without_limits_a_loss_is_shown(project: Project, local: str) -> None:
    learned(project)
    project.gates(WORSE)
    result = project.run("--fgmf-compare", mode=local)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["good * 0.800 * 0.300 * -0.500 *"])


def test_no_loss_passes(project: Project, local: str) -> None:
    learned(project)
    result = project.run(*STRICT, mode=local)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["good * 0.800 * 0.800 * +0.000 * within robust_accuracy:2pp*"])


def test_a_loss_inside_noise_fails_and_says_so(project: Project) -> None:
    learned(project)
    project.gates('name = "good"\nends = "rrrrrrrbbw"')
    result = project.run(*STRICT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["regression: good: * but inside noise: *"])
    lenient = project.run("--fgmf-compare-fail=robust_accuracy:significant")
    assert lenient.ret == pytest.ExitCode.OK


def test_undecided_images_do_not_decide(project: Project) -> None:
    learned(project)
    project.gates('name = "good"\nends = "rrrrrruubw"\noutcome = "inconclusive"\n'
                  'inconclusive = "pass"')  # fmt: skip
    result = project.run(*STRICT)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*comparison does not decide: good: *2 undecided or failed*"])


def _make_missing(project: Project) -> None:
    baseline(project).unlink()


def _make_damaged(project: Project) -> None:
    path = baseline(project)
    path.write_bytes(path.read_bytes().replace(b"rrrrrrrrbw", b"rrrbbbbbbw"))


def _make_stale(project: Project) -> None:
    project.gates(f"{WORSE}\nepsilon = 0.2")


def _make_smaller(project: Project) -> None:
    project.gates('name = "good"\nends = "rrrrr"')


def _make_renamed(project: Project) -> None:
    project.gates('name = "renamed"\nends = "rrrrrrrrbw"')


def _make_silent(project: Project) -> None:
    project.gates('name = "good"')


def _make_broken(project: Project) -> None:
    project.gates(f'{GOOD}\nraises = "no such layer"')


def _make_gone(project: Project) -> None:
    (project.path / "fgmf.toml").unlink()


CASES = {
    "missing": (_make_missing, "not compared: good: no baseline: *"),
    "damaged": (_make_damaged, "not compared: good: damaged: *digest: the file was changed*"),
    "other configuration": (_make_stale, "not compared: good: stale: *epsilon 0.1 before, 0.2*"),
    "other data": (_make_smaller, "not compared: good: stale: *other images or labels: 5 *"),
    "renamed": (_make_renamed, "not compared: good: unmatched: *"),
    "silent": (_make_silent, "not compared: good: not measured: *"),
    "not measured": (_make_broken, "not compared: good: not measured: *no such layer"),
    "no gate file": (_make_gone, "not compared: good: unmatched: *"),
}


@pytest.mark.parametrize("case", CASES)
def test_stale_evidence_never_passes(case: str, project: Project) -> None:
    learned(project)
    damage, words = CASES[case]
    damage(project)
    result = project.run(*STRICT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes().get("errors", 0) >= 1
    assert "failed" not in result.parseoutcomes()
    result.stdout.fnmatch_lines([words])
    quiet = project.run("--fgmf-compare")
    quiet.stdout.fnmatch_lines([words])
    assert quiet.ret == (
        pytest.ExitCode.TESTS_FAILED if case == "not measured" else pytest.ExitCode.OK
    )


def test_stale_evidence_never_passes_under_xdist(project: Project) -> None:
    learned(project, GOOD, 'name = "other"\nends = "rrrr"')
    project.gates('name = "other"\nends = "rr"', 'name = "new"\nends = "rr"')
    result = project.run(*STRICT, mode="-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3, errors=3)


@pytest.mark.parametrize(
    "arguments", [("-k", "test_own"), ("-m", "not fgmf"), ("--deselect", "fgmf.toml::good")]
)
def test_a_deselected_gate_owes_its_baseline(project: Project, arguments: tuple[str, ...]) -> None:
    learned(project)
    result = project.run(*STRICT, *arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*not compared: good: unmatched: no gate of this name*"])


def test_picked_node_ids_and_profiles_owe_nothing(project: Project) -> None:
    learned(project, GOOD, 'name = "nightly"\nends = "rr"\n')
    picked = project.run(*STRICT, "fgmf.toml::good")
    assert picked.ret == pytest.ExitCode.OK
    picked.stdout.fnmatch_lines(["not compared: nightly: unmatched: not among the gates*"])
    project.gates(GOOD, 'name = "nightly"\nends = "rr"\nprofiles = ["nightly"]')
    left_out = project.run(*STRICT)
    assert left_out.ret == pytest.ExitCode.OK
    left_out.stdout.fnmatch_lines(["not compared: nightly: unmatched: the profile leaves*"])


def test_a_gate_that_does_not_count_is_not_compared(project: Project) -> None:
    learned(project)
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\nimport pytest\ndef pytest_itemcollected(item):\n"
        + "    if item.name == 'good': item.add_marker(pytest.mark.xfail(strict=False))\n"
    )
    project.gates(f'{WORSE}\noutcome = "fail"')
    result = project.run(*STRICT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*not compared: good: unmatched: *"])


GATE_TEST = """
import pytest
from conftest import StubGate

def test_gate(fgmf):
    fgmf.{method}(StubGate(ends="{ends}"))
"""


@pytest.mark.parametrize(("method", "mode"), [("assert_gate", "-n2"), ("check", "")])
def test_gates_in_tests_are_compared_too(project: Project, mode: str, method: str) -> None:
    project.write("tests/test_gate.py", GATE_TEST.format(ends="rrrrrrrr", method=method))
    project.gates(GOOD)
    project.run(UPDATE)
    assert len(list((project.path / ".fgmf" / "baselines").glob("*.json"))) == 2
    project.write("tests/test_gate.py", GATE_TEST.format(ends="rrbbbbbb", method=method))
    result = project.run(*STRICT, mode=mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAILED tests/test_gate.py::test_gate - regression: *"])


def test_the_last_failed_are_those_that_lost(project: Project) -> None:
    learned(project)
    project.gates(WORSE)
    project.run(*STRICT, "-p", "cacheprovider")
    again = project.run("--lf", "-p", "cacheprovider")
    again.assert_outcomes(passed=1)
    assert "PASS" in "\n".join(section(again))


def test_updating_writes_decided_gates_only(project: Project, mode: str) -> None:
    project.gates(
        GOOD,
        'name = "bad"\noutcome = "fail"\nends = "bbbb"',
        'name = "vague"\noutcome = "inconclusive"\ninconclusive = "pass"\nends = "rb"',
        'name = "broken"\nraises = "no such layer"\nends = "rr"',
    )
    result = project.run(UPDATE, mode=mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    names = sorted(path.name for path in baseline(project).parent.iterdir())
    assert names == ["bad.json", "good.json"]
    result.stdout.fnmatch_lines_random(
        [
            "baseline of good: *good.json",
            "baseline of vague NOT written: the gate ended INCONCLUSIVE: *",
            "baseline of broken NOT written: the gate ended ERROR: *",
        ]
    )


def test_a_baseline_that_was_asked_for_and_not_written_fails_the_run(project: Project) -> None:
    project.gates('name = "vague"\noutcome = "inconclusive"\ninconclusive = "pass"\nends = "rb"')
    assert project.run().ret == pytest.ExitCode.OK
    assert project.run(UPDATE).ret == pytest.ExitCode.TESTS_FAILED


def test_updating_with_a_limit_keeps_what_a_loss_would_replace(project: Project) -> None:
    path = learned(project)
    before = path.read_bytes()
    project.gates(WORSE)
    result = project.run(UPDATE, FAIL)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert path.read_bytes() == before
    assert project.run(UPDATE).ret == pytest.ExitCode.OK
    assert path.read_bytes() != before
    assert project.run(FAIL).ret == pytest.ExitCode.OK


def test_updating_makes_what_a_limit_lacks(project: Project) -> None:
    project.gates(GOOD)
    assert project.run(FAIL).ret == pytest.ExitCode.TESTS_FAILED
    assert project.run(UPDATE, FAIL).ret == pytest.ExitCode.OK
    assert project.run(FAIL).ret == pytest.ExitCode.OK


def test_running_again_changes_no_byte(project: Project, local: str) -> None:
    path = learned(project)
    before = path.read_bytes()
    project.run(UPDATE, mode=local)
    assert path.read_bytes() == before


def test_ci_writes_no_baselines(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.gates(GOOD)
    monkeypatch.setenv("CI", "true")
    assert_usage_error(project.run(UPDATE), "*--fgmf-update-baseline: * variable CI set*")
    assert not baseline(project).exists()
    assert project.run(f"{UPDATE}=force").ret == pytest.ExitCode.OK
    assert baseline(project).exists()


def test_an_interrupted_run_writes_nothing(project: Project) -> None:
    project.gates(GOOD)
    project.write("tests/test_own.py", "def test_own(): raise KeyboardInterrupt\n")
    result = project.run("fgmf.toml", "tests", UPDATE)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not baseline(project).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fgmf-compare-fail=2pp",),
        ("--fgmf-compare-fail=robust_accuracy:-2pp",),
        ("-o", "fgmf_compare_fail=robust_accuracy:2"),
        ("--fgmf-update-baseline=maybe",),
        ("--fgmf-update-baseline", "tests"),
        ("--fgmf-compare", "tests"),
        ("--fgmf-compare", "fgmf.toml::good"),
        ("--fgmf-compare=fgmf.toml",),
    ],
)
def test_wrong_values_are_usage_errors(project: Project, arguments: tuple[str, ...]) -> None:
    project.gates(GOOD)
    assert_usage_error(project.run(*arguments), "*--fgmf-*(fgmf_*): expected *, got *")


@pytest.mark.parametrize("given", ["option", "ini"])
def test_another_directory(project: Project, given: str) -> None:
    project.gates(GOOD)
    arguments = ["--fgmf-compare=saved"] if given == "option" else ["-o", "fgmf_compare=saved"]
    assert project.run(*arguments, UPDATE).ret == pytest.ExitCode.OK
    assert (project.path / "saved" / "good.json").is_file()
    assert project.run(*arguments, FAIL).ret == pytest.ExitCode.OK
    assert project.run(FAIL).ret == pytest.ExitCode.TESTS_FAILED


def test_limits_of_the_ini_file(project: Project) -> None:
    learned(project)
    project.gates(WORSE)
    project.write("pytest.ini", "[pytest]\nfgmf_compare_fail = robust_accuracy:5%\n")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    assert project.run("--fgmf-compare-fail=robust_accuracy:90%").ret == pytest.ExitCode.OK
    assert project.run("-o", "fgmf_compare_fail=").ret == pytest.ExitCode.OK


def test_limits_that_nothing_is_held_against_never_pass(project: Project) -> None:
    result = project.run(FAIL)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["nothing compared: the run had no gate, *"])
    picked = project.run(FAIL, "tests/test_own.py::test_own")
    assert picked.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("quiet", [("-qq",), ("-p", "no:terminal"), ("--tb=no",)])
def test_the_exit_status_does_not_depend_on_what_is_shown(
    project: Project, quiet: tuple[str, ...]
) -> None:
    learned(project)
    project.gates(WORSE)
    assert project.run(*STRICT, *quiet).ret == pytest.ExitCode.TESTS_FAILED
