"""An attack of another package, of which nothing is believed.

It gets images of its own, to change as it likes; what it raises and what it returns in a wrong form
is an error that names it; its candidates are brought back into the ball, around the true images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.interface import Attack, AttackBatch, AttackResult, reason_of
from fgmf.attacks.projection import project
from fgmf.classifier.memory import is_out_of_memory
from fgmf.errors import AttackFailed, FgmfError

if TYPE_CHECKING:
    from fgmf.threat import ThreatModel


_NOT_FINITE = "its candidate is NaN or infinite"


class ForeignAttack:
    """Stands between the engine and an attack of another package.

    Args:
        attack: What the package built.
        title: Its name in messages.
        threat: Ball and box.
    """

    def __init__(self, attack: Attack, *, title: str, threat: ThreatModel) -> None:
        self._attack, self._title, self._threat = attack, title, threat

    def run(self, batch: AttackBatch, *, restart: int) -> AttackResult:
        """Attack a batch; see :class:`fgmf.attacks.interface.Attack`.

        Raises:
            AttackFailed: The attack raised, or returned something of a wrong form.
            FgmfError: Whatever of ours it raised.
        """
        own = replace(
            batch,
            images=batch.images.clone(),
            starts=None if batch.starts is None else batch.starts.clone(),
            clean_logits=None if batch.clean_logits is None else batch.clean_logits.clone(),
        )
        try:
            result = self._attack.run(own, restart=restart)
            wrong = _wrong(result, len(batch.keys))
            if wrong is None:
                candidates = result.adversarial.detach().to(batch.images)
        except Exception as error:
            if isinstance(error, FgmfError) or is_out_of_memory(error):
                raise
            raise AttackFailed(f"expected {self._title} to run, got {reason_of(error)}") from error
        if wrong is not None:
            raise AttackFailed(f"expected {wrong}; this is what {self._title} returned")
        if candidates.shape != batch.images.shape:
            shapes = f"{tuple(candidates.shape)} for {tuple(batch.images.shape)}"
            message = f"expected one candidate of {self._title} for each image, got shape {shapes}"
            raise AttackFailed(message)
        bad = (~candidates.isfinite().flatten(1).all(dim=1)).nonzero().flatten().tolist()
        return replace(
            result,
            adversarial=project(batch.images, candidates, self._threat),
            failures={**dict.fromkeys(bad, _NOT_FINITE), **result.failures},
        )


def _wrong(result: object, count: int) -> str | None:
    """What was expected instead of a result; None if it is of the right form."""
    if not isinstance(result, AttackResult):
        return f"an AttackResult, got {type(result).__name__}"
    failures, rows = result.failures, range(count)
    if not isinstance(failures, dict) or not all(
        type(at) is int and at in rows and isinstance(why, str) for at, why in failures.items()
    ):
        return f"failures as a dictionary from positions below {count} to text"
    for name, values in (("radii", result.radii), ("offered", result.offered)):
        if values is None:
            continue
        if not isinstance(values, torch.Tensor) or tuple(values.shape) != (count,):
            return f"{name} as a tensor of shape ({count},), or None"
        if (values.dtype is torch.bool) is (name == "radii"):
            return f"{name} of another type, got {values.dtype}"
    if not isinstance(result.complete, bool):
        return f"complete as True or False, got {type(result.complete).__name__}"
    return None
