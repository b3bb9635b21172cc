"""Unit tests of gates/specification.py, gates/problems.py and the fields of gates/robustness.py."""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import fgmf.gates
from fgmf.attacks.catalogue import CATALOGUE
from fgmf.errors import InvalidGateFile
from fgmf.gates import AttackSpecification, RobustnessGate, RunContext, gate_kinds
from fgmf.gates.problems import Misfit, misfits, problems_of
from fgmf.gates.specification import GateSpecification, needs_images
from fgmf.seeding import DEFAULT_RUN_SEED

VALID: dict[str, Any] = {"norm": "linf", "epsilon": "8/255", "min_robust_accuracy": 0.45}


def _problems(**changes: Any) -> dict[str, str]:
    """Location -> the rest of the line, for every problem of a gate with `changes`."""
    with pytest.raises(InvalidGateFile) as caught:
        RobustnessGate(**VALID | changes)
    lines = [str(problem) for problem in caught.value.problems]
    assert len({problem.location for problem in caught.value.problems}) == len(lines)
    return dict(line.split(": ", 1) for line in lines)


def test_a_gate_of_three_fields_is_complete() -> None:
    gate = RobustnessGate(**VALID)
    assert (gate.kind, gate.images, gate.confidence, gate.population) == (
        "robustness",
        500,
        0.95,
        "distribution",
    )
    assert gate.inconclusive == "fail"
    assert gate.required is False
    assert gate.save_failures is True


def test_a_gate_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RobustnessGate(**VALID).epsilon = 1.0  # type: ignore[misc]


def test_its_fields_make_the_same_gate() -> None:
    gate = RobustnessGate(**VALID, attacks=["pgd", {"name": "fgsm", "random_start": False}])
    assert RobustnessGate(**gate.model_dump()) == gate
    assert RobustnessGate(**json.loads(gate.model_dump_json())) == gate


def test_its_repr_makes_the_same_gate() -> None:
    gate = RobustnessGate(**VALID, name="a", profiles=["nightly"], attacks=["pgd"])
    names = {"RobustnessGate": RobustnessGate, "AttackSpecification": AttackSpecification}
    assert eval(repr(gate), names) == gate  # noqa: S307 - what repr promises


def test_arrays_of_a_gate_file_are_accepted() -> None:
    gate = RobustnessGate(**VALID, profiles=["pr"], waive=["train-mode"], attacks=["pgd"])
    assert (gate.profiles, gate.waive) == (("pr",), ("train-mode",))


def test_whole_numbers_of_a_gate_file_are_accepted() -> None:
    gate = RobustnessGate(norm="l2", epsilon=1, min_robust_accuracy=1, max_seconds=60)
    assert (gate.epsilon, gate.min_robust_accuracy, gate.max_seconds) == (1.0, 1.0, 60.0)


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("norm", "Linf", "expected 'linf', 'l2' or 'l1', got 'Linf'"),
        ("norm", None, "expected 'linf', 'l2' or 'l1', got None"),
        ("epsilon", None, "expected a number or text, got None"),
        ("epsilon", True, "expected a number or text, got True"),
        ("epsilon", -1, "expected a finite epsilon >= 0, got -1"),
        ("epsilon", float("nan"), "expected a finite number or text, got nan"),
        (
            "epsilon",
            "8:255",
            "expected epsilon as a number or a fraction like \"8/255\", got '8:255'",
        ),
        ("epsilon", "8/0", "expected an epsilon with a non-zero denominator, got '8/0'"),
        ("min_robust_accuracy", 1.01, "expected a number <= 1, got 1.01"),
        ("min_robust_accuracy", -0.1, "expected a number >= 0, got -0.1"),
        ("min_robust_accuracy", "45 %", "expected a number, got '45 %'"),
        ("min_robust_accuracy", float("nan"), "expected a finite number, got nan"),
        ("min_clean_accuracy", 2, "expected a number <= 1, got 2"),
        ("min_worst_class_robust_accuracy", 2, "expected a number <= 1, got 2"),
        ("images", 0, "expected a whole number >= 1 or 'all', got 0"),
        ("images", "some", "expected a whole number or 'all', got 'some'"),
        ("images", 1.5, "expected a whole number or 'all', got 1.5"),
        ("restarts", 0, "expected a whole number >= 1, got 0"),
        ("restarts", True, "expected a whole number, got True"),
        ("confidence", 1, "expected a number < 1, got 1"),
        ("confidence", 0.4, "expected a number >= 0.5, got 0.4"),
        ("confidence", 95, "expected a number < 1, got 95"),
        ("population", "sample", "expected 'distribution' or 'dataset', got 'sample'"),
        ("max_seconds", 0, "expected a number > 0, got 0"),
        ("criterion", "x", "expected 'misclassification', 'targeted' or 'top-k', got 'x'"),
        ("target", -1, "expected a whole number >= 0 or 'least-likely', got -1"),
        (
            "name",
            "my gate",
            "expected text that matches ^([A-Za-z0-9][A-Za-z0-9._=@/-]*)?$, got 'my gate'",
        ),
        ("name", "x" * 121, f"expected at most 120 characters, got '{'x' * 76}..."),
        ("required", "yes", "expected true or false, got 'yes'"),
        ("profiles", "nightly", "expected a list, got 'nightly'"),
        ("seed", -1, "expected a whole number >= 0, got -1"),
        ("seed", 2**63, "expected a whole number < 9223372036854775808, got 9223372036854775808"),
        ("inconclusive", "skip", "expected 'fail' or 'pass', got 'skip'"),
        ("save_failures", 0, "expected true or false, got 0"),
        ("attacks", "pgd", "expected a list, got 'pgd'"),
        ("kind", "robust", "expected 'robustness', got 'robust'"),
        (
            "target",
            3,
            "expected a class together with criterion = 'targeted', and only then, got 3",
        ),
        ("top_k", 3, "expected a number together with criterion = 'top-k', and only then, got 3"),
    ],
)
def test_a_wrong_field_is_told_in_one_line(field: str, value: object, line: str) -> None:
    assert _problems(**{field: value}) == {field: line}


