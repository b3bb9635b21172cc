from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fgmf.errors import InvalidInput
from fgmf.preflight import FINDINGS, blocking, check_waived, forbidding
from fgmf.preflight.policy import Observation, judge_observations

if TYPE_CHECKING:
    from fgmf.verdict import Finding


def seen(name: str, severity: str = "error") -> Observation:
    return Observation(
        name=name,
        severity=severity,  # type: ignore[arg-type]
        message="what came",
        fix="do this",
        evidence={"share": 0.5},
    )


def judged(*observations: Observation, **options: object) -> dict[str, Finding]:
    settings = {"kind": "robustness"} | options
    return {f.name: f for f in judge_observations(observations, **settings)}  # type: ignore[arg-type]


def test_every_name_is_kebab_case_with_one_line_of_meaning() -> None:
    assert len(FINDINGS) > 30
    for name, kind in FINDINGS.items():
        assert kind.name == name
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
        assert "\n" not in kind.meaning
        assert kind.meaning.endswith(".")


def test_names_can_be_checked_without_loading_torch() -> None:
    code = (
        "import sys, fgmf.preflight as p; p.check_waived(['epsilon-zero']); "
        "print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_come_first_then_names_in_order() -> None:
    found = judge_observations(
        [
            seen("train-mode", "note"),
            seen("nan-images"),
            seen("epsilon-zero"),
            seen("epsilon-tiny", "warning"),
        ],
        kind="robustness",
    )
    assert [f.name for f in found] == ["epsilon-zero", "nan-images", "epsilon-tiny", "train-mode"]


@pytest.mark.parametrize(
    "name", ["gradient-zero", "nondeterministic-output", "forward-changes-state"]
)
def test_masking_blocks_a_robustness_gate_and_is_evidence_for_a_masking_gate(name: str) -> None:
    strict = judged(seen(name))[name]
    assert strict.severity == "error"
    assert "gradient-masking" in strict.fix
    lenient = judged(seen(name), kind="gradient-masking")[name]
    assert lenient.severity == "warning"
    assert lenient.fix == "do this"


@pytest.mark.parametrize("kind", ["gradient-masking", "robustness", "somebody-elses"])
def test_wrong_use_is_an_error_for_every_kind(kind: str) -> None:
    assert judged(seen("epsilon-zero"), kind=kind)["epsilon-zero"].severity == "error"


def test_an_unknown_kind_is_treated_as_strictly_as_robustness() -> None:
    assert judged(seen("gradient-zero"), kind="somebody-elses")["gradient-zero"].severity == "error"


def test_gradient_findings_weigh_less_where_no_attack_uses_gradients() -> None:
    found = judged(seen("gradient-zero"), seen("nondeterministic-output"), needs_gradient=False)
    assert found["gradient-zero"].severity == "warning"
    assert found["nondeterministic-output"].severity == "error"


def test_waived_errors_stay_visible_and_no_longer_block() -> None:
    found = judge_observations(
        [seen("epsilon-zero"), seen("gradient-zero")], kind="robustness", waive=["epsilon-zero"]
    )
    assert [(f.name, f.waived, f.severity) for f in found] == [
        ("epsilon-zero", True, "error"),
        ("gradient-zero", False, "error"),
    ]
    assert [f.name for f in blocking(found)] == ["gradient-zero"]


@pytest.mark.parametrize(
    ("name", "forbids"),
    [
        ("batch-dependent-output", True),
        ("forward-changes-state", True),
        ("gradient-blocked", True),
        ("gradient-nonfinite", True),
        ("gradient-zero", True),
        ("nondeterministic-output", True),
        ("gradient-inconsistent", True),
        ("gradient-mode-changes-output", True),
        ("probabilities-not-logits", True),
        ("saturated-logits", True),
        ("epsilon-zero", False),
    ],
)
def test_no_waiver_makes_a_pass_of_attacks_that_cannot_work(name: str, *, forbids: bool) -> None:
    waived = judge_observations([seen(name)], kind="robustness", waive=[name])
    assert blocking(waived) == ()
    assert [f.name for f in forbidding(waived)] == ([name] if forbids else [])
    margin = forbidding(waived, follows_margin=True)
    blind = {"probabilities-not-logits", "saturated-logits"}
    assert [f.name for f in margin] == ([name] if forbids and name not in blind else [])
    for lighter in (
        judge_observations([seen(name, "warning")], kind="robustness", waive=[name]),
        judge_observations([seen(name)], kind="gradient-masking", waive=[name]),
    ):
        assert forbidding(lighter) == ()


def test_warnings_and_notes_do_not_block() -> None:
    found = judge_observations(
        [seen("epsilon-tiny", "warning"), seen("train-mode", "note")], kind="robustness"
    )
    assert blocking(found) == ()


def test_an_unknown_waived_name_names_the_known_and_the_closest() -> None:
    with pytest.raises(InvalidInput, match=r"'epsilon-zer'.*did you mean 'epsilon-zero'.*train-mo"):
        check_waived(["epsilon-zero", "epsilon-zer"])


def test_what_leaves_nothing_to_measure_cannot_be_waived() -> None:
    with pytest.raises(InvalidInput, match=r"forward-failed.*has to be repaired"):
        check_waived(["forward-failed"])
