"""A gate about no model and no data, in a gate file that has neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mask_logs import write_log

if TYPE_CHECKING:
    from pathlib import Path

GATES = """
schema = 1
[[gate]]
kind = "mask-log"
path = "log"
head = "{head}"
required = true
"""


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_gate_file_may_hold_nothing_but_logs(pytester: pytest.Pytester, workers: str) -> None:
    log = write_log(pytester.path / "log")
    pytester.makefile(".toml", fgmf=GATES.format(head=log.head))
    result = pytester.runpytest_subprocess(
        workers, "--junitxml=junit.xml", "--fgmf-report=json:report.json"
    )
    result.assert_outcomes(passed=1)
    assert log.head in (pytester.path / "junit.xml").read_text()
    assert log.head in (pytester.path / "report.json").read_text()


def test_a_tampered_log_fails_the_run(pytester: pytest.Pytester) -> None:
    log = write_log(pytester.path / "log")
    pytester.makefile(".toml", fgmf=GATES.format(head=log.head))
    pack = log.directory.pack("train-0", 0)
    pack.write_bytes(pack.read_bytes()[:-1] + b"!")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*mask-log: tampered: stream train-0, *array grid*"])


def test_torch_is_not_imported_for_a_log(pytester: pytest.Pytester) -> None:
    log = write_log(pytester.path / "log")
    pytester.makefile(".toml", fgmf=GATES.format(head=log.head))
    pytester.makeconftest(
        "import sys\ndef pytest_unconfigure():\n    assert 'torch' not in sys.modules\n"
    )
    assert pytester.runpytest_subprocess("-p", "no:cacheprovider").ret == 0


def test_a_test_may_ask_for_a_log(pytester: pytest.Pytester) -> None:
    log = write_log(pytester.path / "log")
    pytester.makepyfile(
        f"""
        from fgmf.gates import MaskLogGate

        def test_log(fgmf):
            fgmf.assert_gate(MaskLogGate(path={str(log.path)!r}, head={log.head!r}))

        def test_unanchored(fgmf):
            fgmf.assert_gate(MaskLogGate(path={str(log.path)!r}))
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('model = "m"', "gate[0].model: expected no `model`"),
        ('[[gate]]\nkind = "corruption"\nmin_corruption_accuracy = 0.5', "model: expected a table"),
        ('[[gate]]\nkind = "nothing"', "model: expected a table"),
    ],
)
def test_only_logs_need_no_model(pytester: pytest.Pytester, more: str, said: str) -> None:
    pytester.makefile(".toml", fgmf=GATES.format(head="sha256:" + "0" * 64) + more)
    result = pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{said.replace('[', '[[]')}*"])


def test_a_baseline_is_no_business_of_a_log(pytester: pytest.Pytester) -> None:
    log = write_log(pytester.path / "log")
    pytester.makefile(".toml", fgmf=GATES.format(head=log.head))
    result = pytester.runpytest_subprocess("--fgmf-update-baseline=force", "--fgmf-compare")
    assert result.ret == 0, result.stdout.str()


def test_the_same_without_pytest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jsonschema
    from typer.testing import CliRunner

    from fgmf.cli.application import application
    from fgmf.gatefile import json_schema

    log = write_log(tmp_path / "log")
    (tmp_path / "fgmf.toml").write_text(GATES.format(head=log.head))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(application, ["check"])
    assert done.exit_code == 0, done.output
    nothing = CliRunner().invoke(application, ["preflight"])
    assert nothing.exit_code == 2
    gate = {"kind": "mask-log", "path": "log"}
    jsonschema.validate({"schema": 1, "gate": [gate]}, json_schema())
    other = {"kind": "corruption", "min_corruption_accuracy": 0.5}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 1, "gate": [gate, other]}, json_schema())


TEAM = """
schema = 1
[[gate]]
kind = "team-mask-log"
path = "log"
head = "{head}"
agents = ["cnn", "vit"]
"""


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_the_log_of_a_team(pytester: pytest.Pytester, workers: str) -> None:
    log = write_log(pytester.path / "log", streams=("cnn", "vit"))
    pytester.makefile(".toml", fgmf=TEAM.format(head=log.head))
    pytester.makeconftest(
        "import sys\ndef pytest_unconfigure():\n    assert 'torch' not in sys.modules\n"
    )
    result = pytester.runpytest_subprocess(workers, "--fgmf-report=json:report.json")
    result.assert_outcomes(passed=1)
    assert '"decisions": 4' in (pytester.path / "report.json").read_text()


def test_an_agent_that_did_not_log_fails_the_run(pytester: pytest.Pytester) -> None:
    log = write_log(pytester.path / "log", streams=("cnn",))
    pytester.makefile(".toml", fgmf=TEAM.format(head=log.head))
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*decisions do not join: agent vit has no record*"])
