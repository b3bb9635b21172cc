"""Show saved evidence to the model that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.running.measuring import error_verdict, reason_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.verdict import Verdict


def replay_failures(directory: Path, load: Callable[[str | None], Classifier]) -> Verdict:
    """Run saved adversarial examples through the model again.

    Args:
        directory: A gate's evidence.
        load: Returns the model of that name in the gate file (None: the only one); may raise.

    Returns:
        FAIL if a saved example still breaks the model, PASS if none does, else ERROR.

    Cost: two reads of the evidence, one forward pass per saved example.
    """
    try:
        from fgmf.failures import load_failures, replay

        specification = load_failures(directory).recipe["specification"]
        named = specification.get("model") if isinstance(specification, dict) else None
        return replay(directory, load(named))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a verdict must come out
        return error_verdict(directory.name, "replay", reason_for(error))
