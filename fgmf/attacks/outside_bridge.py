"""Attacks that show the gated model what was made elsewhere.

    transfer:        margin APGD on a surrogate, away from the label, each lane to its end
    known examples:  what is stored for the very image, by the digest of its content

Nothing is believed: callers judge and re-verify the candidates on the gated model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.interface import AttackBatch, AttackResult
from fgmf.attacks.own_bridge import OwnAttack
from fgmf.errors import ModelStateChanged

if TYPE_CHECKING:
    from fgmf.attacks.plans import AttackPlan
    from fgmf.attacks.sources import KnownExamples
    from fgmf.classifier import Classifier
    from fgmf.threat import ThreatModel


class TransferAttack:
    """Adversarial examples of a surrogate.

    Args:
        plan: Steps and start.
        surrogate: Has gradients; held in its own guard while attacked.
        threat: Ball and box of the gate.
        seed: The gate's seed; with the label, the restart and image keys it fixes all draws.
        deadline: Value of ``time.monotonic()`` after which the attack stops.
    """

    def __init__(
        self,
        plan: AttackPlan,
        surrogate: Classifier,
        threat: ThreatModel,
        *,
        seed: int,
        deadline: float | None = None,
    ) -> None:
        self._surrogate, self._seed = surrogate, seed
        self._name = plan.parameters["surrogate"]
        self._attack = OwnAttack(plan, surrogate, threat, seed=seed, deadline=deadline)

    def run(self, batch: AttackBatch, *, restart: int) -> AttackResult:
        """Attack the surrogate on a batch; its own predictions do not matter.

        Args:
            batch: n images.
            restart: Number of the restart, for the draws.

        Returns:
            For each image the point at which the surrogate is most wrong.

        Raises:
            BudgetSpent: The deadline has passed before the first step.
            ModelStateChanged: A pass changed the surrogate, which is put back.

        Cost: steps + 2 forward passes and steps backward passes of the surrogate per image.
        Randomness: fixed by seed, label, restart and each image's key; not by the batch size.
        """
        foreign = replace(batch, clean_logits=None)  # those are the gated model's
        try:
            with self._surrogate.guard(seed=self._seed):
                return self._attack.run(foreign, restart=restart)
        except ModelStateChanged as error:
            raise ModelStateChanged(f"the surrogate {self._name!r}: {error}") from error


class KnownExamplesAttack:
    """Stored examples of the very images."""

    def __init__(self, known: KnownExamples) -> None:
        """Take the store."""
        self._known = known

    def run(self, batch: AttackBatch, *, restart: int) -> AttackResult:  # noqa: ARG002 - of the interface
        """Offer what is stored; images without an example are left out.

        Args:
            batch: n images.
            restart: Without meaning here.
        """
        stored = self._known.images
        candidates = [
            stored.get(key, image) for key, image in zip(batch.keys, batch.images, strict=True)
        ]
        return AttackResult(
            adversarial=torch.stack(candidates).to(batch.images),
            offered=torch.tensor([key in stored for key in batch.keys]),
        )
