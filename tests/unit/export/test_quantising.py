"""INT8 files: smaller, another graph, the same source, and judged by what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fgmf.datasets import digits
from fgmf.errors import InvalidInput
from fgmf.export import sign_export, verify_export
from fgmf.export.anchoring import Anchors
from fgmf.export.quantising import quantize_int8
from fgmf.gates import ExportParityGate, RunContext
from fgmf.mask_log.signing import Signer
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from unit.export.conftest import Shipped

KEY = Signer(bytes(32), name="release")


def test_an_int8_file_is_verified_and_gated(shipped: Shipped, copied: Path, tmp_path: Path) -> None:
    train, test = digits("train"), digits("test")
    path = tmp_path / "int8.onnx"
    made = quantize_int8(copied, train.images[:64], path)
    assert made.provenance.source == shipped.exported.provenance.source
    assert made.provenance.graph != shipped.exported.provenance.graph
    assert "64 images" in made.provenance.quantization
    sign_export(path, made.provenance, KEY)
    assert verify_export(path, Anchors(public_key=KEY.verifier.text())).outcome is Outcome.PASS
    asked = {
        "artefact": "int8.onnx",
        "epsilon": 0.1,
        "min_robust_accuracy": 0.2,
        "min_agreement": 0.8,
        "min_attacked_agreement": 0.7,
        "images": 150,
        "queries": 20,
    }
    context = RunContext(directory=tmp_path)
    images, labels = test.images, test.labels
    lenient = ExportParityGate(**asked, max_logit_gap=20.0)
    verdict = lenient.check(shipped.classifier, images, labels, context=context)
    assert verdict.outcome is Outcome.PASS, verdict.reason
    # Steps of 1/256 of the range are far above rounding of float32.
    assert verdict.evidence["clean_gap"] > 1e-3
    strict = ExportParityGate(**asked)
    verdict = strict.check(shipped.classifier, images, labels, context=context)
    assert verdict.outcome is Outcome.FAIL
    assert "logit_gap" in verdict.reason
    with pytest.raises(InvalidInput, match="float file"):
        quantize_int8(path, train.images[:8], tmp_path / "again.onnx")
    with pytest.raises(InvalidInput, match="0 images"):
        quantize_int8(copied, train.images[:0], path)
