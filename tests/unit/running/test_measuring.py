from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from fgmf.errors import InvalidInput
from fgmf.gates import GateSpecification, RunContext
from fgmf.running import error_verdict, gate_name, replay_failures, run_gate
from fgmf.verdict import Finding, Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples

CONTEXT = RunContext(reproduce="again")


class Scripted(GateSpecification):
    """Returns or raises what the test wants."""

    kind: Literal["scripted"] = "scripted"
    returned: Any = None

    def check(self, classifier: Any, images: Any, labels: Any, *, context: RunContext) -> Any:
        if isinstance(self.returned, BaseException):
            raise self.returned
        return self.returned


def load() -> Any:
    return SimpleNamespace(), SimpleNamespace(images=None, labels=None)


def verdict(**changes: Any) -> Verdict:
    values: dict[str, Any] = {
        "gate": "other",
        "kind": "scripted",
        "outcome": Outcome.PASS,
        "reason": "",
    }
    return Verdict(**{**values, **changes})


def run(returned: object, **fields: Any) -> Verdict:
    return run_gate(Scripted(name="mine", returned=returned, **fields), load, CONTEXT)


def test_a_verdict_comes_out_under_the_name_of_its_gate() -> None:
    assert run(verdict(measured=0.5)) == verdict(gate="mine", measured=0.5)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (RuntimeError("boom"), "RuntimeError: boom"),
        (AssertionError(), "AssertionError: no message"),
        (InvalidInput("expected this, got that"), "expected this, got that"),
        (SystemExit(0), "SystemExit: 0"),
        (MemoryError(), "MemoryError: no message"),
        (RuntimeError("a\nb"), "RuntimeError: a b"),
        (None, "expected a Verdict from the check of mine, got None"),
        (True, "expected a Verdict from the check of mine, got True"),
        (verdict(measured=math.nan), "expected a finite number behind a PASS, got nan"),
        (verdict(evidence={"x": {1}}), "expected JSON"),
    ],
)
def test_everything_else_is_an_error(returned: object, words: str) -> None:
    outcome = run(returned)
    assert outcome.outcome is Outcome.ERROR
    assert not outcome.passed
    assert outcome.reason.splitlines()[0].startswith(words)
    assert (outcome.gate, outcome.kind, outcome.reproduce) == ("mine", "scripted", "again")


def test_a_gate_without_a_check_is_an_error() -> None:
    gate: Any = GateSpecification(name="mine")
    assert run_gate(gate, load, CONTEXT).reason.startswith("AttributeError: ")


def test_loading_is_part_of_the_measurement() -> None:
    def fail() -> tuple[Classifier, Samples]:
        raise OSError("disk")

    result = run_gate(Scripted(name="mine"), fail, CONTEXT)
    assert (result.outcome, result.reason.splitlines()[0]) == (Outcome.ERROR, "OSError: disk")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, GeneratorExit])
def test_what_stops_a_program_on_purpose_passes_through(stop: type[BaseException]) -> None:
    with pytest.raises(stop):
        run(stop())


def test_what_forbids_a_pass_also_forbids_to_let_an_inconclusive_through() -> None:
    finding = Finding(
        name="gradient-zero", severity="error", message="m", fix="f", evidence={}, waived=True
    )
    for findings, accepted in (((), True), ((finding,), False)):
        result = run(verdict(outcome=Outcome.INCONCLUSIVE, findings=findings), inconclusive="pass")
        assert result.accepted is accepted
        assert result.passed is accepted


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("inconclusive", ["fail", "pass"])
def test_only_the_gate_decides_whether_inconclusive_is_accepted(
    outcome: Outcome, inconclusive: str
) -> None:
    result = run(verdict(outcome=outcome, accepted=True), inconclusive=inconclusive)
    expected = outcome is Outcome.INCONCLUSIVE and inconclusive == "pass"
    assert result.accepted is expected
    assert result.passed is (expected or outcome is Outcome.PASS)


def test_foreign_numbers_become_plain_ones() -> None:
    numpy = pytest.importorskip("numpy")
    result = run(verdict(evidence={"a": numpy.float32(0.5), "b": (1, 2)}))
    assert result.evidence == {"a": 0.5, "b": [1, 2]}
    assert type(result.evidence["a"]) is float


def test_names() -> None:
    assert gate_name(Scripted()) == "scripted"
    assert gate_name(Scripted(name="mine")) == "mine"
    assert error_verdict("a", "b", "c").outcome is Outcome.ERROR


def test_a_replay_without_evidence_is_an_error(tmp_path: Path) -> None:
    def unused(name: str | None) -> Any:
        raise AssertionError(name)

    result = replay_failures(tmp_path / "gone", unused)
    assert (result.gate, result.kind, result.outcome) == ("gone", "replay", Outcome.ERROR)
