"""What the export of a model does with a classifier: cases of the promise."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tiny_models import keys_of, make_images

from fgmf.attacks.plans import plan_attacks
from fgmf.export import artefact_of, export_onnx
from fgmf.export.parity import ParityPlan, measure_parity
from fgmf.gates import ExportParityGate, RunContext
from fgmf.gates.export_parity_check import check_export_parity
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

IMAGES = make_images(6, margin=0.05)
LABELS = torch.arange(6) % 3
GATE = ExportParityGate(
    artefact="tiny.onnx",
    epsilon=0.2,
    min_robust_accuracy=0.1,
    steps=2,
    queries=3,
    waive=("clean-accuracy-at-chance", "normalisation-missing", "too-few-images"),
)


def _file() -> Path:
    """Some exported model for images of this kind, made once; three classes."""
    from tiny_models import ConvModel
    from tiny_onnx import export

    path = Path(tempfile.gettempdir()) / "fgmf-contract-export" / "tiny.onnx"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        export(ConvModel(), path, IMAGES[:2], names=["logits"], fixed=False)
    return path


def _exported(classifier: Classifier) -> None:
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(classifier, IMAGES, Path(folder) / "model.onnx")


def _parity(classifier: Classifier) -> None:
    plan = ParityPlan(
        threat=ThreatModel(norm="linf", epsilon=0.2),
        crafting=plan_attacks([("pgd", {"steps": 2}, None)], restarts=1)[0],
        black_box=plan_attacks([("random-search", {"queries": 3}, None)], restarts=1),
        seed=0,
    )
    artefact = artefact_of(_file(), classifier, baked=True)
    measure_parity(classifier, artefact, IMAGES, LABELS, plan, keys=keys_of(IMAGES))


EXPORT_CASES: dict[str, Callable[[Classifier], object]] = {
    "fgmf.export.exporting.export_onnx": _exported,
    "fgmf.export.parity.measure_parity": _parity,
    "fgmf.gates.export_parity.ExportParityGate.check": lambda c: GATE.check(
        c, IMAGES, LABELS, context=RunContext(directory=_file().parent)
    ),
    "fgmf.gates.export_parity_check.check_export_parity": lambda c: check_export_parity(
        GATE, c, IMAGES, LABELS, RunContext(directory=_file().parent)
    ),
}
NOT_EXPORTING = {
    "fgmf.export.exporting.artefact_of",  # takes its bounds alone
    "fgmf.export.litert.export_litert",  # guarded alike; its packages are not here
}
