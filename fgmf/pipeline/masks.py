"""Every mask of a training in a mask log, as evidence.

begin         repair what a crash cut off; go on with the stream `train`, or those of the agents
before_loss   the passes that follow are of this step and these images
otherwise     passes are left out, and counted: monitors and validation look at the model too
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Final

from fgmf.agents import Team
from fgmf.mask_log import Expectation, Manifest, MaskLog, TeamMaskLog
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.repairing import repair_log
from fgmf.mask_log.team_streams import MESSAGES
from fgmf.training import Callback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from torch import nn

    from fgmf.training import TrainingRun

_STREAM: Final = "train"
_WATCHING: Final = "watching"


class MaskLogging(Callback):
    """Logs the masks of all forward passes of updates; the first of the callbacks.

    A training that goes on after a crash makes the updates since its checkpoint again, and they are
    logged again. The log is complete when the training has run to its end.

    Args:
        path: Directory of the log.
        identity: Digests of recipe, images and first weights, for the log's manifest.
    """

    def __init__(self, path: Path, identity: Mapping[str, str]) -> None:
        self._path, self._identity = path, dict(identity)
        self._open, self._place = ExitStack(), ExitStack()
        self._log: MaskLog | TeamMaskLog | None = None
        self._batch: Callable[..., AbstractContextManager[None]] = nullcontext

    def begin(self, run: TrainingRun) -> None:
        """Open the stream, or go on with it."""
        directory = LogDirectory(path=self._path)
        names = _streams_of(run.model)
        there = directory.manifest.exists() and bool(set(names) & set(directory.stream_names()))
        if there:
            repair_log(self._path)
        expected = Expectation(
            steps=run.steps, sample_count=len(run.samples), times=run.schedule.epochs
        )
        manifest = Manifest(
            run="train-" + self._identity["recipe"].removeprefix("sha256:")[:16],
            streams=dict.fromkeys(names, expected),
            skips=(_WATCHING,),
            facts={**self._identity, "seed": run.settings.seed},
        )
        if isinstance(run.model, Team):
            team = TeamMaskLog(self._path, run.model, manifest=manifest, resume=there)
            self._log, self._batch = self._open.enter_context(team), team.decision
        else:
            log = MaskLog(self._path, stream=_STREAM, manifest=manifest, resume=there)
            self._log, self._batch = self._open.enter_context(log.attach(run.model)), log.batch
        self._place.enter_context(self._log.leave_out(_WATCHING))

    def before_loss(self, run: TrainingRun) -> None:
        """Say which images come now."""
        self._place.close()
        if self._log is not None:
            ids = run.indices.tolist()
            self._place.enter_context(self._batch(step=run.step, sample_ids=ids))

    def after_update(self, run: TrainingRun) -> None:  # noqa: ARG002 - of the interface
        """What comes now is no part of the training."""
        self._place.close()
        if self._log is not None:
            self._place.enter_context(self._log.leave_out(_WATCHING))

    def close(self) -> str:
        """End the stream, if it is open, also after an error; return the digest of its head."""
        self._place.close()
        self._open.close()
        head = None if self._log is None else self._log.head
        return "" if head is None else head.digest


def _streams_of(model: nn.Module) -> tuple[str, ...]:
    if not isinstance(model, Team):
        return (_STREAM,)
    return (*model.names, *(() if model.messages is None else (MESSAGES,)))
