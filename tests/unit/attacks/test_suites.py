"""Suites are made of attacks that exist, for their norms; other packages may add some."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, get_args

import pytest

from fgmf.attacks import extensions
from fgmf.attacks.catalogue import CATALOGUE, attack_names, find_entry
from fgmf.attacks.entries import CatalogueEntry
from fgmf.attacks.extensions import AttackExtension, extension
from fgmf.attacks.suites import (
    DEFAULT_SUITE,
    GRADIENT_FREE_SUITE,
    SUITES,
    Suite,
    SuiteAttack,
    find_suite,
    suite_names,
)
from fgmf.errors import InvalidGateFile, InvalidInput
from fgmf.gates import RobustnessGate
from fgmf.gates.robustness_attacks import gate_plans
from fgmf.types import Norm

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = [
    (suite, norm, criterion)
    for suite in SUITES.values()
    for norm in suite.attacks
    for criterion in ("misclassification", "targeted", "top-k")
]
IDS = [f"{suite.name}-{norm}-{criterion}" for suite, norm, criterion in CASES]


def gate_of(**options: Any) -> RobustnessGate:
    return RobustnessGate(**{"norm": "linf", "epsilon": 0.1, "min_robust_accuracy": 0.5, **options})


@pytest.mark.parametrize(("suite", "norm", "criterion"), CASES, ids=IDS)
def test_every_attack_of_a_suite_can_do_what_the_gate_asks(
    suite: Suite, norm: Norm, criterion: str
) -> None:
    more = {"targeted": {"target": 1}, "top-k": {"top_k": 2}}.get(criterion, {})
    gate = gate_of(suite=suite.name, norm=norm, criterion=criterion, **more)
    plans = gate_plans(gate, gradient_available=suite.name != GRADIENT_FREE_SUITE)
    assert plans
    for plan in plans:
        assert norm in plan.entry.norms
        for name, value in plan.parameters.items():
            assert plan.entry.parameters[name].accepts(value)


def test_what_is_promised_is_there() -> None:
    assert list(SUITES) == ["quick", "standard", "thorough", "black-box"]
    for name in ("quick", "standard", "thorough"):
        assert set(SUITES[name].attacks) == set(get_args(Norm))
    attacks = [attack for norm in SUITES[GRADIENT_FREE_SUITE].attacks.values() for attack in norm]
    assert not any(CATALOGUE[attack.name].needs_gradient for attack in attacks)


def test_the_default_depends_on_the_gradient() -> None:
    def names(*, gradient: bool, **options: Any) -> list[str]:
        return [p.name for p in gate_plans(gate_of(**options), gradient_available=gradient)]

    def of_suite(name: str) -> list[str]:
        return [attack.name for attack in SUITES[name].attacks["linf"]]

    assert names(gradient=True) == of_suite(DEFAULT_SUITE)
    assert names(gradient=False) == of_suite(GRADIENT_FREE_SUITE)
    assert names(gradient=True, suite="thorough") == of_suite("thorough")
    assert names(gradient=True, attacks=("fgsm",)) == ["fgsm"]
    with pytest.raises(InvalidInput, match="no gradient for norm l1"):
        names(gradient=False, norm="l1")


def test_restarts_are_the_suites_or_the_gates() -> None:
    plans = gate_plans(gate_of(suite="thorough", restarts=3), gradient_available=True)
    assert {p.label: (p.restarts, p.calls) for p in plans} == {
        "apgd-ce": (5, 1),
        "apgd-dlr-t": (3, 1),
        "minimum-norm": (1, 1),
        "square": (3, 1),
    }


@pytest.mark.parametrize(("name", "draws"), [("quick", 2), ("standard", 4), ("thorough", 20)])
def test_a_random_model_is_averaged_over_draws(name: str, draws: int) -> None:
    gate = gate_of(suite=name)
    for plan in gate_plans(gate, gradient_available=True, random_output=True):
        assert plan.parameters["draws"] == draws
    for plan in gate_plans(gate, gradient_available=True):
        assert plan.parameters["draws"] == 1


@pytest.mark.parametrize("name", ["quick", "standard"])
@pytest.mark.parametrize(("norm", "focused"), [("linf", True), ("l2", True), ("l1", False)])
def test_random_models_are_looked_at_long_where_they_are_near_but_in_l1(
    name: str,
    norm: Norm,
    focused: bool,
) -> None:
    plans = gate_plans(gate_of(suite=name, norm=norm), gradient_available=True, random_output=True)
    assert ("focused-margin" in {plan.name for plan in plans}) is focused


def test_a_suite_of_others_may_name_one_list_for_all_norms() -> None:
    one = (SuiteAttack(name="fgsm"),)
    suite = Suite(name="shop", meaning="", attacks={"linf": (SuiteAttack(name="pgd"),)}, random=one)
    assert suite.attacks_for("linf", "misclassification", random_output=True) == one
    assert suite.attacks_for("l2", "misclassification", random_output=True) == ()


def test_attacks_that_are_named_are_run_as_they_are_named() -> None:
    gate = gate_of(attacks=("minimum-margin", "pgd"))
    plans = gate_plans(gate, gradient_available=True, random_output=True)
    assert plans[0].parameters["draws"] == 1


@pytest.mark.parametrize(
    ("options", "place", "words"),
    [
        ({"suite": "nosuch"}, "suite", "quick, standard, thorough, black-box"),
        ({"suite": "quick", "attacks": ("pgd",)}, "suite", "either a suite or attacks, got 'both'"),
        ({"suite": "black-box", "norm": "l1"}, "suite", "is for linf, l2"),
        ({"suite": 3}, "suite", "text"),
        ({"attacks": ("fgsm",), "criterion": "targeted", "target": 1}, "attacks", "can aim"),
        ({"attacks": ("square",), "norm": "l1"}, "attacks", "square is for linf, l2"),
        ({"waive": ("nosuch",)}, "waive", "known are"),
        ({"waive": ("epsilon-zer0",)}, "waive", "did you mean 'epsilon-zero'"),
        ({"waive": ("nan-images",)}, "waive", "has to be repaired"),
        ({"attacks": ({"name": "square", "p_init": 1.5},)}, "attacks[0].p_init", "<= 1"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_loaded(
    options: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(InvalidGateFile) as caught:
        gate_of(**options)
    (problem,) = caught.value.problems
    assert problem.location == place
    assert words in str(problem)


class Point:
    """An entry point of another package, as `importlib.metadata` gives it."""

    def __init__(self, name: str, load: Callable[[], object], value: str = "shop:thing") -> None:
        self.name, self.value, self.load = name, value, load


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install entry points of the group."""

    def installed(*points: Point) -> None:
        def entry_points(*, group: str) -> tuple[Point, ...]:
            assert group == "fgmf.attacks"
            return points

        monkeypatch.setattr(extensions, "entry_points", entry_points)

    return installed


