"""LiteRT files (`.tflite`), for phones and small devices: the one bridge to `litert_torch`.

file     litert_torch.convert, static batch of one, the normalisation baked in
sidecar  FILE.provenance.json: the same provenance as that of an ONNX file, about the file's bytes
parity   the file in the LiteRT interpreter against the source

The format has no place for metadata that every reader keeps, so the provenance lies beside the
file; its digest is logged or signed like any other, and `fgmf verify-export` takes both files.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from fgmf.canonical import write_atomically
from fgmf.classifier.onnx_backend import file_digest
from fgmf.errors import InvalidInput, MissingDependency
from fgmf.export.exporting import Whole
from fgmf.export.provenance import Provenance, recorded_verdicts
from fgmf.export.sidecar import sidecar_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.types import Images, Logits
    from fgmf.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class ExportedLiteRt:
    """A LiteRT file that was written, and its sidecar.

    Attributes:
        path: The file.
        provenance: What the sidecar says; its digest is to be logged or signed.
        bytes: Size of the file.
        logit_gap: Largest absolute difference of a logit from the source, on the given images.
    """

    path: Path
    provenance: Provenance
    bytes: int
    logit_gap: float


def export_litert(
    classifier: Classifier, images: Images, path: Path, *, verdicts: Sequence[Verdict] = ()
) -> ExportedLiteRt:
    """Write a classifier's model as a LiteRT file for one image at a time, with its sidecar.

    Args:
        classifier: Around a ``torch.nn.Module`` of float32; put back as it was.
        images: (n, ...) within the bounds, that the file is held against the source on.
        path: Of the file, ending in ``.tflite``.
        verdicts: Of gates on this very model.

    Raises:
        InvalidInput: No module, no images, or a model that the converter refuses.
        MissingDependency: The extra ``litert`` is not installed.

    Cost: one forward pass of each image through both, and the converter's own.
    """
    module = classifier.module
    if module is None or not len(images) or path.suffix != ".tflite":
        message = "expected a torch.nn.Module, images and the path of a .tflite file"
        raise InvalidInput(f"{message}, got {classifier.name}, {len(images)}, {path.name!r}")
    package = _package("litert_torch")
    source = classifier.state_digest()
    normalization = classifier.normalization
    with classifier.guard():
        whole = Whole(module, normalization, classifier.output).eval()
        try:
            made = package.convert(whole, (images[:1].to(classifier.dtype),))
            path.parent.mkdir(parents=True, exist_ok=True)
            made.export(str(path))
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            message = "expected a model that litert_torch converts"
            raise InvalidInput(f"{message}, got {type(error).__name__}: {reason}") from error
        gap = classifier.logits_in_batches(images) - litert_logits(path, images)
    digest = file_digest(path)
    provenance = Provenance(
        graph=digest,
        parts={"file": digest},
        source=source,
        model=type(module).__name__,
        bounds=classifier.bounds,
        normalization="none" if normalization is None else "baked",
        verdicts=recorded_verdicts(verdicts, source=source),
        versions={name: version(name) for name in ("torch", "litert-torch")},
    )
    write_atomically(sidecar_path(path), provenance.text().encode())
    return ExportedLiteRt(
        path=path,
        provenance=provenance,
        bytes=path.stat().st_size,
        logit_gap=float(gap.abs().max()),
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
        InvalidInput: The interpreter refuses file or images.

    Cost: n forward passes.
    """
    run = _interpreter(path)
    return torch.cat([run(image[None]) for image in images])


def litert_runner(path: Path, images: Images) -> Callable[[], object]:
    """Return a function that runs a file on the same image each time, for timing.

    Args:
        path: The ``.tflite`` file, of batch one; it gets an interpreter of its own.
        images: (1, ...) as the file takes it.

    Raises:
        MissingDependency: ai-edge-litert is not installed.
        InvalidInput: The interpreter refuses the file.
    """
    run = _interpreter(path)
    return lambda: run(images)


def _interpreter(path: Path) -> Any:  # noqa: ANN401 - a function of images
    package = _package("ai_edge_litert.interpreter")
    try:
        interpreter = package.Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except Exception as error:
        raise InvalidInput(f"expected a LiteRT file in {path}: {error!s:.120}") from error
    given = interpreter.get_input_details()[0]["index"]
    wanted = interpreter.get_output_details()[0]["index"]

    def run(images: Images) -> Logits:
        try:
            interpreter.set_tensor(given, images.detach().cpu().numpy())
            interpreter.invoke()
        except Exception as error:
            shape = tuple(images.shape)
            raise InvalidInput(f"expected images that {path.name} takes, got {shape}") from error
        return torch.from_numpy(interpreter.get_tensor(wanted).copy())

    return run


def _package(name: str) -> Any:  # noqa: ANN401 - an untyped package
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        message = f'expected {name} for LiteRT files; pip install "pytest-fgmf[litert]"'
        raise MissingDependency(message) from error
