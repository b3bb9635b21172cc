"""Export: ONNX files that say where they come from, and the proof that they are what was gated.

exported = export_onnx(classifier, images, path)
head     = record_export(log, exported.provenance)       keep it elsewhere
report   = verify_export(path, Anchors(log=log, head=head.digest))
"""

from __future__ import annotations

from fgmf.export.anchoring import Anchors, record_export, sign_export
from fgmf.export.exporting import Exported, ExportSettings, artefact_of, export_onnx
from fgmf.export.provenance import MaskLogReference, Provenance
from fgmf.export.quantising import Quantized, quantize_int8
from fgmf.export.verifying import ExportReport, verify_export

__all__ = [
    "Anchors",
    "ExportReport",
    "ExportSettings",
    "Exported",
    "MaskLogReference",
    "Provenance",
    "Quantized",
    "artefact_of",
    "export_onnx",
    "quantize_int8",
    "record_export",
    "sign_export",
    "verify_export",
]
