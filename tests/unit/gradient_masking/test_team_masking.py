"""The masking detector on teams: a naive vote is caught, a mean of honest members passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tiny_models import classify

from fgmf.agents import Agent, Team
from fgmf.gates import GradientMaskingGate
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.datasets import Samples


def diagnosed(rule: str, trained: Callable[[str], nn.Module], data: Samples) -> Any:
    members = [trained("standard"), trained("standard"), trained("robust")]
    team = Team([Agent(f"a{at}", one) for at, one in enumerate(members)], rule).eval()
    gate = GradientMaskingGate(norm="linf", epsilon=0.1, images=80)
    return gate.check(classify(team), data.images, data.labels)


def test_a_naive_vote_is_masked_with_proof(
    trained_digits: Callable[[str], nn.Module], digits_test: Samples
) -> None:
    verdict = diagnosed("majority", trained_digits, digits_test)
    assert verdict.outcome is Outcome.FAIL, verdict.reason
    assert verdict.reason.startswith("masked")
    gaps = verdict.evidence["gaps"]
    widest = max(gap["naive_accuracy"] - gap["adaptive_accuracy"] for gap in gaps)
    assert widest > 0.2  # what naive attacks report, and what is left of it


@pytest.mark.parametrize("rule", ["mean-log-probability"])
def test_an_honest_team_is_clean(
    rule: str, trained_digits: Callable[[str], nn.Module], digits_test: Samples
) -> None:
    verdict = diagnosed(rule, trained_digits, digits_test)
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert verdict.reason.startswith("clean")
