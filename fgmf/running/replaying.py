"""Replay saved evidence against the model that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.running.measuring import error_verdict, reason_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.gates.specification import Progress
    from fgmf.verdict import Verdict


def replay_failures(
    directory: Path,
    load: Callable[[str | None], Classifier],
    *,
    seed: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Verdict:
    """Show saved adversarial examples to the model again, and repeat the recorded attack.

    Args:
        directory: A gate's evidence.
        load: Returns the model of that name in the gate file (None: the only one); may raise.
        seed: Seed of the repeated attack in place of the recorded one.
        on_progress: Called between batches.

    Returns:
        FAIL if a saved example still breaks the model or the repeated attack breaks one of the
        images, PASS if neither does, else ERROR; see :func:`fgmf.failures.replay`.

    Cost: two reads of the evidence, one forward pass per saved example, the recorded attack on
        the saved images.
    """
    try:
        from fgmf.failures import load_failures, replay
        from fgmf.gates.specification import Progress

        saved = load_failures(directory)
        specification = saved.recipe["specification"]
        named = specification.get("model") if isinstance(specification, dict) else None

        def report(done: int, total: int, stage: str) -> None:
            if on_progress is not None:
                on_progress(Progress(gate=saved.gate, stage=stage, done=done, total=total))

        return replay(directory, load(named), seed=seed, on_progress=report)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a verdict must come out
        return error_verdict(directory.name, "replay", reason_for(error))
