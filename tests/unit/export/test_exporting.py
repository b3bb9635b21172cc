"""What is exported: networks of every kind, normalisation, storage, batches of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from fgmf.backbones import HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.classifier import Classifier
from fgmf.errors import InvalidInput
from fgmf.export import ExportSettings, artefact_of, export_onnx, verify_export
from fgmf.sgam import Sgam
from fgmf.sparsity import (
    compact,
    find_units,
    keep_highest,
    load_pattern,
    magnitude_scores,
    prune_units,
    save_pattern,
)
from fgmf.sparsity.pattern import SparsityPattern
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGES = torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: ViT(ViTConfig(image_side=8, width=16, depth=1, heads=4)),
    "hybrid behind a mask": lambda: Sgam.wrap(
        HybridNet(HybridConfig(image_side=8, stem_widths=(6, 16), depth=1)), channels=1
    ),
}


class Pair(nn.Module):
    """Puts out more than logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"features": images.flatten(1), "logits": self.layer(images.flatten(1))}


@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_networks_keep_their_outputs_in_any_batch(name: str, tmp_path: Path) -> None:
    model = NETWORKS[name]().eval()
    found = find_units(model, IMAGES[:2])
    pattern = prune_units(model, found, magnitude_scores(model), 0.5)
    smaller = compact(model, IMAGES, pattern=pattern).model
    keep_highest(magnitude_scores(smaller), 0.6, scope="layer").apply(smaller)
    classifier = Classifier(smaller, bounds=(0, 1), device="cpu")
    sizes, graphs = {}, set()
    for storage in ("dense", "sparse"):
        settings = ExportSettings(storage=storage)  # type: ignore[arg-type]
        exported = export_onnx(classifier, IMAGES, tmp_path / f"{storage}.onnx", settings)
        # float32: sums of at most some hundred terms of order 1, in another order.
        assert exported.logit_gap <= 1e-5
        assert verify_export(exported.path).outcome is Outcome.INCONCLUSIVE
        artefact = artefact_of(exported.path, classifier, baked=True)
        with classifier.guard():
            expected = classifier.logits_in_batches(IMAGES)
        for batch in (1, 3, 7):
            parts = [artefact.logits(part) for part in IMAGES.split(batch)]
            torch.testing.assert_close(torch.cat(parts), expected, atol=1e-5, rtol=0)
        sizes[storage] = exported.bytes
        graphs.add(exported.provenance.graph)
        assert set(exported.provenance.names) == {n for n, _ in smaller.named_parameters()}
        assert exported.provenance.patterns == {
            n: e.digest for n, e in SparsityPattern.of_zeros(smaller).tensors.items()
        }
    # The same model, exported twice and stored in two ways: no path or date is in it.
    assert len(graphs) == 1
    assert str(tmp_path.parent).encode() not in exported.path.read_bytes()
    assert b"site-packages" not in exported.path.read_bytes()
    save_pattern(pattern, tmp_path / "pattern.safetensors")
    assert load_pattern(tmp_path / "pattern.safetensors").digest == pattern.digest


@pytest.mark.parametrize("baked", [True, False])
def test_a_normalisation_is_baked_in_or_stays_outside(baked: bool, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    normalize = {"mean": [0.3], "std": [0.2]}
    classifier = Classifier(model, bounds=(0, 1), normalize=normalize, device="cpu")
    settings = ExportSettings(bake_normalization=baked)
    exported = export_onnx(classifier, IMAGES, tmp_path / "model.onnx", settings)
    assert exported.logit_gap <= 1e-5
    assert exported.provenance.normalization == ("baked" if baked else "outside")
    raw = Classifier(exported.path, bounds=(0, 1))
    with classifier.guard():
        gap = (raw.logits(IMAGES) - classifier.logits(IMAGES)).abs().max()
    assert (float(gap) <= 1e-5) is baked


def test_logits_are_found_among_other_outputs(tmp_path: Path) -> None:
    classifier = Classifier(Pair(), bounds=(0, 1), output="logits", device="cpu")
    exported = export_onnx(classifier, IMAGES, tmp_path / "model.onnx")
    assert exported.logit_gap <= 1e-5


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    classifier = Classifier(lambda images: images.flatten(1)[:, :3], bounds=(0, 1))
    with pytest.raises(InvalidInput, match=r"expected a torch\.nn\.Module"):
        export_onnx(classifier, IMAGES, tmp_path / "model.onnx")
    module = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), bounds=(0, 1))
    with pytest.raises(InvalidInput, match="at least two images"):
        export_onnx(module, IMAGES[:1], tmp_path / "model.onnx")
    (tmp_path / "none.onnx").write_bytes(b"no model")
    with pytest.raises(InvalidInput, match="ONNX model"):
        verify_export(tmp_path / "none.onnx")
