"""How a team logs: one stream for each agent, one for messages, in one log with one manifest.

    manifest = team_manifest(team.names, run="shop-7", expectation=Expectation(steps=500))
    with TeamMaskLog(path, team, manifest=manifest) as log:
        for step, (ids, images) in enumerate(requests):
            with log.decision(step=step, sample_ids=ids):
                team(images)

A stream is named after its agent, or ``process.agent`` where several processes write one log. The
manifest names all of them, so that an agent that logs nothing is missed.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, Self

from fgmf.errors import InvalidInput
from fgmf.mask_log.attaching import LogContents, MaskLog
from fgmf.mask_log.manifest import Expectation, Manifest
from fgmf.mask_log.offers import saliency_mask_layers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import torch

    from fgmf.mask_log.heads import Head
    from fgmf.mask_log.settings import WriterSettings
    from fgmf.mask_log.signing import Signer
    from fgmf.types import Json

MESSAGES: Final = "messages"
"""Stream of what agents tell each other; no agent has this name."""


class LoggedTeam(Protocol):
    """What a team must have to be logged: that of `fgmf.agents.Team`, or one like it."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the agents."""

    @property
    def members(self) -> Sequence[torch.nn.Module]:
        """The agents, in the same order."""

    @property
    def messages(self) -> torch.nn.Module | None:
        """Offers messages to hooks; None where agents tell each other nothing."""


def stream_of(agent: str, process: str = "") -> str:
    """Name of an agent's stream."""
    return f"{process}.{agent}" if process else agent


def agent_of(stream: str) -> tuple[str, str]:
    """Process and agent of a stream; the process is empty where there is one."""
    process, _, agent = stream.rpartition(".")
    return process, agent


def team_manifest(  # noqa: PLR0913 - what a user says about a log, each with a default
    names: Sequence[str],
    *,
    run: str,
    expectation: Expectation,
    messages: bool = False,
    processes: Sequence[str] = ("",),
    skips: Sequence[str] = (),
    facts: Mapping[str, Json] | None = None,
) -> Manifest:
    """Return a manifest by which every agent must log every decision.

    Args:
        names: Of the agents.
        run: Name of the run.
        expectation: What each stream must hold, the same for all agents.
        messages: Whether messages are logged too.
        processes: Names of the processes that write, each its own decisions; `expectation` is
            that of each.
        skips: As in :class:`~fgmf.mask_log.Manifest`.
        facts: As there.

    Raises:
        InvalidInput: No agents, a name that stands for messages, or one that names no stream.
    """
    if not names or MESSAGES in names:
        raise InvalidInput(f"expected names of agents other than {MESSAGES!r}, got {list(names)}")
    logged = [*names, *([MESSAGES] if messages else [])]
    streams = {stream_of(name, process): expectation for process in processes for name in logged}
    return Manifest(run=run, streams=streams, skips=tuple(skips), facts=dict(facts or {}))


class TeamMaskLog:
    """Logs the masks of every agent of a team, and their messages, decision by decision.

    Attributes:
        logs: The log of each stream, by the name of the agent, or ``messages``.
        head: Of the whole log when it was closed; None before.
    """

    def __init__(  # noqa: PLR0913 - what a user says about a log, each with a default
        self,
        path: Path,
        team: LoggedTeam,
        *,
        manifest: Manifest,
        process: str = "",
        settings: WriterSettings | None = None,
        contents: LogContents | None = None,
        resume: bool = False,
        signer: Signer | None = None,
    ) -> None:
        """Take what is to be logged where; nothing is written yet.

        Args:
            path: Directory of the log.
            team: Every agent has a layer with a saliency mask.
            manifest: Names a stream for every agent: :func:`team_manifest`.
            process: Name of this process, where several write.
            settings: How it is written.
            contents: What is kept.
            resume: Go on with streams that are there.
            signer: Signs the head.

        Raises:
            InvalidInput: An agent has no mask that could be logged, or no stream in the manifest.
        """
        contents = contents or LogContents()
        parts = dict(zip(team.names, team.members, strict=True))
        for name, agent in parts.items():
            _has_a_layer(name, agent)
        if team.messages is not None:
            parts[MESSAGES] = team.messages
        streams = {name: stream_of(name, process) for name in parts}
        unnamed = sorted(set(streams.values()) - set(manifest.streams))
        if unnamed or (MESSAGES in team.names):
            raise InvalidInput(
                f"expected a manifest with a stream for each of {sorted(streams.values())}, "
                f"got none for {unnamed or [MESSAGES]}; make it with team_manifest"
            )
        self.head: Head | None = None
        self.logs: dict[str, MaskLog] = {}
        for name, part in parts.items():
            kept = replace(contents, weights_every=None) if name == MESSAGES else contents
            self.logs[name] = MaskLog(
                path,
                stream=streams[name],
                manifest=manifest,
                settings=settings,
                contents=kept,
                resume=resume,
                signer=signer,
            ).attach(part)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Begin all streams, or none.

        Raises:
            MaskLogUnwritable: The directory cannot be written.
            InvalidInput: Somebody writes one of the streams, or it is there already.
        """
        with ExitStack() as opening:
            for log in self.logs.values():
                opening.enter_context(log)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all streams.

        Raises:
            MaskLogUnwritable: An end cannot be written.
        """
        self._open.__exit__(kind, error, traceback)
        first = next(iter(self.logs.values()))  # left last, when all the others had ended
        self.head = first.head

    @contextmanager
    def decision(
        self, *, step: int, sample_ids: Sequence[int | str] | torch.Tensor
    ) -> Iterator[None]:
        """Say which decision, about which samples, the passes inside are.

        Args:
            step: Number of the decision, counted by the caller.
            sample_ids: One for each sample.

        Raises:
            InvalidInput: The step is no whole number from 0.
        """
        with ExitStack() as inside:
            for log in self.logs.values():
                inside.enter_context(log.batch(step=step, sample_ids=sample_ids))
            yield

    @contextmanager
    def leave_out(self, reason: str) -> Iterator[None]:
        """Log nothing inside; each stream says how many passes were left out for `reason`.

        Raises:
            InvalidInput: The reason is no text, or empty.
        """
        with ExitStack() as inside:
            for log in self.logs.values():
                inside.enter_context(log.leave_out(reason))
            yield

    def predicted(self, agent_logits: torch.Tensor) -> None:
        """Log what each agent said about the samples of the last decision.

        Args:
            agent_logits: (a, n, classes), from `team.agent_logits`.

        Raises:
            InvalidInput: Not a row for each agent, or not as many as there were samples.
            MaskLogUnwritable: It could not be written.
        """
        logs = [log for name, log in self.logs.items() if name != MESSAGES]
        if len(agent_logits) != len(logs):
            raise InvalidInput(f"expected logits of {len(logs)} agents, got {len(agent_logits)}")
        for log, logits in zip(logs, agent_logits, strict=True):
            log.predicted(logits)


def _has_a_layer(name: str, agent: torch.nn.Module) -> None:
    try:
        saliency_mask_layers(agent)
    except InvalidInput:
        raise InvalidInput(
            f"expected a layer with a saliency mask in every agent, got {name} without one; wrap "
            "its model with Sgam.wrap, or log the others with MaskLog"
        ) from None
