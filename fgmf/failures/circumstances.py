"""What a measurement ran on: versions, device, and how the model was wrapped."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.classifier import Classifier
    from fgmf.types import Json

MODEL_SETTINGS = ("normalize", "output")
"""Settings that make another function of the same weights."""
_LIBRARIES = ("pytest-fgmf", "torch", "foolbox", "numpy", "pillow")


def circumstances_of(classifier: Classifier) -> dict[str, Json]:
    """Return how a classifier runs its model: what its digest does not cover."""
    normalization = classifier.normalization
    normalize: Json = None
    if normalization is not None:
        normalize = {"mean": list(normalization.mean), "std": list(normalization.std)}
    return {
        "device": str(classifier.device),
        "dtype": str(classifier.dtype).removeprefix("torch."),
        "batch_size": classifier.batch_size,
        "normalize": normalize,
        "output": classifier.output,
    }


def library_versions() -> dict[str, Json]:
    """Return the versions of the libraries that a measurement depends on."""
    versions: dict[str, Json] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def differences(recorded: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    """Say what is not as it was recorded, such as ``torch 2.4.0 -> 2.13.0``.

    Args:
        recorded: Values by name; names that `now` lacks are passed over.
        now: Values by name.
    """
    return [
        f"{name} {recorded[name]} -> {value}"
        for name, value in now.items()
        if name in recorded and recorded[name] != value
    ]
