"""Showing saved adversarial examples to the model as it is now.

every example must lie inside bounds and ball      # else the evidence is void: ERROR
still broken = criterion in a fresh forward pass
FAIL if any is still broken, PASS if none is
"""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

from fgmf.errors import FgmfError, InvalidInput, NonFiniteOutput
from fgmf.failures.loading import SavedFailures, load_failures
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.attacks.criteria import Criterion
    from fgmf.classifier import Classifier
    from fgmf.types import ImageFlags, Json, Logits

_KIND = "replay"


def replay(directory: Path, classifier: Classifier) -> Verdict:
    """Run saved adversarial examples through a model again.

    Args:
        directory: A gate's evidence, such as ``.fgmf/failures/robust-linf``.
        classifier: The model to show them to; put back as it was afterwards.

    Returns:
        FAIL if any saved example still breaks the model, PASS if none does, ERROR if the
        evidence or the model cannot be used. `measured` is the share that no longer breaks it.

    Cost: one forward pass per saved example.
    """
    command = f"fgmf replay {shlex.quote(str(directory))}"
    try:
        saved = load_failures(directory)
    except (FgmfError, OSError) as error:
        return _error(directory.name, command, str(error))
    try:
        return _judged(saved, classifier, command)
    except FgmfError as error:
        return _error(saved.gate, command, str(error))


def _judged(saved: SavedFailures, classifier: Classifier, command: str) -> Verdict:
    _check_inside(saved, classifier)
    started = time.perf_counter()
    before = classifier.cost_meter.reading()
    still_broken = _still_broken(saved, classifier)
    cost = classifier.cost_meter.since(before, seconds=time.perf_counter() - started)
    count, broken = len(still_broken), int(still_broken.sum())
    reason = f"{broken}/{count} saved examples still break the model"
    return Verdict(
        gate=saved.gate,
        kind=_KIND,
        outcome=Outcome.FAIL if broken else Outcome.PASS,
        reason=reason,
        measured=(count - broken) / count,
        threshold=1.0,
        image_count=count,
        cost=cost,
        evidence=_evidence(saved, classifier, still_broken),
        artifacts=(str(saved.directory),),
        reproduce=command,
    )


def _check_inside(saved: SavedFailures, classifier: Classifier) -> None:
    """Refuse examples that the threat model does not allow.

    Raises:
        InvalidInput: The classifier has other bounds, or an example lies outside.
    """
    from fgmf.attacks.projection import inside

    if saved.threat.bounds != classifier.bounds:
        message = (
            f"expected a model with bounds {saved.threat.bounds}, as the examples have, got "
            f"{classifier.bounds}; run the gate again to save new evidence"
        )
        raise InvalidInput(message)
    outside = int((~inside(saved.images, saved.adversarial, saved.threat)).sum())
    if outside:
        message = (
            f"expected examples within {saved.threat.describe()} and the bounds, got {outside} "
            f"of {len(saved.images)} outside; run the gate again to save new evidence"
        )
        raise InvalidInput(message)


def _still_broken(saved: SavedFailures, classifier: Classifier) -> ImageFlags:
    logits = _logits(saved, classifier)
    finite = logits.isfinite().all(dim=1)
    if not bool(finite.all()):
        message = (
            f"expected finite logits, got NaN or infinite values for {int((~finite).sum())} of "
            f"{len(finite)} saved examples"
        )
        raise NonFiniteOutput(message)
    highest = int(saved.labels.max())
    if highest >= logits.shape[1]:
        message = (
            f"expected a model with more than {highest} classes, as the saved labels need, "
            f"got {logits.shape[1]}"
        )
        raise InvalidInput(message)
    return _criterion(saved).broken(logits)


def _logits(saved: SavedFailures, classifier: Classifier) -> Logits:
    try:
        with classifier.guard(seed=_seed(saved)):
            return classifier.logits_in_batches(saved.adversarial)
    except FgmfError:
        raise
    except Exception as error:
        message = (
            f"expected a model that takes the saved examples (shape "
            f"{tuple(saved.adversarial.shape)}), it raised {type(error).__name__}: {error}"
        )
        raise InvalidInput(message) from error


def _criterion(saved: SavedFailures) -> Criterion:
    """Return the rule of the gate that saved the examples; their targets are what they hit."""
    from fgmf.attacks.criteria import Criterion

    recorded: Any = saved.recipe["specification"]
    specification = recorded if isinstance(recorded, dict) else {}
    kind = specification.get("criterion", "misclassification")
    top_k = specification.get("top_k") or 1
    if kind not in {"misclassification", "targeted", "top-k"} or not isinstance(top_k, int):
        message = (
            "expected criterion misclassification, targeted or top-k with an integer k, "
            f"got {kind!r} with k={top_k!r}"
        )
        raise InvalidInput(message)
    targets = saved.predicted if kind == "targeted" else None
    return Criterion(kind=kind, labels=saved.labels, targets=targets, top_k=top_k)


def _seed(saved: SavedFailures) -> int:
    seed = saved.recipe["gate_seed"]
    return seed if isinstance(seed, int) else 0


def _evidence(
    saved: SavedFailures, classifier: Classifier, still_broken: ImageFlags
) -> dict[str, Json]:
    count = len(still_broken)
    rows = still_broken.nonzero().flatten().tolist()
    model_digest = classifier.state_digest()
    return {
        "threat": saved.threat.describe(),
        "saved_from": saved.gate,
        "saved_count": count,
        "saved_of": saved.broken_count,
        "broken_images": sorted(saved.dataset_indices[row] for row in rows),
        "verified": f"{len(rows)}/{count}",
        "gate_seed": saved.recipe["gate_seed"],
        "model_digest": model_digest,
        "saved_model_digest": saved.recipe["model_digest"],
        "same_model": model_digest == saved.recipe["model_digest"],
    }


def _error(gate: str, command: str, reason: str) -> Verdict:
    return Verdict(gate=gate, kind=_KIND, outcome=Outcome.ERROR, reason=reason, reproduce=command)
