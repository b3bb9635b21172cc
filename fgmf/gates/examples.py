"""Examples of broken images on disk, and the versions that a verdict rests on."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol

import torch

from fgmf.failures import discard_failures, save_failures
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fgmf.gates.specification import GateSpecification, RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import Images, Json

_LIBRARIES = ("pytest-fgmf", "torch", "foolbox", "numpy", "pillow")


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


def save_examples(
    verdict: Verdict,
    examples: Sequence[BrokenImage],
    measured: MeasuredImages,
    *,
    gate: GateSpecification,
    context: RunContext,
    verified: int,
) -> Verdict:
    """Keep the examples of a gate where the run wants them kept; the verdict stands without.

    Args:
        verdict: Its outcome decides: one that passes drops what an earlier run saved. Its
            evidence has `norm`, `epsilon`, `bounds`, `model_digest`, `data_digest` and
            `library_versions`.
        examples: Re-verified.
        measured: Holds the clean images.
        gate: Its specification goes into the record.
        context: Says where failures go, and what paths are relative to.
        verified: Images that the gate broke, among them the examples.

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
        paths = _saved(verdict, examples, measured, gate, directory, verified)
    except OSError as error:
        evidence = {**verdict.evidence, "examples_not_saved": f"{error.strerror}: {directory}"}
        return replace(verdict, evidence=evidence)
    return replace(verdict, artifacts=tuple(_relative(path, context.root) for path in paths))


def _saved(
    verdict: Verdict,
    examples: Sequence[BrokenImage],
    measured: MeasuredImages,
    gate: GateSpecification,
    directory: Path,
    verified: int,
) -> tuple[Path, ...]:
    at = [example.position for example in examples]
    recipe: dict[str, Json] = {
        "specification": gate.model_dump(mode="json"),
        "gate_seed": verdict.seed,
        "model_digest": verdict.evidence["model_digest"],
        "data_digest": verdict.evidence["data_digest"],
        "threat": {key: verdict.evidence[key] for key in ("norm", "epsilon", "bounds")},
        "library_versions": verdict.evidence["library_versions"],
        "command": verdict.reproduce,
    }
    return save_failures(
        directory,
        gate=verdict.gate,
        images=measured.images[at],
        adversarial=torch.stack([example.image for example in examples]),
        labels=measured.labels[at],
        predicted=torch.tensor([example.predicted for example in examples]),
        dataset_indices=torch.tensor([measured.indices[position] for position in at]),
        attack_names=[example.attack for example in examples],
        recipe=recipe,
        broken_count=verified,
    )


def library_versions() -> dict[str, Json]:
    """Return the versions of the packages that a measurement depends on."""
    versions: dict[str, Json] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _relative(path: Path, root: Path) -> str:
    inside = path.is_relative_to(root)
    return (path.relative_to(root) if inside else path).as_posix()
