"""LiteRT files (`.tflite`), for phones and small devices: the one bridge to `litert_torch`.

file     litert_torch.convert, static batch of one, the normalisation baked in
storage  dense, or weights with many zeros by their places (`litert_sparse`)
sidecar  FILE.provenance.json: the same provenance as that of an ONNX file, about the file's bytes
parity   the file in the LiteRT interpreter against the source

The format has no place for metadata that every reader keeps, so the provenance lies beside the
file; its digest is logged or signed like any other, and `fgmf verify-export` takes both files.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fgmf.canonical import json_digest, write_atomically
from fgmf.classifier.litert_backend import LiteRtModel
from fgmf.classifier.onnx_backend import file_digest
from fgmf.errors import InvalidInput, MissingDependency
from fgmf.export.exporting import ExportSettings, Whole, patterns_of, stated
from fgmf.export.litert_sparse import sparsely_stored
from fgmf.export.provenance import Provenance, recorded_verdicts
from fgmf.export.sidecar import sidecar_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier
    from fgmf.types import Images, Logits


@dataclass(frozen=True, kw_only=True)
class ExportedLiteRt:
    """A LiteRT file that was written, and its sidecar.

    Attributes:
        path: The file.
        provenance: What the sidecar says; its digest is to be logged or signed.
        bytes: Size of the file.
        logit_gap: Largest absolute difference of a logit from the source, on the given images.
        sparse: Weights that are stored sparsely.
    """

    path: Path
    provenance: Provenance
    bytes: int
    logit_gap: float
    sparse: tuple[str, ...] = ()


def export_litert(
    classifier: Classifier, images: Images, path: Path, settings: ExportSettings | None = None
) -> ExportedLiteRt:
    """Write a classifier's model as a LiteRT file for one image at a time, with its sidecar.

    Args:
        classifier: Around a ``torch.nn.Module`` of float32; put back as it was.
        images: (n, ...) within the bounds, that the file is held against the source on.
        path: Of the file, ending in ``.tflite``; replaced as a whole.
        settings: Storage, verdicts, mask log, removal; the normalisation is always baked in.

    Raises:
        InvalidInput: No module, no images, or a model that the converter refuses.
        MissingDependency: The extra ``litert`` is not installed.

    Cost: one forward pass of each image through both, and the converter's own.
    """
    module = classifier.module
    if module is None or not len(images) or path.suffix != ".tflite":
        message = "expected a torch.nn.Module, images and the path of a .tflite file"
        raise InvalidInput(f"{message}, got {classifier.name}, {len(images)}, {path.name!r}")
    settings = settings or ExportSettings()
    if not settings.bake_normalization and classifier.normalization is not None:
        raise InvalidInput("expected a normalisation that is baked in, as LiteRT files have it")
    package = _package("litert_torch")
    source = classifier.state_digest()
    verdicts = recorded_verdicts(settings.verdicts, source=source, origin=settings.origin)
    normalization = classifier.normalization
    with classifier.guard():
        whole = Whole(module, normalization, classifier.output).eval()
        contents = _converted(package, whole, images[:1].to(classifier.dtype))
    sparse: tuple[str, ...] = ()
    if settings.storage == "sparse":
        contents, sparse = sparsely_stored(contents)
    write_atomically(path, contents)
    digest = file_digest(path)
    provenance = Provenance(
        graph=digest,
        parts={"file": digest},
        source=source,
        model=type(module).__name__,
        bounds=classifier.bounds,
        normalization="none" if normalization is None else "baked",
        normalize=None if normalization is None else stated(normalization),
        patterns=patterns_of(module),
        removal="" if settings.removal is None else json_digest(settings.removal.as_document()),
        origin=settings.origin,
        verdicts=verdicts,
        mask_log=settings.mask_log,
        storage=settings.storage,
        versions={name: version(name) for name in ("torch", "litert-torch")},
    )
    write_atomically(sidecar_path(path), provenance.text().encode())
    with classifier.guard():
        gap = classifier.logits_in_batches(images) - litert_logits(path, images)
    return ExportedLiteRt(
        path=path,
        provenance=provenance,
        bytes=path.stat().st_size,
        logit_gap=float(gap.abs().max()),
        sparse=sparse,
    )


def litert_logits(path: Path, images: Images) -> Logits:
    """Run a LiteRT file on images, one by one.

    Args:
        path: The ``.tflite`` file, of batch one.
        images: (n, ...) as the file takes them.

    Returns:
        (n, classes) on the CPU.

    Raises:
        MissingDependency: ai-edge-litert is not installed.
        InvalidInput: The interpreter refuses file or images, or the file has several outputs.

    Cost: n forward passes.
    """
    found = LiteRtModel(path)(images)
    if not isinstance(found, torch.Tensor):
        raise InvalidInput(f"expected one output of {path.name}, got {', '.join(found)}")
    return found


def litert_runner(path: Path, images: Images) -> Callable[[], object]:
    """Return a function that runs a file on the same images each time, for timing.

    Args:
        path: The ``.tflite`` file; it gets an interpreter of its own.
        images: (1, ...) as the file takes it.

    Raises:
        MissingDependency: ai-edge-litert is not installed.
        InvalidInput: The interpreter refuses file or image.
    """
    return LiteRtModel(path).runner(images)


def _converted(package: Any, whole: Whole, image: Images) -> bytes:  # noqa: ANN401 - untyped
    """The file's bytes; the converter writes files only."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.tflite"
        try:
            # The converter tells of torch's changes, and of each of its steps.
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                package.convert(whole, (image,)).export(str(made))
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            message = "expected a model that litert_torch converts"
            raise InvalidInput(f"{message}, got {type(error).__name__}: {reason}") from error
        return made.read_bytes()


def _package(name: str) -> Any:  # noqa: ANN401 - an untyped package
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        message = f'expected {name} for LiteRT files; pip install "pytest-fgmf[litert]"'
        raise MissingDependency(message) from error
