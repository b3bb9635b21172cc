"""Failures as evidence: broken images on disk, and running them again.

`layout` names the files, `saving` writes them (`picture` draws), `loading` reads them and
trusts nothing. `replaying` holds them against a model: `examples` shows what was saved,
`repeating` repeats the attack, `comparing` judges. `circumstances` is what a run stood on.
"""

from __future__ import annotations

from fgmf.failures.layout import FAILURE_SCHEMA, directory_name
from fgmf.failures.loading import SavedFailures, load_failures
from fgmf.failures.replaying import replay
from fgmf.failures.saving import discard_failures, save_failures

__all__ = [
    "FAILURE_SCHEMA",
    "SavedFailures",
    "directory_name",
    "discard_failures",
    "load_failures",
    "replay",
    "save_failures",
]
