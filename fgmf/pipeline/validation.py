"""Robust accuracy of the averaged model on images that are not trained on, after some epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch

from fgmf.classifier import Classifier
from fgmf.errors import InvalidInput
from fgmf.gates import RobustnessGate
from fgmf.training import Callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.datasets import Samples
    from fgmf.pipeline.loading import TrainingPlan
    from fgmf.training import TrainingRun

_BATCH: Final = 256
_EARLY: Final = ("clean-accuracy-at-chance", "normalisation-missing", "too-few-images")
"""As it is in early epochs: guesses fall differently on images of another scale."""


class Validation(Callback):
    """Notes `clean_accuracy` and `robust_accuracy` of the weights that the model would end with.

    The robust accuracy is that of a suite of attacks on the first images: an upper bound, to
    follow a training by. A gate on the finished model is what counts. Where the suite comes to no
    number it is NaN, and `notify` is told why.

    Args:
        plan: With a table ``[validation]``.
        samples: Its images.
        notify: Told what the user should know.

    Raises:
        InvalidInput: There is no such table, or there are no such images.

    Cost: one pass over all images, and the suite on the first of them.
    """

    def __init__(
        self, plan: TrainingPlan, samples: Samples | None, notify: Callable[[str], None]
    ) -> None:
        table = plan.validation
        if table is None or samples is None:
            raise InvalidInput("expected a table [validation], got none")
        epsilon = plan.defence.budget if table.epsilon is None else table.epsilon
        if epsilon is None:
            raise InvalidInput("expected an epsilon in [validation], got none")
        self._samples, self._every, self._bounds = samples, table.every, plan.data.bounds
        self._device, self._notify = plan.engine.device, notify
        self._gate = RobustnessGate(
            name="validation",
            norm="linf",
            epsilon=epsilon,
            min_robust_accuracy=0.5,
            suite=table.suite,
            images=min(table.images, len(samples)),
            waive=_EARLY,
            save_failures=False,
        )

    def after_epoch(self, run: TrainingRun) -> None:
        """Measure, if it is time."""
        if run.epoch % self._every and run.epoch != run.schedule.epochs:
            return
        with run.average.shown(), torch.enable_grad():
            classifier = Classifier(run.model, bounds=self._bounds, device=self._device)
            run.note("clean_accuracy", self._clean(classifier))
            verdict = self._gate.check(classifier, self._samples.images, self._samples.labels)
        if verdict.measured is None:
            self._notify(f"no robust accuracy after epoch {run.epoch}: {verdict.reason}")
        run.note("robust_accuracy", math.nan if verdict.measured is None else verdict.measured)

    def _clean(self, classifier: Classifier) -> float:
        images, labels = self._samples.images, self._samples.labels
        with classifier.guard(), torch.no_grad():
            right = [
                classifier.logits(some).argmax(dim=1).cpu() == true
                for some, true in zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
            ]
        return float(torch.cat(right).double().mean())
