"""Files of other formats: their provenance lies beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from fgmf.classifier import Classifier
from fgmf.classifier.onnx_backend import file_digest
from fgmf.errors import InvalidInput, MissingDependency
from fgmf.export import Anchors, Provenance, sign_export, verify_export
from fgmf.export.litert import export_litert, litert_logits
from fgmf.export.sidecar import sidecar_path
from fgmf.mask_log.signing import Signer
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

KEY = Signer(bytes(32), name="release")
ANCHORS = Anchors(public_key=KEY.verifier.text())
_SHARED = [HealthCheck.function_scoped_fixture]  # put back after each example


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"some other format")
    digest = file_digest(path)
    provenance = Provenance(
        graph=digest, parts={"file": digest}, source="sha256:1", model="Net", bounds=(0.0, 1.0)
    )
    sidecar_path(path).write_text(provenance.text())
    sign_export(path, provenance, KEY)
    return path


def test_the_file_and_what_lies_beside_it_are_held_together(signed: Path) -> None:
    assert verify_export(signed).outcome is Outcome.INCONCLUSIVE
    assert verify_export(signed, ANCHORS).outcome is Outcome.PASS
    signed.write_bytes(b"some other Format")
    report = verify_export(signed, ANCHORS)
    assert report.outcome is Outcome.FAIL
    assert "the file's bytes" in report.reason


@settings(max_examples=60, deadline=None, suppress_health_check=_SHARED)
@given(beside=st.booleans(), at=st.floats(0, 1), bits=st.integers(1, 255))
def test_any_changed_byte_of_file_or_sidecar_is_found(
    signed: Path, beside: bool, at: float, bits: int
) -> None:
    place = sidecar_path(signed) if beside else signed
    genuine = bytearray(place.read_bytes())
    changed = genuine.copy()
    changed[min(int(at * len(changed)), len(changed) - 1)] ^= bits
    place.write_bytes(changed)
    try:
        assert verify_export(signed, ANCHORS).outcome is Outcome.FAIL
    finally:
        place.write_bytes(genuine)


def test_another_sidecar_is_found(signed: Path) -> None:
    place = sidecar_path(signed)
    place.write_text(place.read_text().replace("sha256:1", "sha256:2"))
    assert verify_export(signed, ANCHORS).outcome is Outcome.FAIL
    place.write_text("{}")
    assert verify_export(signed).outcome is Outcome.FAIL
    place.unlink()
    assert verify_export(signed).outcome is Outcome.INCONCLUSIVE
    assert verify_export(signed, ANCHORS).outcome is Outcome.FAIL


def test_what_cannot_be_made_is_said(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import torch

    for name in ("litert_torch", "ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), bounds=(0, 1))
    images = torch.rand(2, 1, 2, 2)
    with pytest.raises(MissingDependency, match=r"pytest-fgmf\[litert\]"):
        export_litert(classifier, images, signed)
    with pytest.raises(MissingDependency, match=r"pytest-fgmf\[litert\]"):
        litert_logits(signed, images)
    with pytest.raises(InvalidInput, match=r"\.tflite"):
        export_litert(classifier, images, signed.with_suffix(".onnx"))
