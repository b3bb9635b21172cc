from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import jsonschema
import pytest

from fgmf.errors import InvalidGateFile
from fgmf.gatefile import json_schema, load_gate_file
from tests.unit.gatefile.test_loading import GATE, HEAD, PROFILES, TWO_MODELS

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "plain": HEAD + GATE,
    "lists": HEAD + GATE.replace('"linf"', '["linf", "l2"]').replace('"8/255"', '["8/255", 0.1]'),
    "models": TWO_MODELS + GATE + 'model = "a"\n',
    "profiles": HEAD + GATE + PROFILES,
    "attacks": HEAD + GATE + 'attacks = ["fgsm", { name = "pgd", steps = 5, restarts = 2 }]\n',
}
CORRUPTION = """
[[gate]]
kind = "corruption"
min_corruption_accuracy = 0.5
corruptions = ["jpeg", "rotation"]
severities = [1, 3]
"""
GOOD["corruption"] = HEAD + CORRUPTION + "[profiles.nightly]\nseverities = [1, 2, 3, 4, 5]\n"
BAD = {
    "no schema": HEAD.replace("schema = 1", "") + GATE,
    "schema 2": HEAD.replace("schema = 1", "schema = 2") + GATE,
    "no gate": HEAD,
    "unknown key": "speed = 1\n" + HEAD + GATE,
    "unknown key of a gate": HEAD + GATE + "speed = 1\n",
    "no kind": HEAD + GATE.replace('kind = "robustness"\n', ""),
    "threshold": HEAD + GATE.replace("0.45", "1.45"),
    "empty list": HEAD + GATE.replace('"8/255"', "[]"),
    "two sources": HEAD.replace("[data]", '[data]\npath = "x.npz"') + GATE,
    "no source": HEAD.replace('factory = "shop.model:load"', "") + GATE,
    "attack": HEAD + GATE + 'attacks = ["pdg"]\n',
    "corruption": HEAD + CORRUPTION.replace("jpeg", "jpg"),
    "severity": HEAD + CORRUPTION.replace("[1, 3]", "[0]"),
    "no severity": HEAD + CORRUPTION.replace("[1, 3]", "[]"),
    "severities of a profile": HEAD + CORRUPTION + "[profiles.nightly]\nseverities = [6]\n",
    "override": HEAD + GATE + "[profiles.nightly]\nspeed = 1\n",
}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(json.dumps(json_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("case", GOOD)
def test_good_files_are_valid_and_load(
    validator: jsonschema.Draft202012Validator, tmp_path: Path, case: str
) -> None:
    validator.validate(tomllib.loads(GOOD[case]))
    path = tmp_path / "fgmf.toml"
    path.write_text(GOOD[case])
    load_gate_file(path, profile="default")


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_by_both(
    validator: jsonschema.Draft202012Validator, tmp_path: Path, case: str
) -> None:
    assert not validator.is_valid(tomllib.loads(BAD[case]))
    path = tmp_path / "fgmf.toml"
    path.write_text(BAD[case])
    with pytest.raises(InvalidGateFile):
        load_gate_file(path, profile="default")


def test_fields_are_described() -> None:
    gate = json_schema()["$defs"]["RobustnessGate"]
    assert gate["properties"]["kind"] == {"const": "robustness"}
    assert gate["additionalProperties"] is False
    assert {"norm", "epsilon", "kind", "min_robust_accuracy"} <= set(gate["required"])
