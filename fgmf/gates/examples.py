"""Examples of broken images on disk, and the versions that a verdict rests on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from fgmf.failures import discard_failures, save_failures
from fgmf.failures.circumstances import library_versions
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fgmf.gates.specification import GateSpecification, RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Json

__all__ = ["BrokenImage", "Rerun", "library_versions", "save_examples"]


class BrokenImage(Protocol):
    """One image as a gate broke it."""

    @property
    def position(self) -> int:
        """Which of the measured images."""
        ...

    @property
    def image(self) -> Images:
        """(...) the image that breaks the model."""
        ...

    @property
    def predicted(self) -> int:
        """The class that the model gives it."""
        ...

    @property
    def attack(self) -> str:
        """What made it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """What a replay needs to repeat what made the examples.

    Attributes:
        recipe: `repeat` and `circumstances` of the record.
        starts: The image that attacks walked from, for each example; None where none did.
    """

    recipe: Mapping[str, Json]
    starts: Sequence[Images | None]


def save_examples(  # noqa: PLR0913 - keyword-only parts of one record
    verdict: Verdict,
    examples: Sequence[BrokenImage],
    measured: MeasuredImages,
    *,
    threat: ThreatModel,
    gate: GateSpecification,
    context: RunContext,
    verified: int,
    rerun: Rerun | None = None,
) -> Verdict:
    """Keep the examples of a gate where the run wants them kept; the verdict stands without.

    Args:
        verdict: Its outcome decides: one that passes drops what an earlier run saved. Its
            evidence has `model_digest`, `data_digest` and `library_versions`.
        examples: Re-verified.
        measured: Holds the clean images.
        threat: What the examples keep within.
        gate: Its specification goes into the record.
        context: Says where failures go, and what paths are relative to.
        verified: Images that the gate broke, among them the examples.
        rerun: How a replay repeats it; None leaves a replay with the examples alone.

    Returns:
        The verdict with the paths of the written files, or with `examples_not_saved` in its
        evidence where the directory cannot be written.
    """
    directory = context.failures_directory
    if directory is None or not gate.save_failures:
        return verdict
    try:
        if verdict.outcome is Outcome.PASS or not examples:
            discard_failures(directory, gate=verdict.gate)
            return verdict
        paths = save_failures(
            directory,
            gate=verdict.gate,
            images=measured.images[[example.position for example in examples]],
            adversarial=torch.stack([example.image for example in examples]),
            labels=measured.labels[[example.position for example in examples]],
            predicted=torch.tensor([example.predicted for example in examples]),
            dataset_indices=torch.tensor([measured.indices[one.position] for one in examples]),
            attack_names=[example.attack for example in examples],
            recipe=_recipe(verdict, threat, gate, context, rerun),
            starts=None if rerun is None else rerun.starts,
            broken_count=verified,
        )
    except OSError as error:
        evidence = {**verdict.evidence, "examples_not_saved": f"{error.strerror}: {directory}"}
        return replace(verdict, evidence=evidence)
    return replace(verdict, artifacts=tuple(_relative(path, context.root) for path in paths))


def _recipe(
    verdict: Verdict,
    threat: ThreatModel,
    gate: GateSpecification,
    context: RunContext,
    rerun: Rerun | None,
) -> dict[str, Json]:
    within: dict[str, Json] = {
        "norm": threat.norm,
        "epsilon": threat.epsilon,
        "bounds": list(threat.bounds),
    }
    return {
        "specification": gate.model_dump(mode="json"),
        "gate_seed": verdict.seed,
        "model_digest": verdict.evidence["model_digest"],
        "data_digest": verdict.evidence["data_digest"],
        "threat": within,
        "library_versions": verdict.evidence["library_versions"],
        "command": verdict.reproduce,
        "gate_file": context.gate_file,
        **({} if rerun is None else rerun.recipe),
    }


def _relative(path: Path, root: Path) -> str:
    inside = path.is_relative_to(root)
    return (path.relative_to(root) if inside else path).as_posix()
