"""Masks that are made again from what a log keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from mask_log_layers import sgam

from fgmf.gates import MaskLogGate
from fgmf.mask_log import Expectation, LogContents, Manifest, MaskLog
from fgmf.mask_log.packs import PackedBatch, Packer, SampleBatch
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

SPOT = {"unanchored": True, "spot_checks": 4, "layer": "mask_log_layers:layer_for_spot_checks"}


def _spot_log(path: Path, *, inputs: bool = True, every: int | None = 1, shift: float = 0) -> None:
    model = sgam()
    manifest = Manifest(streams={"main": Expectation(steps=3)})
    contents = LogContents(inputs=inputs, weights_every=every)
    with MaskLog(path, manifest=manifest, contents=contents).attach(model) as log:
        if shift:
            predicted = model.layer.predicted_logits
            model.layer.predicted_logits = lambda images: predicted(images) + shift
        for step in range(3):
            with log.batch(step=step, sample_ids=[2 * step, 2 * step + 1]):
                model(torch.rand(2, 1, 8, 8))
            with torch.no_grad():
                model.layer.predictor.read_out.weight.mul_(1.5)


def test_spot_checks_make_masks_again(tmp_path: Path) -> None:
    _spot_log(tmp_path / "log")
    verdict = MaskLogGate(path=str(tmp_path / "log"), **SPOT).check()
    assert verdict.outcome is Outcome.PASS, verdict.reason
    spots = verdict.evidence["spot_checks"]
    assert (spots["checked"], spots["resolvable"], spots["resolvable_share"]) == (4, 6, 1.0)


def test_a_mask_that_another_layer_made_is_found(tmp_path: Path) -> None:
    _spot_log(tmp_path / "log", shift=0.01)
    verdict = MaskLogGate(path=str(tmp_path / "log"), **SPOT).check()
    assert verdict.outcome is Outcome.FAIL
    assert "a mask made again is another" in verdict.reason


@pytest.mark.parametrize("kept", [{"inputs": False}, {"every": None}])
def test_nothing_to_check_is_not_checked(tmp_path: Path, kept: dict) -> None:
    _spot_log(tmp_path / "log", **kept)
    verdict = MaskLogGate(path=str(tmp_path / "log"), **SPOT).check()
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "not checked" in verdict.reason


@pytest.mark.parametrize("factory", ["nowhere:x", "mask_log_layers:sgam_gone", "torch:Tensor"])
def test_a_layer_that_cannot_be_made_is_an_error(tmp_path: Path, factory: str) -> None:
    _spot_log(tmp_path / "log")
    verdict = MaskLogGate(path=str(tmp_path / "log"), **{**SPOT, "layer": factory}).check()
    assert verdict.outcome is Outcome.ERROR
    assert "layer" in verdict.reason


def test_an_input_that_is_not_that_of_its_digest_is_no_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = Packer.pack

    def lying(packer: Packer, batch: SampleBatch, start: int) -> PackedBatch:
        others = memoryview(bytes(batch.inputs.nbytes))
        return pack(packer, replace(batch, inputs=others), start)

    monkeypatch.setattr(Packer, "pack", lying)
    _spot_log(tmp_path / "log")
    verdict = MaskLogGate(path=str(tmp_path / "log"), **SPOT).check()
    assert verdict.outcome is Outcome.FAIL
    assert "the input that is kept is not that of its digest" in verdict.reason
