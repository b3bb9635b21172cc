"""`fgmf export`: the model of a gate file as a file to ship, with its provenance.

model of the gate file  ->  dead units out (--compact)  ->  .onnx or .tflite  ->  INT8 (--int8)
verdicts of a report, the mask log's head           ->  provenance in or beside the file
digest of the provenance                            ->  mask log (--log), signature (--sign)
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.opening import open_gate_file
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.export import ExportSettings, Provenance
    from fgmf.types import Images
    from fgmf.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """The command line of `fgmf export`.

    Attributes:
        output: The file that is written.
        gate_file: The gate file, or its directory; None looks here.
        model: Name of the model, where the gate file has several.
        images: So many of the gate file's images the file is held against its source on.
        compact: Take dead units out first.
        accept_refusals: Leave dead units that cannot be taken out.
        storage: Of weights with many zeros.
        normalization: Whether the file normalises images itself.
        int8: Quantise the file.
        calibration: Images for that: an ``.npz`` file or a folder.
        report: JSON report whose verdicts on this model are recorded.
        log: Mask log of the run; it names the file afterwards.
        sign: File of a secret key; the signature lies beside the file.
    """

    output: Path
    gate_file: Path | None = None
    model: str | None = None
    images: int = 64
    compact: bool = False
    accept_refusals: bool = False
    storage: Literal["dense", "sparse"] = "dense"
    normalization: Literal["baked", "outside"] = "baked"
    int8: bool = False
    calibration: Path | None = None
    report: Path | None = None
    log: Path | None = None
    sign: Path | None = None


def run_export(request: ExportRequest) -> ExitCode:
    """Write the file, and say what it is.

    Raises:
        WrongUse: Options that do not go together.
        FgmfError: The model cannot be loaded, compacted or exported.
    """
    _check_options(request)
    gate_file = open_gate_file(request.gate_file)
    from fgmf.running import GateRun, importing_from

    run = GateRun(gate_file)
    with importing_from(gate_file.path.parent):
        classifier = run.classifier(request.model)
        if classifier.module is None:
            message = "expected a PyTorch model to export"
            raise InvalidInput(f"{message}, got {classifier.name}, which is exported or opaque")
        images = run.samples().images[: request.images]
        classifier, settings = _prepared(classifier, images, request)
        provenance = _written(classifier, images, request, settings)
    _anchor(provenance, request)
    return ExitCode.PASSED


def _check_options(request: ExportRequest) -> None:
    suffix = request.output.suffix
    if suffix not in {".onnx", ".tflite"}:
        raise WrongUse(f"expected the path of an .onnx or .tflite file, got {request.output.name}")
    if request.int8 and (suffix != ".onnx" or request.storage != "dense"):
        raise WrongUse("--int8 makes dense .onnx files; leave --storage away")
    if request.int8 != (request.calibration is not None):
        raise WrongUse("--int8 needs --calibration, images like those of the training, and only it")
    if suffix == ".tflite" and request.normalization == "outside":
        raise WrongUse("--normalization outside goes with .onnx files only")
    if request.accept_refusals and not request.compact:
        raise WrongUse("--accept-refusals goes with --compact")


def _prepared(
    classifier: Classifier, images: Images, request: ExportRequest
) -> tuple[Classifier, ExportSettings]:
    """The classifier to export, and what its file says of it."""
    from fgmf.export import ExportSettings

    origin, removal = "", None
    gated = classifier.state_digest()
    if request.compact:
        classifier, removal = _compacted(classifier, images, request)
        origin = gated
    settings = ExportSettings(
        bake_normalization=request.normalization == "baked",
        storage=request.storage,
        verdicts=_verdicts(request, gated),
        mask_log=_reference(request),
        removal=removal,
        origin=origin,
    )
    return classifier, settings


def _compacted(
    classifier: Classifier, images: Images, request: ExportRequest
) -> tuple[Classifier, Any]:
    from fgmf.sparsity import compact

    module = classifier.module
    if module is None:  # refused before
        raise InvalidInput("expected a PyTorch model to compact, got none")
    shown = images.to(classifier.device, classifier.dtype)
    if classifier.normalization is not None:
        shown = classifier.normalization.apply(shown)
    with classifier.guard():  # on its device
        made = compact(module, shown, accept_refusals=request.accept_refusals)
    say(
        f"compacted: {made.parameters_before} parameters to {made.parameters}, outputs within "
        f"{made.output_gap:.1e} on {len(images)} images"
    )
    for group, (gone, size) in made.removed.items():
        say(f"    {group}: {gone} of {size} taken out")
    for layer, reason in made.refused.items():
        say(f"    {layer}: dead units stay, {reason}")
    if not made.removed:
        say("note: no unit is dead; zeros that are left make a file smaller at best, not faster")
    return classifier.around(made.model), made.plan


def _written(
    classifier: Classifier, images: Images, request: ExportRequest, settings: ExportSettings
) -> Provenance:
    from fgmf.export import export_onnx, quantize_int8

    output = request.output
    if output.suffix == ".tflite":
        from fgmf.export.litert import export_litert

        lite = export_litert(classifier, images, output, settings)
        _say_written(output, lite.bytes, lite.logit_gap, len(images))
        _say_storage(request, lite.sparse)
        return lite.provenance
    if not request.int8:
        exported = export_onnx(classifier, images, output, settings)
        _say_written(output, exported.bytes, exported.logit_gap, len(images))
        _say_storage(request, exported.sparse)
        return exported.provenance
    shown = _calibration(request)
    if classifier.normalization is not None and not settings.bake_normalization:
        shown = classifier.normalization.apply(shown)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float.onnx"
        export_onnx(classifier, images, whole, settings)
        quantized = quantize_int8(whole, shown, output)
    gap = _gap(classifier, images, output, settings)
    _say_written(output, quantized.bytes, gap, len(images))
    say("note: rounding makes it another model; gate it on its own (export-parity, black-box)")
    return quantized.provenance


def _gap(classifier: Classifier, images: Images, output: Path, settings: ExportSettings) -> float:
    from fgmf.export import artefact_of

    baked = settings.bake_normalization or classifier.normalization is None
    artefact = artefact_of(output, classifier, baked=baked)
    with classifier.guard():
        apart = classifier.logits_in_batches(images) - artefact.logits_in_batches(images)
    return float(apart.abs().max())


def _calibration(request: ExportRequest) -> Images:
    from fgmf.datasets import collect_samples

    return collect_samples(request.calibration).images


def _verdicts(request: ExportRequest, gated: str) -> tuple[Verdict, ...]:
    """Verdicts of the report on this very model; others are named and left out."""
    if request.report is None:
        return ()
    from fgmf.supply_chain.report import read_report

    found = read_report(request.report).verdicts
    own = tuple(v for v in found if v.evidence.get("model_digest") == gated)
    for verdict in found:
        if verdict not in own:
            say(f"note: the verdict of {verdict.gate} is not about this model, and not recorded")
    if not own:
        message = f"expected verdicts on this model ({gated:.23}…) in {request.report.name}"
        raise InvalidInput(f"{message}, got none; gate it as it is now")
    say(f"verdicts recorded: {', '.join(f'{v.gate} {v.outcome}' for v in own)}")
    return own


def _reference(request: ExportRequest) -> Any:  # noqa: ANN401 - torch stays out of this module
    if request.log is None:
        return None
    from fgmf.export import MaskLogReference
    from fgmf.mask_log.keeping import current_head
    from fgmf.mask_log.manifest import read_manifest
    from fgmf.mask_log.places import open_log

    directory = open_log(request.log)
    head = current_head(directory, read_manifest(directory))
    return MaskLogReference(run=head.run, head=head.digest)


def _anchor(provenance: Provenance, request: ExportRequest) -> None:
    """Put the digest of the provenance where the file's writer cannot reach."""
    from fgmf.export import record_export, sign_export

    signer = None
    if request.sign is not None:
        from fgmf.mask_log.signing import Signer

        signer = Signer.from_file(request.sign)
    say(f"provenance: {provenance.digest}")
    if request.log is not None:
        head = record_export(request.log, provenance, signer=signer)
        say(f"mask log: named in it; keep its head elsewhere: {head.digest}")
    if signer is not None:
        say(f"signature: {sign_export(request.output, provenance, signer)}")
    if request.log is None and signer is None:
        say("note: nothing outside of the file stands behind it; --log or --sign changes that")


def _say_written(path: Path, size: int, gap: float, count: int) -> None:
    say(f"written: {path}, {size} bytes, logits within {gap:.1e} of the model's on {count} images")


def _say_storage(request: ExportRequest, sparse: tuple[str, ...]) -> None:
    if request.storage == "sparse":
        say(
            f"stored sparsely: {len(sparse)} tensors; a record of their zeros, no speed: engines "
            "fill them when they load the file (docs/export.md says from when on it is smaller)"
        )
