"""The manifest: what a run must log, fixed before its first record.

Its digest stands in the first record of every stream and in every head. Completeness is a question
about it: without expectations a log can be intact, never complete.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fgmf.canonical import canonical_json, write_atomically
from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log.places import FORMAT, RESERVED, LogDirectory, checked_stream_name, read_inside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.types import Json

LONGEST_MANIFEST: Final = 64 * 2**20
MOST_SAMPLES: Final = 2**28
"""Most samples that a stream may be asked to hold: as many counts are in memory."""
_RUN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,119}")
_LARGEST: Final = 2**53


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one stream must hold. Nothing, or 0: the stream is open-ended, and never complete.

    Attributes:
        steps: Every step from 0 to `steps` - 1 must be there.
        sample_count: Every sample from `first_sample` on must be there, so many of them.
        first_sample: Number of the first sample.
        sample_ids: Every one of these must be there; instead of a count.
        times: How often every sample must be there at least: epochs.
        weights: Digests of the mask layer's weights that are allowed; empty allows all.
    """

    steps: int | None = None
    sample_count: int | None = None
    first_sample: int = 0
    sample_ids: tuple[int | str, ...] = ()
    times: int = 1
    weights: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be held against a log.

        Raises:
            InvalidInput: A number is negative, or samples are given twice.
        """
        numbers = (self.steps or 0, self.sample_count or 0, self.first_sample, self.times - 1)
        if any(type(number) is not int or not 0 <= number < _LARGEST for number in numbers):
            raise InvalidInput("expected whole numbers >= 0 (times >= 1) in an expectation")
        if (self.sample_count or 0) > MOST_SAMPLES:
            message = f"expected at most {MOST_SAMPLES} samples in a stream, each is counted"
            raise InvalidInput(f"{message}; use several streams")
        if self.sample_count is not None and self.sample_ids:
            raise InvalidInput("expected either sample_count or sample_ids, got both")
        if len(set(self.sample_ids)) < len(self.sample_ids):
            raise InvalidInput("expected every sample once in sample_ids, got one twice")

    @property
    def open_ended(self) -> bool:
        """Whether nothing is fixed that completeness could be about."""
        return not (self.steps or self.sample_count or self.sample_ids)

    def as_document(self) -> dict[str, Json]:
        """Return the expectation as JSON; what was not given is left out."""
        document: dict[str, Json] = {}
        if self.steps is not None:
            document["steps"] = self.steps
        if self.sample_count is not None:
            document["sample_count"] = self.sample_count
            document["first_sample"] = self.first_sample
        if self.sample_ids:
            document["sample_ids"] = list(self.sample_ids)
        if self.times != 1:
            document["times"] = self.times
        if self.weights:
            document["weights"] = list(self.weights)
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Expectation:
        """Rebuild it.

        Raises:
            InvalidInput: A member is unknown or not what it should be.
        """
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in document.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise InvalidInput(f"expected the members of an expectation, got: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a run must log, and what is known about it.

    Attributes:
        run: Name of the run.
        streams: Streams that must be there and end, with what each must hold. None at all: any
            stream may come, and the log is never complete.
        every: Log one forward pass of so many; 1 logs all. A sampled log is never complete.
        skips: Reasons for which passes may be left out, such as ``attack``.
        facts: What else the user states: code version, seed, consent, provenance of the data.
    """

    run: str = field(default_factory=lambda: f"run-{secrets.token_hex(6)}")
    streams: Mapping[str, Expectation] = field(default_factory=dict)
    every: int = 1
    skips: tuple[str, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse names that cannot be used.

        Raises:
            InvalidInput: A name, or the sampling, is not what it should be.
        """
        if not isinstance(self.run, str) or _RUN.fullmatch(self.run) is None:
            message = "expected a name of at most 120 letters, digits and ._:@/- for a run"
            raise InvalidInput(f"{message}, got {self.run!r:.80}")
        if type(self.every) is not int or not 1 <= self.every < _LARGEST:
            raise InvalidInput(f"expected every >= 1 in a manifest, got {self.every!r:.80}")
        if not all(isinstance(reason, str) and reason for reason in self.skips):
            raise InvalidInput("expected texts as reasons for which passes may be left out")
        for name in self.streams:
            if checked_stream_name(name) in RESERVED:
                raise InvalidInput(f"expected another name than {name!r} for a stream")

    def contents(self) -> bytes:
        """Return the manifest's file: canonical JSON.

        Raises:
            InvalidInput: The facts are not JSON of finite numbers.
        """
        return canonical_json(
            {
                "every": self.every,
                "facts": dict(self.facts),
                "format": FORMAT,
                "run": self.run,
                "skips": list(self.skips),
                "streams": {name: entry.as_document() for name, entry in self.streams.items()},
            }
        )

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the manifest's file."""
        return "sha256:" + hashlib.sha256(self.contents()).hexdigest()


def write_manifest(directory: LogDirectory, manifest: Manifest) -> None:
    """Write the manifest of a new log; the one that is there must be the same.

    Raises:
        InvalidInput: Another one is there, or it is too long to be read.
        OSError: The directory cannot be written.
    """
    if directory.manifest.exists():
        if read_manifest(directory).digest != manifest.digest:
            message = f"expected the manifest of {directory.path}, got another one"
            raise InvalidInput(f"{message}; leave it out to go on with the log, or choose a path")
        return
    contents = manifest.contents()
    if len(contents) > LONGEST_MANIFEST:
        message = f"expected a manifest of at most {LONGEST_MANIFEST} bytes, got {len(contents)}"
        raise InvalidInput(f"{message}; count samples instead of naming them, or use several logs")
    write_atomically(directory.manifest, contents)


def read_manifest(directory: LogDirectory) -> Manifest:
    """Read the manifest of a log.

    Raises:
        BrokenRecord: It is none.
        MaskLogUnreadable: It is not there.
    """
    contents = read_inside(directory.path, directory.manifest, limit=LONGEST_MANIFEST)
    try:
        document = json.loads(contents)
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise BrokenRecord(f"expected a manifest of format {FORMAT}")
        streams = {k: Expectation.from_document(v) for k, v in document.pop("streams").items()}
        skips = tuple(document.pop("skips"))
        manifest = Manifest(streams=streams, skips=skips, **document)
        if manifest.contents() != contents:
            raise BrokenRecord("expected a manifest in canonical JSON (RFC 8785)")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise BrokenRecord(f"the manifest is none: {error}") from None
    return manifest
