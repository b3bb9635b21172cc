"""Pictures that gates wrote, for reports that hold them: only PNG files below the root."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fgmf.verdict import Verdict

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES: Final = 8 * 2**20
"""Of all pictures together: a page that a mail program refuses shows nothing."""


def pictures_of(verdicts: Sequence[Verdict], *, root: Path) -> dict[str, str]:
    """Read the pictures among the artifacts of gates.

    Args:
        verdicts: In the order in which they are shown.
        root: Directory that artifact paths are relative to.

    Returns:
        A ``data:`` address by artifact path. What is missing, is no PNG, lies outside the root
        (through a link, too), or would make the page larger than 8 MiB is left out.
    """
    inside, left = root.resolve(), _MOST_BYTES
    found: dict[str, str] = {}
    for name in (name for verdict in verdicts for name in verdict.artifacts):
        path = (inside / name).resolve()
        if name in found or path.suffix != ".png" or not path.is_relative_to(inside):
            continue
        try:
            contents = path.read_bytes() if path.stat().st_size <= left else b""
        except OSError:
            continue
        if contents.startswith(PNG_SIGNATURE):
            left -= len(contents)
            found[name] = f"data:image/png;base64,{base64.b64encode(contents).decode()}"
    return found
