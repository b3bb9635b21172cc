"""From a gated model to an ONNX file that says where it comes from.

module     = the model, behind its normalisation if that is to be baked in
graph      = torch's dynamo exporter, dynamic batch, all weights inside; checked
storage    = dense, or weights with many zeros as `sparse_initializer`
provenance = digests of graph and source, name map, patterns, verdicts, head -> metadata
parity     = the file in onnxruntime against the source on the given images
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from fgmf.canonical import json_digest
from fgmf.classifier import Classifier
from fgmf.errors import InvalidInput
from fgmf.export.onnx_canonical import digests_of
from fgmf.export.onnx_files import (
    embed_provenance,
    graph_of,
    name_map,
    sparsely_stored,
    write_model,
)
from fgmf.export.provenance import MaskLogReference, Provenance, recorded_verdicts
from fgmf.sparsity import SparsityPattern

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fgmf.classifier.normalization import Normalization
    from fgmf.export.onnx_files import StoredTensor
    from fgmf.sparsity import RemovalPlan
    from fgmf.types import Images
    from fgmf.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How a model is exported.

    Attributes:
        bake_normalization: The file takes images in bounds, and normalises them itself.
        storage: ``sparse`` stores weights with many zeros as `sparse_initializer`: a record of the
            pattern and a smaller file, no speed; not every engine takes it.
        verdicts: Of gates on this very model.
        mask_log: Of the run that made it.
        removal: The plan by which units were taken out of it.
        origin: Digest of the model that they were taken out of, where that is the one that was
            gated (`Classifier.state_digest`).
    """

    bake_normalization: bool = True
    storage: Literal["dense", "sparse"] = "dense"
    verdicts: Sequence[Verdict] = ()
    mask_log: MaskLogReference | None = None
    removal: RemovalPlan | None = None
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file that was written.

    Attributes:
        path: The file.
        provenance: What it says about itself; its digest is to be logged or signed.
        bytes: Its size.
        logit_gap: Largest absolute difference of a logit from the source, on the given images.
        sparse: Weights that are stored sparsely.
    """

    path: Path
    provenance: Provenance
    bytes: int
    logit_gap: float
    sparse: tuple[str, ...] = field(default=())


def export_onnx(
    classifier: Classifier, images: Images, path: Path, settings: ExportSettings | None = None
) -> Exported:
    """Write a classifier's model as an ONNX file with its provenance.

    Args:
        classifier: Around a ``torch.nn.Module``; put back as it was.
        images: (n, ...) n >= 2, within the bounds, that the file is held against the source on.
        path: Of the file, ending in ``.onnx``; replaced as a whole.
        settings: Normalisation, storage, verdicts, mask log.

    Returns:
        The file, and the largest gap that was seen. The gap is measured, not judged: the gate
        `export-parity` judges.

    Raises:
        InvalidInput: No module, too few images, a model that the exporter refuses, or a verdict
            on another model.
        MissingDependency: onnx, onnxscript or onnxruntime is not installed.

    Cost: two forward passes of the images, and the exporter's own of two.
    """
    settings = settings or ExportSettings()
    module = classifier.module
    if module is None or len(images) < 2 or path.suffix != ".onnx":
        got = f"{classifier.name}, {len(images)} images and {path.name!r}"
        message = "expected a torch.nn.Module, at least two images and the path of an .onnx file"
        raise InvalidInput(f"{message}, got {got}")
    source = classifier.state_digest()
    verdicts = recorded_verdicts(settings.verdicts, source=source, origin=settings.origin)
    baked = settings.bake_normalization and classifier.normalization is not None
    with classifier.guard():
        examples = _as_given(classifier, images[:2], baked=baked)
        whole = Whole(module, classifier.normalization if baked else None, classifier.output)
        model = graph_of(whole.eval(), examples)
    model.producer_name, model.producer_version = "pytest-fgmf", version("pytest-fgmf")
    sparse = sparsely_stored(model) if settings.storage == "sparse" else []
    digests = digests_of(model)
    normalization = classifier.normalization
    provenance = Provenance(
        graph=digests.digest,
        parts=digests.as_document(),
        source=source,
        model=type(module).__name__,
        bounds=classifier.bounds,
        normalization="none" if normalization is None else "baked" if baked else "outside",
        normalize=None if normalization is None else stated(normalization),
        names={name: _written(place) for name, place in name_map(_values(module), model).items()},
        patterns=patterns_of(module),
        removal="" if settings.removal is None else json_digest(settings.removal.as_document()),
        origin=settings.origin,
        verdicts=verdicts,
        mask_log=settings.mask_log,
        storage=settings.storage,
        versions={name: version(name) for name in ("torch", "onnx", "onnxscript")},
    )
    embed_provenance(model, provenance.text())
    size = len(write_model(model, path))
    artefact = artefact_of(path, classifier, baked=baked or normalization is None)
    with classifier.guard():
        gap = classifier.logits_in_batches(images) - artefact.logits_in_batches(images)
    return Exported(
        path=path,
        provenance=provenance,
        bytes=size,
        logit_gap=float(gap.abs().max()),
        sparse=tuple(sparse),
    )


def artefact_of(path: Path, classifier: Classifier, *, baked: bool) -> Classifier:
    """Return the classifier around a file that takes the same images as the source's classifier.

    Args:
        path: The ``.onnx`` file.
        classifier: The source, for bounds and normalisation.
        baked: Whether the file normalises itself.
    """
    return Classifier(
        path,
        bounds=classifier.bounds,
        normalize=None if baked else classifier.normalization,
        device="cpu",
        batch_size=classifier.batch_size,
    )


class Whole(nn.Module):
    """What is exported: images to logits alone.

    Args:
        module: The model.
        normalization: Done in front of it; None does none.
        output: Name or position of the logits in its output, where that is not clear.
    """

    def __init__(
        self, module: nn.Module, normalization: Normalization | None, output: str | int | None
    ) -> None:
        super().__init__()
        self.module, self.select = module, output
        self.normalized = normalization is not None
        if normalization is not None:
            for name, values in (("mean", normalization.mean), ("std", normalization.std)):
                self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    def forward(self, images: Images) -> torch.Tensor:
        """Images (n, c, h, w) to logits (n, classes)."""
        from fgmf.classifier.outputs import find_logits

        mean: Any
        std: Any
        if self.normalized:
            mean, std = self.mean, self.std
            images = (images - mean.to(images)) / std.to(images)
        output = self.module(images)
        if isinstance(output, torch.Tensor):
            return output
        return find_logits(output, select=self.select, image_count=images.shape[0])


def _as_given(classifier: Classifier, images: Images, *, baked: bool) -> Images:
    """The images as the exported module takes them."""
    examples = images.to(classifier.device, classifier.dtype)
    if classifier.normalization is not None and not baked:
        examples = classifier.normalization.apply(examples)
    return examples


def _values(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def patterns_of(module: nn.Module) -> dict[str, str]:
    """Return the digest of the pattern of zeros of each parameter that has any."""
    pattern = SparsityPattern.of_zeros(module)
    return {name: entry.digest for name, entry in pattern.tensors.items()}


def stated(normalization: Normalization) -> dict[str, list[float]]:
    """Return a normalisation as a provenance states it."""
    return {"mean": list(normalization.mean), "std": list(normalization.std)}


def _written(place: StoredTensor | None) -> str | None:
    if place is None:
        return None
    return place.name + ("^T" if place.transposed else "")
