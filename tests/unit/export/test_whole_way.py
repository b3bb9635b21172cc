"""From a trained model to a file that is verified, and a gate on it that passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest
import torch
from typer.testing import CliRunner

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.classifier import Classifier
from fgmf.datasets import digits
from fgmf.export import Anchors, export_onnx, record_export, sign_export, verify_export
from fgmf.gates import ExportParityGate, ProvenanceGate, RobustnessGate, RunContext
from fgmf.mask_log import MaskLog
from fgmf.mask_log.signing import Signer
from fgmf.sgam import Sgam
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from unit.export.conftest import Shipped

GATE = {
    "artefact": "model.onnx",
    "epsilon": 0.1,
    "min_robust_accuracy": 0.2,
    "images": 150,
    "queries": 60,
    # All of 150 agree at best, and the interval of that begins at 0.976.
    "min_agreement": 0.95,
    "min_attacked_agreement": 0.95,
}
KEY = Signer(bytes(32), name="release")


def _head(log: Path, shipped: Shipped) -> str:
    """A log of a run, which then names the exported file."""
    model = Sgam.wrap(ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=4)), channels=1)
    with MaskLog(log).attach(model):
        model(torch.rand(4, 1, 8, 8))
    return record_export(log, shipped.exported.provenance, signer=KEY).digest


def _context(path: Path) -> RunContext:
    return RunContext(directory=path.parent)


def test_the_file_decides_as_its_source(shipped: Shipped, copied: Path) -> None:
    samples = digits("test")
    gate = ExportParityGate(**GATE)
    verdict = gate.check(
        shipped.classifier, samples.images, samples.labels, context=_context(copied)
    )
    assert verdict.outcome is Outcome.PASS, verdict.reason
    measured = {condition.quantity: condition.measured for condition in verdict.conditions}
    assert measured["agreement"] == 1.0
    assert measured["attacked_agreement"] == 1.0
    # float32, a few layers, logits of order 10: rounding of another order of sums.
    assert measured["logit_gap"] < 2e-5
    assert verdict.evidence["model_digest"] == shipped.exported.provenance.source
    assert verdict.cost.backward_passes >= 20 * 150


def test_the_log_and_the_signature_stand_behind_it(
    shipped: Shipped, copied: Path, tmp_path: Path
) -> None:
    head = _head(tmp_path / "log", shipped)
    for anchors in (
        Anchors(log=tmp_path / "log", head=head),
        Anchors(log=tmp_path / "log", public_key=KEY.verifier.text()),
    ):
        report = verify_export(copied, anchors)
        assert (report.outcome, report.anchor) == (Outcome.PASS, "log"), report.reason
    sign_export(copied, shipped.exported.provenance, KEY)
    report = verify_export(copied, Anchors(public_key=KEY.verifier.text()))
    assert (report.outcome, report.anchor) == (Outcome.PASS, "signature")
    other = Signer(bytes(31) + b"1", name="release").verifier.text()
    assert verify_export(copied, Anchors(public_key=other)).outcome is Outcome.FAIL


def test_alone_it_proves_nothing(copied: Path) -> None:
    report = verify_export(copied)
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "whoever can write it" in report.reason


def test_a_log_without_a_head_from_outside_proves_nothing(
    shipped: Shipped, copied: Path, tmp_path: Path
) -> None:
    _head(tmp_path / "log", shipped)
    assert verify_export(copied, Anchors(log=tmp_path / "log")).outcome is Outcome.INCONCLUSIVE


def test_a_head_from_before_the_export_does_not_cover_it(
    shipped: Shipped, copied: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    model = Sgam.wrap(ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=4)), channels=1)
    with MaskLog(log).attach(model) as written:
        model(torch.rand(4, 1, 8, 8))
    before = written.head
    assert before is not None
    record_export(log, shipped.exported.provenance)
    report = verify_export(copied, Anchors(log=log, head=before.digest))
    assert report.outcome is Outcome.FAIL
    assert "names 0 exported files" in report.reason


def test_the_export_of_another_model_has_no_parity(shipped: Shipped, copied: Path) -> None:
    samples, other = digits("test"), ConvNet(ConvNetConfig(image_side=8), seed=5).eval()
    classifier = Classifier(other, bounds=(0, 1), device="cpu")
    gate = ExportParityGate(**GATE)
    verdict = gate.check(classifier, samples.images, samples.labels, context=_context(copied))
    assert verdict.outcome is Outcome.ERROR
    assert "export of another model" in verdict.reason
    assert (verdict.measured, verdict.conditions) == (None, ())


def test_a_file_that_was_changed_has_no_parity(shipped: Shipped, copied: Path) -> None:
    model, samples = onnx.load(copied), digits("test")
    model.graph.node[0].name = "another"
    onnx.save(model, copied)
    gate = ExportParityGate(**GATE)
    context = _context(copied)
    verdict = gate.check(shipped.classifier, samples.images, samples.labels, context=context)
    assert verdict.outcome is Outcome.ERROR
    assert "its provenance denies" in verdict.reason


def test_findings_are_kept_where_they_block(shipped: Shipped, copied: Path) -> None:
    samples = digits("test")
    gate = ExportParityGate(**GATE)
    wrong = samples.images * 255
    verdict = gate.check(shipped.classifier, wrong, samples.labels, context=_context(copied))
    assert verdict.outcome is Outcome.ERROR
    assert "images-outside-bounds" in {finding.name for finding in verdict.findings}


def test_a_file_with_other_weights_fails_even_without_provenance(
    shipped: Shipped, copied: Path
) -> None:
    """A stranger's file: judged by what it does."""
    model, samples = onnx.load(copied), digits("test")
    del model.metadata_props[:]
    onnx.save(model, copied)
    gate = ExportParityGate(**GATE, normalization="baked")
    context = _context(copied)
    stranger = gate.check(shipped.classifier, samples.images, samples.labels, context=context)
    assert stranger.outcome is Outcome.PASS
    assert stranger.evidence["provenance"] == "none"
    weights = next(t for t in model.graph.initializer if len(t.dims) == 2)
    array = onnx.numpy_helper.to_array(weights).copy()
    array[:, 0] *= -3
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    onnx.save(model, copied)
    changed = gate.check(shipped.classifier, samples.images, samples.labels, context=context)
    assert changed.outcome is Outcome.FAIL