def test_wrong_entries_of_a_list_are_told_at_their_place() -> None:
    assert _problems(profiles=["pr", 2], waive=[True]) == {
        "profiles[1]": "expected text, got 2",
        "waive[0]": "expected text, got True",
    }


def test_missing_fields_are_told_all_at_once() -> None:
    with pytest.raises(InvalidGateFile) as caught:
        RobustnessGate()  # type: ignore[call-arg]
    assert str(caught.value).splitlines() == [
        "RobustnessGate: 3 problems in the gate specification",
        "  norm: expected a value, the key is required, got nothing",
        "  epsilon: expected a value, the key is required, got nothing",
        "  min_robust_accuracy: expected a value, the key is required, got nothing",
    ]


def test_wrong_fields_of_all_sorts_are_told_all_at_once() -> None:
    found = _problems(
        norm="l7", epsilon="x", images=0, confidence=2, epsilom=1, attacks=["pgd", "pdg"]
    )
    assert set(found) == {"norm", "epsilon", "images", "confidence", "epsilom", "attacks[1].name"}


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    line = _problems(min_robust_acuracy=0.5)["min_robust_acuracy"]
    assert line.startswith("expected the key min_robust_accuracy, or another of attacks, confid")
    assert line.endswith(", got an unknown key")
    assert ", population, " in line


def test_an_unknown_key_like_no_other_is_answered_with_all() -> None:
    assert _problems(zzz=1)["zzz"].startswith("expected one of the keys attacks, confidence,")


def test_several_contradictions_are_told_all_at_once() -> None:
    assert set(_problems(target=1, top_k=2, attacks=["ead"])) == {"target", "top_k", "attacks"}


@pytest.mark.parametrize(("criterion", "missing"), [("targeted", "target"), ("top-k", "top_k")])
def test_a_criterion_needs_its_parameter(criterion: str, missing: str) -> None:
    assert set(_problems(criterion=criterion)) == {missing}


def test_an_attack_for_another_norm_is_refused() -> None:
    assert _problems(attacks=["pgd", "carlini-wagner"]) == {
        "attacks": "expected attacks for norm 'linf' (carlini-wagner is for l2), "
        "got 'carlini-wagner'"
    }


@pytest.mark.parametrize(
    ("attack", "where", "line"),
    [
        (3, "", "expected a table, got 3"),
        ({"steps": 3}, ".name", "expected a value, the key is required, got nothing"),
        (
            {"name": "pgd", "steps": "many"},
            ".steps",
            "expected a whole number >= 1, got 'many'",
        ),
        ({"name": "pgd", "steps": 0}, ".steps", "expected a whole number >= 1, got 0"),
        ({"name": "pgd", "restarts": 0}, ".restarts", "expected a whole number >= 1, got 0"),
        (
            {"name": "pgd", "rel_stepsize": float("nan")},
            ".rel_stepsize",
            "expected a number > 0, got nan",
        ),
        (
            {"name": "pgd", "step": 3},
            ".step",
            "expected the key steps, or another of name, random_start, rel_stepsize, restarts, "
            "steps, got an unknown key",
        ),
    ],
)
def test_a_wrong_attack_is_told_at_its_place(attack: object, where: str, line: str) -> None:
    assert _problems(attacks=["fgsm", attack]) == {f"attacks[1]{where}": line}


def test_an_unknown_attack_is_answered_with_the_known_ones() -> None:
    line = _problems(attacks=["autoattack"])["attacks[0].name"]
    assert all(name in line for name in CATALOGUE)


def test_an_attack_knows_what_the_user_set() -> None:
    attack = AttackSpecification.model_validate({"name": "pgd", "steps": 20, "restarts": 3})
    assert (attack.parameters, attack.restarts) == ({"steps": 20}, 3)


