"""The mask log: which mask was applied to which input by which weights, as evidence.

    with MaskLog(path).attach(model) as log:     every mask that a layer of the model applies
        model(images)
    report = verify_log(path, VerifySettings(head=...))

`attaching` writes through `writing` (one stream per process), `verifying` reads; what a record, a
row, a head is stands in `records`, `rows`, `heads`. Reading and verifying need no torch.
"""

from __future__ import annotations

from fgmf.mask_log.attaching import LogContents, MaskLog
from fgmf.mask_log.heads import Head
from fgmf.mask_log.looks import MaskLook
from fgmf.mask_log.manifest import Expectation, Manifest
from fgmf.mask_log.report import LogOutcome, LogReport, Trouble
from fgmf.mask_log.settings import WriterSettings
from fgmf.mask_log.team_streams import TeamMaskLog, team_manifest
from fgmf.mask_log.verifying import VerifySettings, verify_log

__all__ = [
    "Expectation",
    "Head",
    "LogContents",
    "LogOutcome",
    "LogReport",
    "Manifest",
    "MaskLog",
    "MaskLook",
    "TeamMaskLog",
    "Trouble",
    "VerifySettings",
    "WriterSettings",
    "team_manifest",
    "verify_log",
]
