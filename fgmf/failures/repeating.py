"""Repeating the recorded attack on the recorded clean images.

    plan    = the recorded attacks, seed, threat and starting images
    again   = robustness measured with that plan on the clean images, each hit re-verified
    the same example = same attack, same bits

Draws are named by image, attack and restart, so the images of a whole sample that were not saved
need not be there. What the recorded run chose from that sample, starting images, is saved.
The attacks are repeated as they were planned then, not as the specification would be read now:
defaults may have moved.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from fgmf.attacks.catalogue import find_entry
from fgmf.attacks.plans import AttackPlan
from fgmf.canonical import tensor_digest
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.failures import layout
from fgmf.failures.examples import criterion_of, translated_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.classifier import Classifier
    from fgmf.failures.loading import SavedFailures
    from fgmf.robustness import RobustnessMeasurement
    from fgmf.types import ImageFlags, Json


@dataclass(frozen=True, kw_only=True, eq=False)
class Repetition:
    """What the recorded attack does to the saved images now.

    Attributes:
        measurement: Robustness on the n clean images.
        attack_names: What broke each; empty where nothing did, or none was needed.
        identical: (n,) True where the same attack found the same example, bit by bit.
        largest_difference: Between a pixel of an example and of the recorded one.
    """

    measurement: RobustnessMeasurement
    attack_names: tuple[str, ...]
    identical: ImageFlags
    largest_difference: float


class RecordedPlan(BaseModel):
    """How a measurement was planned, as a record holds it.

    Attributes:
        attacks: In the order in which they ran; parameters and restarts filled in.
        expect_steady: Whether clean logits must be the same after the attacks.
        tolerate_changes: Whether a forward pass may change the model (it is put back).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    attacks: list[dict[str, Any]]
    expect_steady: bool
    tolerate_changes: bool


def record_plan(
    attacks: Sequence[AttackPlan], *, expect_steady: bool, tolerate_changes: bool
) -> dict[str, Json]:
    """Return a plan as a recipe holds it under `repeat`."""
    return {
        "attacks": [asdict(attack) for attack in attacks],
        "expect_steady": expect_steady,
        "tolerate_changes": tolerate_changes,
    }


def recorded_attacks(saved: SavedFailures) -> tuple[AttackPlan, ...]:
    """Return the attacks of a record; empty where it holds none.

    Raises:
        StaleEvidence: They are not attacks of this version, or there is no seed for them.
    """
    if layout.REPEAT not in saved.recipe:
        return ()
    attacks = tuple(_attack(saved, entry) for entry in _recorded_plan(saved).attacks)
    if len({attack.label for attack in attacks}) < len(attacks) or not attacks:
        raise _unusable(saved, f"{len(attacks)} attacks, not all of different labels")
    return attacks


def recorded_seed(saved: SavedFailures) -> int:
    """Return the gate's seed; 0 where a record without attacks has none.

    Raises:
        StaleEvidence: There are attacks, but no seed for their draws.
    """
    seed = saved.recipe["gate_seed"]
    if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0:
        return seed
    if layout.REPEAT in saved.recipe:
        raise _unusable(saved, f"the seed {seed!r}")
    return 0


def repeat_attack(
    saved: SavedFailures,
    classifier: Classifier,
    *,
    seed: int,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Repetition:
    """Attack the saved clean images as the record says.

    Args:
        saved: n images, with recorded attacks.
        classifier: Put back as it was afterwards.
        seed: Seed of the draws; the recorded one repeats them.
        on_progress: Called with the images times attack runs done and in all, and the attack.

    Returns:
        What broke, and by which example.

    Raises:
        StaleEvidence: The record holds no attacks that can be run.
        FgmfError: The model cannot be attacked.

    Cost: that of the gate on n images; there is no time limit.
    Randomness: fixed by the seed, each attack's label, the restart and the image's digest.
    """
    from fgmf.robustness import RobustnessPlan, measure_robustness

    attacks, recorded = recorded_attacks(saved), _recorded_plan(saved)
    plan = RobustnessPlan(
        threat=saved.threat,
        attacks=attacks,
        seed=seed,
        example_limit=len(saved.images),
        expect_steady=recorded.expect_steady,
        starts=saved.starts,
        on_progress=on_progress,
    )
    guard = classifier.guard(seed=seed, tolerate_changes=recorded.tolerate_changes)
    with translated_errors(saved), guard:
        measurement = measure_robustness(
            classifier, saved.images, criterion_of(saved), plan, keys=saved.keys
        )
    return _compared(saved, measurement)


def _compared(saved: SavedFailures, measurement: RobustnessMeasurement) -> Repetition:
    import torch

    names, identical = [""] * len(saved.images), torch.zeros(len(saved.images), dtype=torch.bool)
    largest = 0.0
    for example in measurement.examples:
        row = example.position
        names[row] = example.attack
        same = tensor_digest(example.image) == tensor_digest(saved.adversarial[row])
        identical[row] = same and example.attack == saved.attack_names[row]
        largest = max(largest, float((example.image - saved.adversarial[row]).abs().max()))
    return Repetition(
        measurement=measurement,
        attack_names=tuple(names),
        identical=identical,
        largest_difference=largest,
    )


def _recorded_plan(saved: SavedFailures) -> RecordedPlan:
    try:
        return RecordedPlan.model_validate(saved.recipe.get(layout.REPEAT))
    except ValidationError as error:
        raise _unusable(saved, str(error.errors(include_url=False)[0]["msg"])) from None


def _attack(saved: SavedFailures, entry: dict[str, Any]) -> AttackPlan:
    """Rebuild one attack, by the catalogue's own rules for parameters."""
    if entry.keys() != {field.name for field in fields(AttackPlan)}:
        raise _unusable(saved, f"an attack with the keys {', '.join(sorted(entry))}")
    try:
        plan = TypeAdapter(AttackPlan).validate_json(json.dumps(entry), strict=True)
    except ValidationError as error:
        raise _unusable(saved, str(error.errors(include_url=False)[0]["msg"])) from None
    try:
        known = find_entry(plan.name)
    except InvalidInput as error:  # of a package that is installed otherwise now
        raise _unusable(saved, str(error)) from None
    if known is None or saved.threat.norm not in known.norms:
        raise _unusable(saved, f"the attack {plan.name!r} for norm {saved.threat.norm}")
    named = known.parameters
    accepted = named.keys() == plan.parameters.keys() and all(
        named[key].accepts(value) for key, value in plan.parameters.items()
    )
    if not accepted or plan.restarts < 1:
        raise _unusable(saved, f"{plan.name} with {plan.parameters}, restarts {plan.restarts}")
    return plan


def _unusable(saved: SavedFailures, got: str) -> StaleEvidence:
    return StaleEvidence(
        f"expected attacks of this version in {saved.directory / layout.RECORD}, got {got}; run "
        "the gate again to save new evidence"
    )
