"""The adapter around a user's model: one interface, epsilon in the units of the bounds.

`adapter` holds the class, `outputs` finds the logits in what a model returns, `state` (with
`contents`) puts the model back as it was, `memory` halves batches, `onnx_backend` runs ONNX
files.
"""

from __future__ import annotations

from fgmf.classifier.adapter import Classifier
from fgmf.classifier.metering import CostMeter
from fgmf.classifier.normalization import Normalization

__all__ = ["Classifier", "CostMeter", "Normalization"]
