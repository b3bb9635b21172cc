"""Gate kind `export-parity`: an exported file decides as the model that was gated.

In short::

    findings    = preflight(model, data)          # any unwaived error: outcome ERROR
    provenance  = the file's own, if any: one that denies file or model: outcome ERROR
    sample      = stratified, seeded sample of the data
    crafted     = adversarial images made on the model, shown to the file
    black box   = attacks on the file itself
    outcome     = exact interval against each threshold, the largest logit gap against its own
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.specification import Confidence, GateSpecification, RunContext, Share
from fgmf.threat import ThreatModel, parse_epsilon
from fgmf.types import Bounds, Population

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict

Count = Annotated[int, Field(ge=1)]


class ExportParityGate(GateSpecification):
    """An exported file gives what its source gives, on clean images and under attack.

    ``ExportParityGate(artefact="model.onnx", epsilon=8 / 255, min_robust_accuracy=0.45).check(
    classifier, images, labels)`` returns a :class:`~fgmf.verdict.Verdict`.
    """

    kind: Literal["export-parity"] = "export-parity"
    artefact: Annotated[str, Field(pattern=r"\.(onnx|tflite)$")]
    """The exported ``.onnx`` or ``.tflite`` file, relative to the gate file."""
    norm: Literal["linf", "l2"] = "linf"
    epsilon: float | str
    """Budget in the units of the classifier's bounds; a number or text like "8/255"."""
    min_robust_accuracy: Share
    """On the file: what the gate of its source asks of the source."""
    min_agreement: Share = 0.99
    """On the share of clean images that both give the same class."""
    min_attacked_agreement: Share = 0.98
    """On the share of images that both give the same class however they were attacked."""
    max_logit_gap: Annotated[float, Field(gt=0)] = 1e-4
    """The largest that any logit may differ, on clean and adversarial images."""
    normalization: Literal["auto", "baked", "outside"] = "auto"
    """Whether the file normalises images itself; `auto` takes what its provenance says."""
    steps: Count = 20
    """Steps of the attack on the source."""
    queries: Count = 500
    """Of each image, by the attack on the file."""
    images: Count | Literal["all"] = 500
    """Size of the seeded stratified sample."""
    confidence: Confidence = 0.95
    population: Population = "distribution"
    """Whether the verdict is about the distribution behind the images or exactly this set."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time budget of attacks on the file; when it is spent the outcome is never PASS."""

    @field_validator("epsilon")
    @classmethod
    def _epsilon(cls, value: float | str) -> float | str:
        parse_epsilon(value)
        return value

    @model_validator(mode="after")
    def _asks_something(self) -> ExportParityGate:
        """A share of 0 is always reached."""
        shares = {
            "min_agreement": self.min_agreement,
            "min_attacked_agreement": self.min_attacked_agreement,
        }
        problems = [
            Misfit(key, "a share above 0, which every file would reach", share)
            for key, share in shares.items()
            if not share
        ]
        if problems:
            raise misfits(type(self).__name__, problems)
        return self

    def threat_model(self, bounds: Bounds) -> ThreatModel:
        """Return the threat model of this gate for images within `bounds`."""
        return ThreatModel(norm=self.norm, epsilon=parse_epsilon(self.epsilon), bounds=bounds)

    def check(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        *,
        context: RunContext | None = None,
    ) -> Verdict:
        """Hold the file against the model and judge it.

        Args:
            classifier: The model that was exported, with its bounds and normalisation.
            images: (n, ...) arrays or tensors within the classifier's bounds.
            labels: (n,) class indices.
            context: Run seed, progress, the directory that the file's path is relative to.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR.

        Cost: `steps` + 3 forward and `steps` backward passes of each image through the model;
            up to `queries` + 103 forward passes through the file.
        """
        from fgmf.gates.export_parity_check import check_export_parity

        return check_export_parity(self, classifier, images, labels, context or RunContext())
