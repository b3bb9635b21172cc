"""Where the evidence of a gate lies, and how its record is sealed."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import InvalidInput
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.types import Json

FAILURE_SCHEMA: Final = "fgmf-failure/2"
"""Version of the saved evidence; a breaking change takes the next number."""
EXAMPLES_ONLY_SCHEMA: Final = "fgmf-failure/1"
"""Evidence that did not yet hold what a repeated attack needs; its examples are still shown."""

PICTURE: Final = "broken.png"
ARRAYS: Final = "examples.npz"
RECORD: Final = "repro.json"
IGNORE: Final = ".gitignore"
HOME: Final = ".fgmf"
"""Directory of everything that gates write; it ignores itself in git, but for baselines."""
OLD_HOME_IGNORES: Final = frozenset({b"*\n"})
"""What earlier versions wrote to the home's ``.gitignore``, before there were baselines."""
HOME_IGNORE: Final = b"*\n!/baselines/\n!/baselines/**\n"
FILES: Final = frozenset({PICTURE, ARRAYS, RECORD, IGNORE})

IMAGE_ARRAYS: Final = ("images", "adversarial")
INDEX_ARRAYS: Final = ("labels", "predicted", "dataset_indices")
START_ARRAY: Final = "starts"

RECIPE_KEYS: Final = (
    "specification",
    "gate_seed",
    "model_digest",
    "data_digest",
    "threat",
    "library_versions",
    "command",
)
"""What a recipe must hold: enough to know what was run."""

REPEAT: Final = "repeat"
"""What a recipe holds besides if the attack can be repeated; see `fgmf.failures.repeating`."""
CIRCUMSTANCES: Final = "circumstances"
GATE_FILE: Final = "gate_file"

_PLAIN_NAME = re.compile(r"[a-z0-9]([a-z0-9@=._-]{0,62}[a-z0-9@=_-])?")
_DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def directory_name(gate: str) -> str:
    """Return the directory name of a gate's evidence.

    Args:
        gate: Any text.

    Returns:
        The name itself where every file system takes it as it is (short, lower case, no
        separators); otherwise its harmless part, ``~``, and 16 digits of its SHA-256. No plain
        name has a ``~``, so two gates never share a directory.
    """
    if _PLAIN_NAME.fullmatch(gate) and not _DEVICE_NAME.fullmatch(gate):
        return gate
    digest = hashlib.sha256(gate.encode("utf-8", errors="surrogatepass")).hexdigest()
    harmless = re.sub(r"[^a-z0-9@=-]+", "_", gate.lower())[:40].strip("_-") or "gate"
    return f"{harmless}~{digest[:16]}"


def threat_of(recipe: Mapping[str, Json]) -> ThreatModel:
    """Return the threat model that a recipe names.

    Raises:
        InvalidInput: It names none.
    """
    threat: Any = recipe["threat"]
    try:
        lower, upper = (float(bound) for bound in threat["bounds"])
        return ThreatModel(norm=threat["norm"], epsilon=threat["epsilon"], bounds=(lower, upper))
    except (KeyError, TypeError, ValueError) as error:
        message = f"expected a recipe's threat with norm, epsilon and bounds, got {threat!r}"
        raise InvalidInput(f"{message} ({error})") from None


def bytes_digest(contents: bytes) -> str:
    """Return ``sha256:<hex>`` of some bytes."""
    return "sha256:" + hashlib.sha256(contents).hexdigest()


def record_digest(record: Mapping[str, Json]) -> str:
    """Return the digest of a record without its own `digest`.

    Seeds have 63 bits, more than RFC 8785 allows in a number, so this is sorted compact JSON.

    Raises:
        InvalidInput: The record holds something that is not JSON.
    """
    contents = {key: value for key, value in record.items() if key != "digest"}
    try:
        text = json.dumps(contents, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        message = f"expected a recipe of plain JSON with finite numbers, got: {error}"
        raise InvalidInput(message) from None
    return bytes_digest(text.encode())