def test_a_missing_file_is_an_error(shipped: Shipped, tmp_path: Path) -> None:
    samples = digits("test")
    gate = ExportParityGate(**GATE)
    context = RunContext(directory=tmp_path)
    verdict = gate.check(shipped.classifier, samples.images, samples.labels, context=context)
    assert verdict.outcome is Outcome.ERROR


def test_a_strangers_file_can_still_be_gated(copied: Path) -> None:
    model, samples = onnx.load(copied), digits("test")
    del model.metadata_props[:]
    onnx.save(model, copied)
    report = verify_export(copied)
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "no provenance" in report.reason
    assert "black-box" in report.reason
    gate = RobustnessGate(
        norm="linf", epsilon=0.05, min_robust_accuracy=0.2, suite="black-box", images=100
    )
    classifier = Classifier(copied, bounds=(0, 1))
    verdict = gate.check(classifier, samples.images, samples.labels)
    assert verdict.outcome is Outcome.PASS


def test_the_command_and_the_gate_say_the_same(
    shipped: Shipped, copied: Path, tmp_path: Path
) -> None:
    from fgmf.cli.application import application

    head = _head(tmp_path / "log", shipped)
    asked = ["verify-export", str(copied), "--log", str(tmp_path / "log"), "--against", head]
    result = CliRunner().invoke(application, asked)
    assert result.exit_code == 0, result.output
    assert "provenance" in result.output
    assert CliRunner().invoke(application, ["verify-export", str(copied)]).exit_code == 3
    place = sign_export(copied, shipped.exported.provenance, KEY)
    elsewhere = place.rename(tmp_path / "release.sig")
    by_key = ["verify-export", str(copied), "--public-key", KEY.verifier.text()]
    assert CliRunner().invoke(application, by_key).exit_code == 3
    by_key += ["--signature", str(elsewhere)]
    assert CliRunner().invoke(application, by_key).exit_code == 0
    assert CliRunner().invoke(application, [*by_key, "--gate", "robust"]).exit_code == 1
    assert CliRunner().invoke(application, [*asked, "--public-key", "none"]).exit_code == 2
    model = onnx.load(copied)
    model.doc_string = "another"
    onnx.save(model, copied)
    assert CliRunner().invoke(application, asked).exit_code == 1
    gate = ProvenanceGate(artefact="model.onnx", log="log", head=head)
    verdict = gate.check(context=RunContext(directory=tmp_path))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.evidence["export_trouble_count"] == 2  # the file itself, and the log


def test_recorded_verdicts_are_asked_for(shipped: Shipped, tmp_path: Path) -> None:
    from dataclasses import replace

    from fgmf.errors import InvalidInput
    from fgmf.export import ExportSettings

    samples = digits("test")
    gate = RobustnessGate(
        name="robust", norm="linf", epsilon=0.05, min_robust_accuracy=0.2, suite="quick", images=60
    )
    verdict = gate.check(shipped.classifier, samples.images, samples.labels)
    path = tmp_path / "again.onnx"
    settings = ExportSettings(verdicts=[verdict])
    exported = export_onnx(shipped.classifier, samples.images[:8], path, settings)
    sign_export(path, exported.provenance, KEY)
    anchors = Anchors(public_key=KEY.verifier.text())
    assert verify_export(path, anchors, gates=["robust"]).outcome is verdict.outcome
    assert verify_export(path, anchors, gates=["masking"]).outcome is Outcome.FAIL
    foreign = replace(verdict, evidence={**verdict.evidence, "model_digest": "sha256:other"})
    with pytest.raises(InvalidInput, match="verdicts on the exported model"):
        export_onnx(
            shipped.classifier, samples.images[:8], path, ExportSettings(verdicts=[foreign])
        )
