"""The policy-return gate from end to end: each outcome for its reason, the same one every time."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
import torch
from policy_worlds import LinearPolicy, Walk, worst_return
from tiny_models import classify

from fgmf.canonical import canonical_json
from fgmf.errors import InvalidGateFile
from fgmf.gates import PolicyReturnGate, RunContext
from fgmf.reporting import render_details, render_headline
from fgmf.seeding import derive_seed
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.gates import Progress

PASS, FAIL, OPEN, ERROR = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.ERROR


@pytest.fixture(autouse=True)
def worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with factories, as a user's repository has one."""
    module: Any = types.ModuleType("worlds_of_tests")
    module.walk = Walk
    module.nothing = lambda: None
    module.broken = lambda: 1 / 0
    monkeypatch.setitem(sys.modules, "worlds_of_tests", module)


def check(
    model: Any = None,
    *,
    context: dict[str, Any] | None = None,
    classifier: dict[str, Any] | None = None,
    **gate: Any,
) -> Verdict:
    settings: dict[str, Any] = {
        "environment": "worlds_of_tests:walk",
        "epsilon": 0.02,
        "min_return": 1.0,
        "episodes": 60,
        "steps": 3,
    }
    subject = classify(LinearPolicy() if model is None else model, **(classifier or {}))
    return PolicyReturnGate(**{**settings, **gate}).check(
        subject, context=RunContext(**(context or {}))
    )


def document(verdict: Verdict) -> dict[str, Any]:
    return {key: value for key, value in verdict.as_document().items() if key != "cost"}


@pytest.mark.parametrize(
    ("options", "outcome", "reason"),
    [
        ({"min_return": 0.5}, PASS, "every threshold is met"),
        ({"min_return": 2.5}, FAIL, "return_under_attack is below its threshold"),
        ({"min_return": 0.5, "min_clean_return": 2.9}, FAIL, "clean_return is below"),
        ({"min_return": 0.5, "min_success_rate": 0.99}, FAIL, "success_under_attack is below"),
        ({"episodes": 4, "min_return": 1.0}, OPEN, "more episodes decide"),
        ({"max_seconds": 1e-9, "min_return": 0.0}, OPEN, "60 episodes undecided"),
        ({"max_seconds": 1e-9, "min_return": 2.9}, FAIL, "return_under_attack is below"),
    ],
)
def test_the_interval_decides(options: dict[str, Any], outcome: Outcome, reason: str) -> None:
    verdict = check(**options)
    assert verdict.outcome is outcome, verdict.reason
    assert reason in verdict.reason
    assert canonical_json(verdict.as_document())
    assert Verdict.from_document(verdict.as_document()) == verdict
    assert render_headline(verdict)
    assert render_details(verdict)


def test_the_return_is_no_lower_than_that_of_the_exact_adversary() -> None:
    verdict = check()
    assert verdict.measured is not None
    seeds = [derive_seed(derive_seed(0, "policy-return"), "episode", at) for at in range(60)]
    exact = [worst_return(Walk(), LinearPolicy(), seed, 0.02) for seed in seeds]
    found: Any = verdict.evidence["worst_returns"]
    assert verdict.measured == pytest.approx(sum(found) / 60)
    assert all(mine >= other - 1e-6 for mine, other in zip(found, exact, strict=True))
    assert sum(found) - sum(exact) < 3.0  # of 60 episodes, each up to 3
    rows: Any = verdict.evidence["returns"]
    assert [row["title"] for row in rows] == [
        "no attack",
        "action flip",
        "least likely action",
        "worst reachable action",
    ]
    assert rows[0]["changed_decisions"] == 0.0
    assert rows[3]["mean_return"] < rows[0]["mean_return"]
    lines = render_details(verdict).splitlines()
    assert "return by attack:" in lines
    assert any(line.startswith("  worst reachable action  ") for line in lines)


def test_the_same_seed_gives_the_same_document() -> None:
    documents = []
    for number, batch_size in enumerate([64, 7]):
        torch.manual_seed(number)
        documents.append(document(check(classifier={"batch_size": batch_size}, restarts=2)))
    assert documents[0] == documents[1]
    assert document(check(context={"run_seed": 1}))["evidence"] != documents[0]["evidence"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"environment": "worlds_of_tests:nothing"}, "expected an environment with agent_count"),
        ({"environment": "worlds_of_tests:broken"}, "raised ZeroDivisionError"),
        ({"environment": "worlds_of_tests:absent"}, "raised AttributeError"),
        ({"environment": "no_such_module:make"}, "raised ModuleNotFoundError"),
        ({"environment_arguments": {"height": 3}}, "raised TypeError"),
        ({"environment_arguments": {"agent_count": 3}}, "3 agents with 2 actions"),
        ({"model": lambda seen: seen.flatten(1)[:, :2]}, "a policy that is a torch.nn.Module"),
    ],
)
def test_what_cannot_be_measured_is_an_error(options: dict[str, Any], words: str) -> None:
    verdict = check(**options)
    assert verdict.outcome is ERROR
    assert words in verdict.reason


class Blocked(LinearPolicy):
    """No gradient comes through: an attack finds nothing, whatever the policy is worth."""

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return super().forward(seen.detach())


class Rounded(LinearPolicy):
    """Nor here, though there is a graph."""

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return super().forward((seen * 20).round() / 20)


class Moody(LinearPolicy):
    """Another answer at each call."""

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return super().forward(seen + 0.1 * torch.rand_like(seen))


@pytest.mark.parametrize("model", [Blocked, Rounded, Moody])
@pytest.mark.parametrize("min_return", [0.0, 1.0])
def test_a_policy_that_attacks_cannot_follow_never_passes(model: Any, min_return: float) -> None:
    verdict = check(model(), min_return=min_return)
    assert verdict.outcome is ERROR, verdict.reason
    waived = tuple(finding.name for finding in verdict.findings if finding.severity == "error")
    assert waived
    assert check(model(), min_return=min_return, waive=waived).outcome in {ERROR, OPEN}


def test_progress_is_reported_to_the_end() -> None:
    seen: list[Progress] = []
    check(name="g", context={"on_progress": seen.append})
    assert {progress.gate for progress in seen} == {"g"}
    assert (seen[-1].done, seen[-1].total) == (180, 180)
    assert [p.done for p in seen] == sorted(p.done for p in seen)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"environment": "world"}, "environment: expected text that matches"),
        ({"norm": "l2"}, "norm: expected 'linf', got 'l2'"),
        ({"epsilon": -1}, "epsilon: expected a finite epsilon >= 0"),
        ({"observation_attacks": ["pgd"]}, "observation_attacks[0]: expected 'action-flip'"),
        ({"observation_attacks": []}, "observation_attacks: expected at least 1 entries"),
        ({"observation_attacks": ["action-flip"] * 2}, "observation_attacks: expected each entry"),
        ({"episodes": 0}, "episodes: expected a whole number >= 1"),
        ({"images": 5}, "images: expected one of the keys"),
    ],
)
def test_a_wrong_specification_says_what_is_allowed(changes: Any, problem: str) -> None:
    valid = {"environment": "world:make", "epsilon": 0.1, "min_return": 0.5}
    with pytest.raises(InvalidGateFile) as caught:
        PolicyReturnGate(**{**valid, **changes})
    assert any(str(p).startswith(problem) for p in caught.value.problems), caught.value.problems
