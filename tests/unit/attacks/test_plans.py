from __future__ import annotations

import pytest

from fgmf.attacks.catalogue import CATALOGUE
from fgmf.attacks.plans import plan_attacks


def test_parameters_are_filled_in_and_labels_are_unique() -> None:
    plans = plan_attacks(
        [("pgd", {"steps": 3}, None), ("fgsm", {}, 2), ("pgd", {}, 7), ("pgd", {}, None)],
        restarts=5,
    )
    assert [plan.label for plan in plans] == ["pgd", "fgsm", "pgd-2", "pgd-3"]
    assert [plan.restarts for plan in plans] == [5, 2, 7, 5]
    assert plans[0].parameters == {"steps": 3, "rel_stepsize": 0.1, "random_start": True}
    assert plans[0].entry is CATALOGUE["pgd"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("bim", {}), ("deepfool", {}), ("pgd", {"random_start": False}), ("fmn", {})],
)
def test_what_draws_nothing_is_run_once(name: str, parameters: dict[str, bool]) -> None:
    (plan,) = plan_attacks([(name, parameters, 9)], restarts=5)
    assert plan.restarts == 1


def test_of_no_attacks_there_is_no_plan() -> None:
    assert plan_attacks([], restarts=3) == ()
