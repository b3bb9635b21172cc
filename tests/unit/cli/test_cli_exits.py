"""Exit codes: the worst verdict wins, and nothing is green by mistake."""

from __future__ import annotations

import pytest
import typer

from fgmf.cli.exits import ExitCode, WrongUse, exit_code_of, exits
from fgmf.errors import InvalidGateFile, InvalidInput
from fgmf.verdict import Outcome, Verdict


def verdict(outcome: Outcome, *, accepted: bool = False) -> Verdict:
    return Verdict(gate="g", kind="k", outcome=outcome, reason="", accepted=accepted)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ("pass", ExitCode.PASSED),
        ("pass inconclusive", ExitCode.INCONCLUSIVE),
        ("inconclusive fail pass", ExitCode.FAILED),
        ("fail error inconclusive", ExitCode.ERROR),
        ("error", ExitCode.ERROR),
    ],
)
def test_the_worst_outcome_decides(outcomes: str, code: ExitCode) -> None:
    assert exit_code_of([verdict(Outcome(word)) for word in outcomes.split()]) is code


def test_no_verdict_is_no_pass() -> None:
    assert exit_code_of([]) is ExitCode.ERROR


def test_only_an_inconclusive_verdict_can_be_accepted() -> None:
    assert exit_code_of([verdict(Outcome.INCONCLUSIVE, accepted=True)]) is ExitCode.PASSED
    for outcome, code in ((Outcome.FAIL, 1), (Outcome.ERROR, 5)):
        assert exit_code_of([verdict(outcome, accepted=True)]) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WrongUse("no such gate"), ExitCode.USAGE),
        (InvalidGateFile("fgmf.toml", []), ExitCode.BROKEN_GATE_FILE),
        (InvalidInput("no images"), ExitCode.ERROR),
        (OSError("no space"), ExitCode.ERROR),
        (RuntimeError("a bug"), ExitCode.ERROR),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
)
def test_what_is_raised_has_its_code(error: BaseException, code: ExitCode) -> None:
    with pytest.raises(typer.Exit) as left, exits():
        raise error
    assert left.value.exit_code is code
