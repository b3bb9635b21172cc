"""INT8 files, made by ONNX Runtime from exported ones: another model, which is gated on its own.

quantized   weights and activations as 8-bit numbers, ranges from calibration images (static, QDQ)
provenance  that of the float file, with the new graph and `quantization`; patterns and names of
            weights are gone with the weights

Rounding is what a robustness gate must see: `export-parity` measures agreement under attack, with
a `max_logit_gap` that the user finds acceptable.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgmf.errors import InvalidInput, MissingDependency
from fgmf.export.onnx_canonical import digests_of
from fgmf.export.onnx_files import embed_provenance, provenance_text, read_model, write_model
from fgmf.export.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """An INT8 file that was written.

    Attributes:
        path: The file.
        provenance: What it says about itself; its digest is to be logged or signed.
        bytes: Its size.
    """

    path: Path
    provenance: Provenance
    bytes: int


def quantize_int8(source: Path, images: Images, path: Path) -> Quantized:
    """Write the INT8 form of an exported file.

    Args:
        source: A float file with provenance, as `export_onnx` writes it, stored densely.
        images: (n, ...) calibration images as the file takes them: training images, no test ones.
        path: Of the new file, ending in ``.onnx``.

    Raises:
        InvalidInput: The source has no provenance or is INT8 already, no images, or ONNX Runtime
            refuses the file.
        StaleEvidence: The source's provenance is none.
        MissingDependency: onnxruntime is not installed.

    Cost: one pass of each image through the file.
    """
    text = provenance_text(read_model(source))
    if text is None or not len(images) or path.suffix != ".onnx":
        message = "expected an exported file with provenance, images, and the path of an .onnx file"
        raise InvalidInput(f"{message}, got {source.name}, {len(images)} images, {path.name!r}")
    provenance = Provenance.from_text(text)
    if provenance.quantization or provenance.storage != "dense":
        message = "expected a float file with dense storage"
        got = provenance.quantization or provenance.storage
        raise InvalidInput(f"{message}, got {got}; export it again")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "int8.onnx"
        _quantize(source, images, made)
        model = read_model(made)
    digests = digests_of(model)
    new = replace(
        provenance,
        graph=digests.digest,
        parts=digests.as_document(),
        names=dict.fromkeys(provenance.names),
        patterns={},
        quantization=f"int8, static, {len(images)} images",
    )
    embed_provenance(model, new.text())
    return Quantized(path=path, provenance=new, bytes=len(write_model(model, path)))


class _Reader:
    """Calibration images, one by one, in the form that ONNX Runtime asks for."""

    def __init__(self, name: str, images: Images) -> None:
        self._feeds: Iterator[dict[str, np.ndarray[Any, Any]]] = iter(
            [{name: image[None].detach().cpu().numpy()} for image in images]
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._feeds


def _quantize(source: Path, images: Images, made: Path) -> None:
    try:
        from onnxruntime import quantization
    except ImportError as error:
        message = 'expected onnxruntime to quantise; pip install "pytest-fgmf[export]"'
        raise MissingDependency(message) from error

    class Reader(_Reader, quantization.CalibrationDataReader):  # type: ignore[misc] # untyped
        """As ONNX Runtime asks for it, by its class."""

    logger = logging.getLogger()
    before = logger.level
    try:
        logger.setLevel(logging.ERROR)  # it advises a preprocessing that exported files do not need
        name = read_model(source).graph.input[0].name
        quantization.quantize_static(str(source), str(made), Reader(name, images), per_channel=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInput(f"expected a file that ONNX Runtime quantises, got: {reason}") from error
    finally:
        logger.setLevel(before)
