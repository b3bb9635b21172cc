from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING, Any, get_args

import pytest

from fgmf.attacks import foolbox_bridge
from fgmf.attacks.catalogue import (
    CATALOGUE,
    CatalogueEntry,
    Parameter,
)
from fgmf.types import Norm

if TYPE_CHECKING:
    from fgmf.types import Norm as NormType

PAIRS = [(entry, norm) for entry in CATALOGUE.values() for norm in entry.foolbox_classes]
IDS = [f"{entry.name}-{norm}" for entry, norm in PAIRS]
NORMS = get_args(Norm)


def _foolbox_class(entry: CatalogueEntry, norm: NormType) -> Any:
    """The class that foolbox has under the name in the catalogue, wherever it keeps it."""
    attacks = foolbox_bridge.foolbox.attacks  # which silences what Foolbox warns of on import
    name = entry.foolbox_classes[norm]
    found = getattr(attacks, name, None)
    if found is None:
        modules = [m for m in vars(attacks).values() if inspect.ismodule(m)]
        found = next(getattr(m, name) for m in modules if hasattr(m, name))
    return found


@pytest.mark.parametrize(("entry", "norm"), PAIRS, ids=IDS)
def test_foolbox_has_the_class_and_takes_the_parameters(
    entry: CatalogueEntry, norm: NormType
) -> None:
    attack = _foolbox_class(entry, norm)
    accepted = inspect.signature(attack).parameters
    assert set(entry.parameters) <= set(accepted)
    assert set(entry.fixed) <= set(accepted)
    assert not set(entry.parameters) & set(entry.fixed)
    arguments = {name: parameter.default for name, parameter in entry.parameters.items()}
    if entry.constraint_argument:
        arguments["constraint"] = norm
    inspect.signature(attack).bind(**arguments, **entry.fixed)
    if entry.name != "brendel-bethge":  # compiles for half a minute when it is made
        attack(**arguments, **entry.fixed)


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry_stands_under_its_name(name: str) -> None:
    entry = CATALOGUE[name]
    assert entry.name == name
    assert entry.norms
    assert set(entry.norms) <= set(NORMS)
    assert bool(entry.foolbox_classes) is (entry.engine == "foolbox")


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_defaults_are_accepted(entry: CatalogueEntry) -> None:
    for parameter in entry.parameters.values():
        assert parameter.accepts(parameter.default)


def test_the_attacks_that_the_product_promises_are_there() -> None:
    promised = {
        "fgsm",
        "pgd",
        "bim",
        "deepfool",
        "carlini-wagner",
        "brendel-bethge",
        "boundary",
        "hop-skip-jump",
        "additive-noise",
        "apgd-ce",
        "apgd-dlr",
        "apgd-dlr-t",
        "apgd-margin",
        "minimum-margin",
        "focused-margin",
        "minimum-norm",
        "square",
        "random-search",
    }
    assert promised <= set(CATALOGUE)


@pytest.mark.parametrize(
    ("parameter", "good", "bad", "allowed"),
    [
        (
            Parameter(default=40, lowest=1),
            [1, 10**6],
            [0, -1, 1.0, True, "1", None],
            "a whole number >= 1",
        ),
        (
            Parameter(default=0.1, above=0.0),
            [1e-9, 1, 3.5],
            [0, 0.0, -1.0, float("nan"), float("inf"), False, "x"],
            "a number > 0",
        ),
        (Parameter(default=1.0, lowest=0.0), [0, 2.5], [-1e-9], "a number >= 0"),
        (Parameter(default=True), [True, False], [0, 1, "true", None], "true or false"),
        (Parameter(default=1.0), [-5, 2.0], [float("-inf")], "a number"),
        (
            Parameter(default=0.8, above=0.0, highest=1.0),
            [1, 0.1],
            [1.1, 0],
            "a number > 0 and <= 1",
        ),
        (Parameter(default="train"), ["other"], ["", 1, True, None], "text"),
    ],
)
def test_values_are_checked(
    parameter: Parameter, good: list[object], bad: list[object], allowed: str
) -> None:
    assert [value for value in good if not parameter.accepts(value)] == []
    assert [value for value in bad if parameter.accepts(value)] == []
    assert parameter.allowed == allowed


@pytest.mark.parametrize(
    ("attack", "parameter"), [("pgd", "rel_stepsize"), ("carlini-wagner", "stepsize")]
)
def test_a_step_of_size_zero_is_no_attack(attack: str, parameter: str) -> None:
    assert not CATALOGUE[attack].parameters[parameter].accepts(0)


def test_the_catalogue_does_not_change() -> None:
    with pytest.raises(TypeError):
        CATALOGUE["pgd"] = CATALOGUE["fgsm"]  # type: ignore[index]


def test_reading_the_catalogue_loads_neither_foolbox_nor_torch() -> None:
    code = (
        "import sys, fgmf.attacks.catalogue;"
        "sys.exit(', '.join({'foolbox', 'torch', 'numpy'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
