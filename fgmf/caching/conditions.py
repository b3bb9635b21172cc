"""The key of a run: a digest of all that could change what becomes of an image.

Not in it, because no outcome depends on them: the batch size, the number of images, thresholds, the
name of the gate (its seed is), restarts of other gates, threads and processes. Rounding differs
with batch sizes and threads; what that means is in docs/measurements.md.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from fgmf.caching.code import LoadedCode, package_digest
from fgmf.caching.contents import contents_digest
from fgmf.canonical import canonical_json, json_digest
from fgmf.errors import NotCacheable

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.robustness import RobustnessPlan
    from fgmf.types import Json

CACHE_SCHEMA: Final = "fgmf-cache/1"
"""Version of the files; a change of what is cached takes the next number."""
_EXTERNAL: Final = b"location"
"""What an ONNX file says of each tensor that lies in another file."""


def run_digest(classifier: Classifier, plan: RobustnessPlan, *, rule: tuple[str, int]) -> str:
    """Digest of the conditions of a run.

    Args:
        classifier: Outside its guard, as the user made it.
        plan: What is measured.
        rule: Kind and k of the criterion; labels and targets belong to the images.

    Returns:
        64 hexadecimal digits.

    Raises:
        NotCacheable: Something that could change outcomes cannot be told apart from what was.

    Cost: a copy of the model's state to the CPU; reads of own source files.
    """
    document: dict[str, Json] = {
        "schema": CACHE_SCHEMA,
        "model": _model(classifier),
        "classifier": {
            "bounds": list(classifier.bounds),
            "normalize": repr(classifier.normalization),
            "dtype": str(classifier.dtype),
            "output": classifier.output,
        },
        "criterion": list(rule),
        "threat": [plan.threat.norm, plan.threat.epsilon, *plan.threat.bounds],
        "attacks": _attacks(plan),
        "sources": {**plan.sources.digests},
        "seed": str(plan.seed),
        "package": package_digest(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "torch": f"{torch.__version__} {torch.version.cuda} {torch.version.hip}",
        "device": _device(classifier.device),
        "precision": _precision(),
    }
    return json_digest(document).removeprefix("sha256:")


def image_digest(*, key: str, logits: str, label: int, target: int | None, company: str) -> str:
    """Digest of what an outcome depends on that differs between the images of a run.

    Args:
        key: Digest of the image.
        logits: Digest of its clean logits, judged alone.
        label: True class.
        target: Target class, if the criterion has one.
        company: Digest of the other images, where attacks start from those; else empty.

    Returns:
        64 hexadecimal digits.
    """
    document: list[Json] = [key, logits, label, target, company]
    return json_digest(document).removeprefix("sha256:")


def _model(classifier: Classifier) -> dict[str, Json]:
    code = LoadedCode()
    state = classifier.state_digest()
    if classifier.module is not None:
        contents = contents_digest(classifier.module, code)
        sources: dict[str, Json] = dict(code.sources)
        return {
            "state": state,
            "contents": contents,
            "sources": sources,
            "versions": code.versions(),
        }
    if classifier.source is None:
        raise NotCacheable("the model is an opaque callable")
    if _EXTERNAL in classifier.source.read_bytes():
        raise NotCacheable("the ONNX file keeps weights in other files")
    engine = "ai_edge_litert" if classifier.source.suffix == ".tflite" else "onnxruntime"
    return {"state": state, "versions": code.versions(also=(engine,))}


def _attacks(plan: RobustnessPlan) -> list[Json]:
    rows: list[Json] = []
    for attack in plan.attacks:
        row: dict[str, Any] = {
            "label": attack.label,
            "entry": repr(attack.entry),
            "parameters": dict(attack.parameters),
            "restarts": attack.restarts,
        }
        canonical_json(row)  # refuses what is no JSON
        rows.append(row)
    return rows


def _device(device: torch.device) -> dict[str, Json]:
    if device.type == "cuda":
        return {"class": "cuda", "name": torch.cuda.get_device_name(device)}
    name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_processor()}"
    return {"class": device.type, "name": name}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _precision() -> dict[str, Json]:
    """Switches of torch that change arithmetic, gradients or results."""
    return {
        "default": str(torch.get_default_dtype()),
        "matmul": torch.get_float32_matmul_precision(),
        "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "denormal": float(torch.tensor(1e-310, dtype=torch.float64) * 1.0) == 0.0,
        "mkldnn": bool(torch.backends.mkldnn.enabled),
        "cudnn": bool(torch.backends.cudnn.enabled),
        "autocast": [torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")],
    }
