"""Names under which items and reports carry what the plugin knows; nothing is imported here."""

from __future__ import annotations

from typing import Final

import pytest

RECORDS_ATTRIBUTE: Final = "fgmf_records"
"""Of a report: its verdicts as JSON texts, which cross from an xdist worker."""

PENDING_RECORDS: Final = pytest.StashKey[list[str]]()
"""Of an item: verdicts that no report carries yet."""

GATED: Final = pytest.StashKey[bool]()
"""Of an item: it has measured a gate."""