ENTRY = CatalogueEntry(
    name="gone", title="Gone", engine="extension", made_for=("linf",), needs_gradient=False
)
OFFERED = AttackExtension(entry=ENTRY, build=lambda *_, **__: None)  # type: ignore[arg-type,return-value]
SUITE = Suite(name="both", meaning="", attacks={"linf": (SuiteAttack(name="gone"),)})


def test_other_packages_add_attacks_and_suites(install: Callable[..., None]) -> None:
    install(Point("gone", lambda: OFFERED), Point("both", lambda: SUITE))
    assert find_entry("gone") is ENTRY
    assert find_suite("both") is SUITE
    assert find_suite("gone") is None
    assert find_entry("both") is None
    assert {"gone", "pgd"} < set(attack_names())
    assert suite_names()[-2:] == ("both", "gone")
    plans = gate_plans(gate_of(suite="both"), gradient_available=False)
    assert [plan.entry for plan in plans] == [ENTRY]
    with pytest.raises(InvalidGateFile, match="gone is for linf"):
        gate_of(attacks=("gone",), norm="l2")


def test_nothing_is_imported_until_it_is_named(install: Callable[..., None]) -> None:
    loaded: list[str] = []

    def load() -> object:
        loaded.append("gone")
        return OFFERED

    install(Point("gone", load))
    gate_of(attacks=("pgd",))
    attack_names()
    suite_names()
    assert loaded == []
    gate_of(attacks=("gone",))
    assert set(loaded) == {"gone"}


def _raise() -> object:
    raise ImportError("no module named shop")


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([Point("gone", _raise)], "got ImportError: no module named shop"),
        ([Point("gone", lambda: 3)], "an AttackExtension or a Suite at shop:thing.*got int"),
        ([Point("gone", lambda: SUITE)], "the name 'gone' of its entry point.*got 'both'"),
        (
            [Point("gone", lambda: OFFERED), Point("gone", lambda: OFFERED, "mall:thing")],
            "one package that offers 'gone', got mall:thing and shop:thing",
        ),
        (
            [
                Point(
                    "gone",
                    lambda: AttackExtension(
                        entry=CatalogueEntry(name="gone", title="", made_for=("linf",)),
                        build=OFFERED.build,
                    ),
                )
            ],
            "engine 'extension'.*got 'foolbox'",
        ),
    ],
)
def test_what_another_package_cannot_deliver_is_said(
    points: list[Point], words: str, install: Callable[..., None]
) -> None:
    install(*points)
    with pytest.raises(InvalidInput, match=words):
        extension("gone")
    for options in ({"attacks": ("gone",)}, {"suite": "gone"}):
        with pytest.raises(InvalidGateFile, match="that its package can deliver"):
            gate_of(**options)


def test_an_own_name_cannot_be_taken(install: Callable[..., None]) -> None:
    install(Point("pgd", _raise), Point("quick", _raise))
    assert find_entry("pgd") is CATALOGUE["pgd"]
    assert find_suite("quick") is SUITES["quick"]


def test_reading_suites_loads_neither_foolbox_nor_torch() -> None:
    code = (
        "import sys, fgmf.attacks.suites, fgmf.gates.robustness_attacks, fgmf.preflight.policy;"
        "sys.exit(', '.join({'foolbox', 'torch', 'numpy'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_suite_is_said_with_every_other_problem() -> None:
    with pytest.raises(InvalidGateFile) as raised:
        gate_of(suite="standart", min_robust_accuracy=45, waive=("gradient-zer",))
    said = {problem.location: str(problem) for problem in raised.value.problems}
    assert set(said) == {"suite", "min_robust_accuracy", "waive"}
    assert "quick, standard, thorough, black-box" in said["suite"]
    assert said["waive"].count("got") == 1
