"""Evidence to save and load in tests of `fgmf.failures`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.failures import save_failures
from fgmf.failures.layout import bytes_digest, record_digest

if TYPE_CHECKING:
    from pathlib import Path


class Evidence:
    """Broken images, the recipe that made them, and ways to write them."""

    def __init__(self) -> None:
        self.recipe: dict[str, Any] = {
            "specification": {"kind": "robustness", "norm": "linf", "epsilon": "8/255"},
            "gate_seed": 2**62 + 1,
            "model_digest": "sha256:model",
            "data_digest": "sha256:data",
            "threat": {"norm": "linf", "epsilon": 0.1, "bounds": [0.0, 1.0]},
            "library_versions": {"torch": "2"},
            "command": "fgmf check --gate robust",
        }

    def broken(self, count: int, shape: tuple[int, ...] = (1, 8, 8)) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(3)
        images = torch.rand((count, *shape), generator=generator)
        signs = torch.rand((count, *shape), generator=generator) * 2 - 1
        return {
            "images": images,
            "adversarial": (images + 0.09 * signs).clamp(0, 1),
            "labels": torch.arange(count) % 10,
            "predicted": (torch.arange(count) + 1) % 10,
            "dataset_indices": [7 * row for row in range(count)],
            "attack_names": ["pgd"] * count,
        }

    def save(
        self, directory: Path, count: int = 5, gate: str = "robust", **changes: Any
    ) -> tuple[Path, ...]:
        arguments = self.broken(count) | {"recipe": self.recipe} | changes
        return save_failures(directory, gate=gate, **arguments)

    def seal(self, directory: Path, **changes: Any) -> None:
        """Rewrite the record as a forger would: with digests that fit."""
        path = directory / "repro.json"
        record = json.loads(path.read_text()) | changes
        record["arrays"]["digest"] = bytes_digest((directory / "examples.npz").read_bytes())
        record["digest"] = record_digest(record)
        path.write_text(json.dumps(record))


@pytest.fixture
def evidence() -> Evidence:
    return Evidence()
