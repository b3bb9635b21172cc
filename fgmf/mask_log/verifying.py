"""Verify a whole log: is it what it was, and is everything there?

    manifest, heads, checkpoints, tombstones     read first: small
    for each stream, record by record:
        chain, order, counts, roots              `following`
        rows and arrays                          `batches`
        roots at the sizes that heads and checkpoints name
        what is there of what must be there      `completeness`
    the head given from outside                  `anchoring`

With a state (`verification_state`), where each stream stands is written now and then. One that
finds such a state hashes what lies behind it (`marks`), and goes on where that is what it was.

One pass, in memory that does not grow with the log. The first thing that is wrong with a stream
ends its reading: what comes after a broken link cannot be trusted either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgmf.errors import BrokenRecord
from fgmf.mask_log.anchoring import Anchoring, Claims, read_claims
from fgmf.mask_log.erasures import read_tombstones
from fgmf.mask_log.heads import Head, StreamHead
from fgmf.mask_log.manifest import Expectation, Manifest, read_manifest
from fgmf.mask_log.places import ERASURES, RESERVED, LogDirectory, open_log
from fgmf.mask_log.report import LogReport, Trouble
from fgmf.mask_log.streams import StreamTask, StreamVerifier
from fgmf.mask_log.taking_up import identity_of, resumable_observers, take_up
from fgmf.mask_log.verification_state import StateKeeper, checked_state_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fgmf.mask_log.batches import Tombstone
    from fgmf.mask_log.report import Resumption
    from fgmf.mask_log.streams import Observer
    from fgmf.types import Json

    _Tombstones = Mapping[str, Mapping[int, Mapping[int, Tombstone]]]

_WORST_FIRST = {"tampered": 0, "incomplete": 1, "torn": 2}
_TOLD_EVERY = 2**20
"""Bytes between reports of progress."""


@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """What a log is held against.

    Attributes:
        head: From outside the log: its digest, or its text; None for none.
        public_key: Of the writer, from outside the log: text of a verifier key; None for none.
        observers: Look at every batch.
        on_progress: Told bytes read and bytes in all.
        state: File outside the log that keeps where the verification stands, so that one that was
            interrupted goes on; removed at the end. None keeps nothing.
        state_records: Most records between two states.
        state_seconds: Most seconds between two states, while records are read.
    """

    head: str | None = None
    public_key: str | None = None
    observers: Sequence[Observer] = ()
    on_progress: Callable[[int, int], None] | None = None
    state: Path | None = None
    state_records: int = 250_000
    state_seconds: float = 15.0


def verify_log(path: Path, settings: VerifySettings | None = None) -> LogReport:
    """Verify a log.

    Args:
        path: Its directory.
        settings: What it is held against.

    Returns:
        What was found; a log that is broken is a result, not an error.

    Raises:
        MaskLogUnreadable: There is no log, or a part of it cannot be read.
        InvalidInput: The head or the key from outside is none; the state lies in the log, or an
            observer's tallies cannot be kept in one.
        KeyboardInterrupt: It was interrupted; with a state, the next one goes on from there.

    Cost: reads every byte once; memory does not grow with the log. With a state, the arrays of one
    record are in memory at once, and what was verified before is hashed only.
    """
    settings = settings or VerifySettings()
    directory = open_log(path)
    state = None if settings.state is None else checked_state_path(settings.state, path)
    if state is not None:
        resumable_observers(settings.observers)
    anchoring = Anchoring(head=settings.head, public_key=settings.public_key)
    try:
        manifest = read_manifest(directory)
    except BrokenRecord as error:
        trouble = Trouble(kind="tampered", what=f"manifest.json: {error}")
        return LogReport(run="", head=None, troubles=(trouble,))
    return _Verification(
        directory=directory,
        manifest=manifest,
        settings=settings,
        anchoring=anchoring,
        state=state,
    ).carry_out()


@dataclass(kw_only=True)
class _Verification:
    directory: LogDirectory
    manifest: Manifest
    settings: VerifySettings
    anchoring: Anchoring
    state: Path | None = None
    keeper: StateKeeper | None = None
    taken_up: list[StreamVerifier] = field(default_factory=list)
    streams: list[StreamVerifier] = field(default_factory=list)
    read: list[dict[str, Json]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    done: int = 0
    total: int = 0
    told: int = 0

    def carry_out(self) -> LogReport:
        claims = read_claims(self.directory, self.manifest)
        self.anchoring.expect(claims)
        self.troubles += claims.troubles
        present = self.directory.stream_names()
        self.total = self._bytes(present)
        tombstones = self._tombstones(present)
        names = sorted({*present, *self.manifest.streams, *claims.sizes})

        def new(name: str) -> StreamVerifier:
            return self._stream(name, claims, tombstones.get(name, {}))

        resumption = self._read_all(names, present, tombstones, new)
        begun = [stream for stream in self.streams if stream.state.seq]
        head = Head(
            run=self.manifest.run,
            manifest=self.manifest.digest,
            streams=tuple(StreamHead(stream=s.name, size=s.state.seq, root=s.root) for s in begun),
        )
        self.troubles += self.anchoring.settle(head, claims)
        self.troubles.sort(key=lambda trouble: _WORST_FIRST[trouble.kind])
        broken = any(trouble.kind == "tampered" for trouble in self.troubles)
        if self.keeper is not None:
            self.keeper.remove()
        return LogReport(
            run=self.manifest.run,
            head=None if broken else head,
            streams=tuple(stream.report for stream in begun),
            troubles=tuple(self.troubles),
            anchor="none" if broken else self.anchoring.anchor,
            anchored_records=0 if broken else self.anchoring.records,
            anchored_head=None if broken else self.anchoring.found,
            signer=self.anchoring.signer,
            sampled=self.manifest.every > 1,
            open_ended=self._open_ended(present),
            missing_streams=tuple(sorted(self.manifest.streams.keys() - {s.name for s in begun})),
            resumption=resumption,
        )

    def _read_all(
        self,
        names: Sequence[str],
        present: Sequence[str],
        tombstones: _Tombstones,
        new: Callable[[str], StreamVerifier],
    ) -> Resumption | None:
        settings, resumption = self.settings, None
        if self.state is None:
            self._read_streams(names, present, new)
            return None
        keeper = self.keeper = StateKeeper(
            self.state,
            identity=identity_of(self.manifest, self.anchoring, tombstones, settings.observers),
            progress=self._progress,
            records=settings.state_records,
            seconds=settings.state_seconds,
        )
        self.taken_up, resumption = take_up(
            self.state, keeper.identity, names, new=new, observers=settings.observers
        )
        if resumption.started_over:
            self.done = self.told = 0
        with keeper.interruptible():
            self._read_streams(names, present, new)
        return resumption

    def _read_streams(
        self, names: Sequence[str], present: Sequence[str], new: Callable[[str], StreamVerifier]
    ) -> None:
        for position, name in enumerate(names):
            known = position < len(self.taken_up)
            stream = self.taken_up[position] if known else new(name)
            self.streams.append(stream)
            if name in present:
                stream.read()
            else:
                stream.miss()
            self.troubles += stream.troubles
            if self.keeper is not None:
                if any(trouble.kind == "tampered" for trouble in stream.troubles):
                    self.keeper.stop()
                self.read.append(stream.as_document())

    def _progress(self) -> dict[str, Json] | None:
        """Where every stream stands; those that were taken up and not looked at yet stand there."""
        if any(stream.marks is None or not stream.marks.whole for stream in self.streams):
            return None
        now = self.streams[len(self.read) :] + self.taken_up[len(self.streams) :]
        observers = resumable_observers(self.settings.observers)
        return {
            "observers": [observer.as_document() for observer in observers],
            "streams": [*self.read, *(stream.as_document() for stream in now)],
        }

    def _tombstones(self, present: Sequence[str]) -> _Tombstones:
        if ERASURES not in present:
            return {}
        try:
            return read_tombstones(self.directory)
        except BrokenRecord:
            return {}  # the stream itself is read again below, and says what is wrong

    def _stream(
        self,
        name: str,
        claims: Claims,
        tombstones: Mapping[int, Mapping[int, Tombstone]],
    ) -> StreamVerifier:
        task = StreamTask(
            directory=self.directory,
            manifest=self.manifest,
            name=name,
            claimed=claims.sizes.get(name, {}),
            tombstones=tombstones,
            observers=self.settings.observers,
            on_bytes=self._tell,
            on_record=None if self.keeper is None else self.keeper.take,
        )
        return StreamVerifier(task)

    def _open_ended(self, present: Sequence[str]) -> tuple[str, ...]:
        expected = self.manifest.streams
        names = sorted({*present, *expected} - RESERVED)
        return tuple(name for name in names if expected.get(name, Expectation()).open_ended)

    def _bytes(self, names: Sequence[str]) -> int:
        paths = [
            self.directory.records(name, segment)
            for name in names
            for segment in self.directory.segments(name)
        ]
        return sum(path.lstat().st_size for path in paths)

    def _tell(self, count: int) -> None:
        self.done += count
        if self.settings.on_progress is not None and self.done - self.told >= _TOLD_EVERY:
            self.told = self.done
            self.settings.on_progress(self.done, self.total)
