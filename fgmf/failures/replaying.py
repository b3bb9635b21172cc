"""Evidence against the model as it is now: its examples shown again, its attack repeated.

every example must lie inside bounds and ball      # else the evidence is void: ERROR
still broken = criterion on the saved examples, in a fresh forward pass
broken again = the recorded attack with the recorded seed on the clean images, re-verified
FAIL if either breaks any image, PASS if neither does        # `comparing` judges
"""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from fgmf.errors import FgmfError
from fgmf.failures import layout
from fgmf.failures.circumstances import (
    MODEL_SETTINGS,
    circumstances_of,
    differences,
    library_versions,
)
from fgmf.failures.comparing import Replay
from fgmf.failures.examples import check_inside, still_broken
from fgmf.failures.loading import SavedFailures, load_failures
from fgmf.failures.repeating import recorded_attacks, recorded_seed, repeat_attack
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.types import Json

_KIND = "replay"
_OPAQUE = "opaque:"


def replay(
    directory: Path,
    classifier: Classifier,
    *,
    seed: int | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Verdict:
    """Show saved adversarial examples to a model again, and repeat the attack that made them.

    Args:
        directory: A gate's evidence, such as ``.fgmf/failures/robust-linf``.
        classifier: The model; put back as it was afterwards.
        seed: Seed of the repeated attack in place of the recorded one; then nobody expects the
            recorded examples to be found again.
        on_progress: Called with the images times attack runs done and in all, and the attack.

    Returns:
        FAIL if any saved example still breaks the model or the repeated attack breaks any of
        the images, PASS if neither does. ERROR if the evidence or the model cannot be used, if
        the attack could not be carried out, or if the model is the recorded one and nothing
        breaks it. `measured` is the share of images that withstand both. Evidence that holds no
        attack is judged by its examples alone, and the verdict says so.

    Cost: one forward pass per saved example, and that of the gate on the saved images.
    Randomness: as in the recorded run, if the seed is the recorded one.
    """
    import torch

    command = f"fgmf replay {shlex.quote(str(directory))}"
    if seed is not None:
        command += f" --seed {seed}"
    name = directory.name
    try:
        # Attacks need gradients, whatever mode the caller's code runs in.
        with torch.inference_mode(mode=False):
            saved = load_failures(directory)
            name = saved.gate
            return _replayed(saved, classifier, seed, on_progress, command)
    except (FgmfError, OSError) as error:
        return Verdict(
            gate=name, kind=_KIND, outcome=Outcome.ERROR, reason=str(error), reproduce=command
        )


def _replayed(
    saved: SavedFailures,
    classifier: Classifier,
    seed: int | None,
    on_progress: Callable[[int, int, str], None] | None,
    command: str,
) -> Verdict:
    started, before = time.perf_counter(), classifier.cost_meter.reading()
    check_inside(saved, classifier.bounds)
    used = recorded_seed(saved) if seed is None else seed
    repeatable = bool(recorded_attacks(saved))
    shown = still_broken(saved, classifier, seed=used)
    repetition = None
    if repeatable:
        repetition = repeat_attack(saved, classifier, seed=used, on_progress=on_progress)
    digest = classifier.state_digest()
    result = Replay(
        saved=saved,
        still_broken=shown,
        repetition=repetition,
        seed=used,
        model_digest=digest,
        same_model=_is_same(saved, classifier, digest),
        changed=_changed(saved, classifier),
    )
    outcome, count = result.outcome, len(shown)
    return Verdict(
        gate=saved.gate,
        kind=_KIND,
        outcome=outcome,
        reason=result.reason,
        measured=None if outcome is Outcome.ERROR else (count - int(result.broken.sum())) / count,
        threshold=1.0,
        image_count=count,
        seed=used if repeatable else None,
        cost=classifier.cost_meter.since(before, seconds=time.perf_counter() - started),
        findings=result.findings,
        evidence=result.evidence,
        artifacts=(str(saved.directory),),
        reproduce=command,
    )


def _is_same(saved: SavedFailures, classifier: Classifier, digest: str) -> bool | None:
    """Whether this is the recorded model; None where its digest proves nothing."""
    if digest != saved.recipe["model_digest"]:
        return False
    recorded, now = _mapping(saved, layout.CIRCUMSTANCES), circumstances_of(classifier)
    if any(key in recorded and recorded[key] != now[key] for key in MODEL_SETTINGS):
        return False
    return None if digest.startswith(_OPAQUE) else True


def _changed(saved: SavedFailures, classifier: Classifier) -> list[str]:
    recorded = {**_mapping(saved, layout.CIRCUMSTANCES), **_mapping(saved, "library_versions")}
    return differences(recorded, {**circumstances_of(classifier), **library_versions()})


def _mapping(saved: SavedFailures, key: str) -> Mapping[str, Json]:
    value = saved.recipe.get(key)
    return value if isinstance(value, dict) else {}