@given(
    st.dictionaries(
        st.sampled_from([*RobustnessGate.model_fields, "unknown"]),
        st.none()
        | st.booleans()
        | st.integers(-3, 3)
        | st.floats()
        | st.text(max_size=4)
        | st.lists(st.integers() | st.text(max_size=3), max_size=2)
        | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    )
)
def test_any_gate_is_either_valid_or_explained(values: dict[str, Any]) -> None:
    """No other exception than ours, no two lines on one field, no internal words."""
    try:
        gate = RobustnessGate(**VALID | values)
    except InvalidGateFile as error:
        text = str(error)
        locations = [problem.location for problem in error.problems]
        assert len(set(locations)) == len(locations)
        assert {location.split("[")[0].split(".")[0] for location in locations} <= {
            *RobustnessGate.model_fields,
            "unknown",
        }
        assert not [word for word in ("Input", "constrained", "literal[", "expected expected")
                    if word in text]  # fmt: skip
    else:
        assert RobustnessGate(**gate.model_dump()) == gate


def test_the_threat_model_has_the_bounds_of_the_classifier() -> None:
    threat = RobustnessGate(**VALID).threat_model((0.0, 255.0))
    assert (threat.norm, threat.epsilon, threat.bounds) == ("linf", 8 / 255, (0.0, 255.0))


def test_the_json_schema_agrees_with_the_class() -> None:
    schema = RobustnessGate.model_json_schema()
    jsonschema.validate({**VALID, "attacks": ["pgd"], "profiles": ["pr"]}, schema)
    for wrong in ({"epsilon": None}, {"min_robust_accuracy": 2}, {"unknown": 1}, {"name": "a b"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(VALID | wrong, schema)


def test_the_run_has_a_fixed_seed_and_writes_nothing_by_itself() -> None:
    context = RunContext()
    assert context.run_seed == DEFAULT_RUN_SEED
    assert context.failures_directory is None


class _Address(BaseModel):
    model_config = ConfigDict(extra="forbid")
    street: Annotated[str, Field(min_length=2)]


class _Person(BaseModel):
    model_config = ConfigDict(extra="forbid")
    home: _Address | None = None
    others: list[_Address] = []
    pet: Literal["cat"] = "cat"


def _found(values: dict[str, Any], **options: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        _Person.model_validate(values)
    return [str(problem) for problem in problems_of(caught.value, **options)]


def test_a_problem_stands_at_its_place_in_the_file() -> None:
    assert _found({"pet": "dog"}, prefix=("gate", 2)) == [
        "gate[2].pet: expected 'cat', got 'dog'",
    ]


def test_unknown_keys_inside_are_answered_with_the_keys_there() -> None:
    values = {"home": {"street": "ab", "stret": 1}, "others": [{"street": "ab", "town": 1}]}
    assert _found(values, model=_Person) == [
        "home.stret: expected the key street, or another of street, got an unknown key",
        "others[0].town: expected one of the keys street, got an unknown key",
    ]


def test_without_the_class_an_unknown_key_is_still_told() -> None:
    assert _found({"age": 3}) == ["age: expected no such key, got an unknown key"]


def test_a_whole_entry_of_the_wrong_type_is_told() -> None:
    with pytest.raises(ValidationError) as caught:
        _Person.model_validate([1])
    assert [str(p) for p in problems_of(caught.value)] == [
        "(the whole entry): expected a table, got [1]"
    ]


def test_long_values_are_cut() -> None:
    (problem,) = _found({"pet": "x" * 500})
    assert len(problem) < 120


def test_misfits_stand_at_their_keys() -> None:
    error = misfits("thing", [Misfit("a", "one", 2), Misfit("b", "nothing", unknown_key=True)])
    assert [str(problem) for problem in problems_of(error)] == [
        "a: expected one, got 2",
        "b: expected nothing, got an unknown key",
    ]


def test_own_kinds_are_found_by_name() -> None:
    assert gate_kinds()["robustness"] is RobustnessGate


def test_other_distributions_can_add_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    class LatencyGate(GateSpecification):
        kind: Literal["latency"] = "latency"

    _install(monkeypatch, "latency", LatencyGate)
    own = {"attack-selftest", "corruption", "explanation-stability", "faithfulness"}
    own |= {"export-parity", "gradient-masking", "mask-log", "provenance", "robustness"}
    own |= {"policy-return", "team-faithfulness", "team-mask-log", "team-robustness"}
    assert set(gate_kinds()) == {*own, "latency"}


def test_nobody_replaces_an_own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, "robustness", GateSpecification)
    with pytest.raises(ValueError, match="second time"):
        gate_kinds()


def _install(monkeypatch: pytest.MonkeyPatch, kind: str, gate: type[GateSpecification]) -> None:
    class Entry:
        name = kind

        def load(self) -> type[GateSpecification]:
            return gate

    def entry_points(*, group: str) -> list[Entry]:
        assert group == "fgmf.gates"
        return [Entry()]

    monkeypatch.setattr(fgmf.gates, "entry_points", entry_points)


def test_every_kind_can_check() -> None:
    for kind in gate_kinds().values():
        about = ["classifier", "images", "labels"] if needs_images(kind) else ["classifier"]
        about = [] if kind.stands_alone else about
        parameters = list(inspect.signature(kind.check).parameters)[1:]  # type: ignore[attr-defined]
        assert parameters == [*about, "context"]
