"""Limits: what is one, and where exactly it is broken."""

from __future__ import annotations

import pytest

from fgmf.baselines import PairedChange, PairedCounts, judge_change, parse_limit
from fgmf.errors import InvalidInput
from fgmf.verdict import Outcome

REFUSED = (
    *("", "2pp", "significant", "robust_accuracy", "robust_accuracy:", "robust_accuracy:2"),
    *("robust_accuracy:-2pp", "robust_accuracy:+2pp", "robust_accuracy:nanpp"),
    *("robust_accuracy:infpp", "robust_accuracy:100pp", "robust_accuracy:1e1pp"),
    *("robust_accuracy:2pp ", "robust_accuracy:2 pp", "robust_accuracy:.5pp"),
    *("robust_accuracy:\u0662pp", "robust_accuracy:2pp\n", "robust_accuracy:significant%"),
    *("clean_accuracy:2pp", "Robust_accuracy:2pp", "robust_accuracy:2pp,3pp"),
)


def _judge(text: str, broken: int, fixed: int, *, robust: int = 50, rest: int = 0) -> Outcome:
    counts = PairedCounts(
        stayed_robust=robust - broken,
        newly_broken=broken,
        newly_fixed=fixed,
        stayed_broken=100 - robust - fixed - rest,
    )
    change = PairedChange(worst=counts, best=counts, unsure=0, only_before=0, only_now=0)
    return judge_change(change, parse_limit(f"robust_accuracy:{text}")).outcome


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected robust_accuracy:2pp"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "broken", "fixed", "outcome"),
    [
        ("2pp", 2, 0, "pass"),  # exactly the limit is allowed, in exact arithmetic
        ("2pp", 3, 0, "fail"),
        ("2pp", 5, 3, "pass"),  # net
        ("2pp", 0, 9, "pass"),
        ("0pp", 0, 0, "pass"),
        ("0pp", 1, 0, "fail"),
        ("0.5pp", 1, 0, "fail"),
        ("7pp", 7, 0, "pass"),  # 0.07 * 100 is above 7 in floating point
        ("10%", 5, 0, "pass"),  # of the 50 that were robust
        ("10%", 6, 0, "fail"),
        ("significant", 4, 0, "pass"),  # 1/16
        ("significant", 5, 0, "fail"),  # 1/32
        ("significant", 0, 30, "pass"),  # a gain is no loss
    ],
)
def test_where_a_limit_is_broken(text: str, broken: int, fixed: int, outcome: str) -> None:
    assert _judge(text, broken, fixed) == outcome


def test_a_share_of_nothing_cannot_be_lost() -> None:
    assert _judge("5%", 0, 0, robust=0) is Outcome.PASS


@pytest.mark.parametrize(("broken", "fixed", "noise"), [(4, 0, True), (5, 0, False), (9, 6, True)])
def test_a_loss_that_chance_explains_is_called_noise(broken: int, fixed: int, noise: bool) -> None:
    counts = PairedCounts(
        stayed_robust=50, newly_broken=broken, newly_fixed=fixed, stayed_broken=10
    )
    change = PairedChange(worst=counts, best=counts, unsure=0, only_before=0, only_now=0)
    result = judge_change(change, parse_limit("robust_accuracy:1pp"))
    assert (result.outcome, result.within_noise) == (Outcome.FAIL, noise)
