"""What a training was: digests of code, data and recipe, hardware, versions, result.

The manifest stands beside the weights as `manifest.json`. Times and hardware are facts for readers;
the identity (recipe, data, first weights) decides whether a training may go on.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from fgmf import __version__
from fgmf.canonical import json_digest, tensor_digest
from fgmf.errors import StaleEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.datasets import Samples
    from fgmf.pipeline.loading import TrainingPlan

FORMAT: Final = "fgmf-training/2"
_NOT_THE_TRAINING: Final = ("output", "writing")
_PARTS: Final = ("state", "recipe", "recipe_file", "images", "identity", "sessions", "result")


def identity_of(
    plan: TrainingPlan, samples: Samples, model: torch.nn.Module, teacher: str = ""
) -> dict[str, str]:
    """Return what a training is, by name: another one must not go on from its checkpoint.

    Args:
        plan: Its recipe; where and how often it writes does not count.
        samples: Its images.
        model: With its first weights.
        teacher: Digest of the weights that it learns from; empty where there are none.
    """
    tables = {k: v for k, v in plan.tables.items() if k not in _NOT_THE_TRAINING}
    return {
        "recipe": json_digest(json.loads(json.dumps(tables, default=str))),
        "images": tensor_digest(samples.images),
        "labels": tensor_digest(samples.labels),
        "first weights": weights_digest(model.state_dict()),
        "teacher": teacher,
    }


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """Return one digest of all tensors of a state, by name."""
    return json_digest({name: tensor_digest(value) for name, value in state.items()})


def code_digest(plan: TrainingPlan) -> str:
    """Return the digest of this library's sources, and of the modules of the plan's factories."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    agents = (agent.factory for agent in plan.model.agents)
    for factory in (plan.data.factory, plan.model.factory, *agents):
        place = None if factory is None else _file_of(factory, plan.path.parent)
        if place is not None:
            digest.update(str(factory).encode() + b"\0" + place.read_bytes())
    return "sha256:" + digest.hexdigest()


def surroundings() -> dict[str, Any]:
    """Return hardware and versions, for readers."""
    cuda = torch.cuda.is_available()
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if cuda else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "fgmf": __version__,
    }


def changes_since(session: Mapping[str, Any], code: str) -> list[str]:
    """Name what is other than in a session of before, and may round otherwise."""
    here = {"code": code, **surroundings()}
    names = ("code", "threads", "torch", "machine", "accelerator")
    return [name for name in names if session.get(name) != here[name]]


def check_same(kept: Mapping[str, str], own: Mapping[str, str], path: Path) -> None:
    """Refuse to go on in the directory of another training.

    Raises:
        StaleEvidence: An identity differs from the other.
    """
    changed = [name for name in sorted({*kept, *own}) if kept.get(name) != own.get(name)]
    if changed:
        raise StaleEvidence(
            f"expected this training in {path}, got one that differs in {', '.join(changed)}; "
            "name another output, or start anew (--restart)"
        )


def now() -> str:
    """Return the time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Read a manifest; None where there is none.

    Raises:
        StaleEvidence: It is damaged, or of another form.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StaleEvidence(
            f"expected a manifest at {path}, got a file that cannot be read ({error}); put it "
            "back, or move the directory away"
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StaleEvidence(
            f"expected a manifest of the form {FORMAT} at {path}, got another; start anew"
        )
    lacking = [name for name in _PARTS if name not in document]
    if lacking:
        raise StaleEvidence(
            f"expected a whole manifest at {path}, got one without {', '.join(lacking)}"
        )
    return document


def _file_of(factory: str, directory: Path) -> Path | None:
    local = directory / (factory.partition(":")[0].replace(".", "/") + ".py")
    if local.is_file():
        return local
    try:
        spec = importlib.util.find_spec(factory.partition(":")[0])
    except (ImportError, ValueError):
        return None
    there = spec is not None and spec.has_location and spec.origin is not None
    return Path(str(spec.origin)) if there and spec is not None else None
