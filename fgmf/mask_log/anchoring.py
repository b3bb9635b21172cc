"""What a log says about itself at some size, and what someone outside knows about it.

Heads and checkpoints inside the directory are claims: each must agree with the records, and none
proves anything, because whoever rewrites the records can rewrite them too. A head from outside
does: its digest is that of one text only, which names the size and the root of every stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log.heads import LONGEST_TEXT, is_head_digest, read_checkpoint, read_head
from fgmf.mask_log.places import read_inside
from fgmf.mask_log.report import Anchor, Trouble
from fgmf.mask_log.signing import VerifierKey, is_signed

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.mask_log.heads import Head
    from fgmf.mask_log.manifest import Manifest
    from fgmf.mask_log.places import LogDirectory


@dataclass(kw_only=True)
class Claims:
    """What a log says about itself.

    Attributes:
        heads: By their digest, with their signature lines.
        sizes: For each stream and size, who names a root, and which.
        troubles: Texts that are none.
    """

    heads: dict[str, tuple[Head, tuple[str, ...]]] = field(default_factory=dict)
    sizes: dict[str, dict[int, list[tuple[str, bytes]]]] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)

    def add_head(self, head: Head, signatures: tuple[str, ...], source: str) -> None:
        """Add a head; its streams must be what it says."""
        self.heads[head.digest] = (head, signatures)
        for stream in head.streams:
            self.add_size(stream.stream, stream.size, stream.root, source)

    def add_size(self, stream: str, size: int, root: bytes, source: str) -> None:
        """Add what a root of a stream must be at some size."""
        self.sizes.setdefault(stream, {}).setdefault(size, []).append((source, root))


def read_claims(directory: LogDirectory, manifest: Manifest) -> Claims:
    """Read all heads and checkpoints of a log.

    Raises:
        MaskLogUnreadable: One cannot be read.
    """
    claims = Claims()
    for name in directory.head_names():
        source = f"heads/{name}"
        try:
            head, signatures = read_head(_text(directory, directory.heads / name))
            if (head.run, head.manifest) != (manifest.run, manifest.digest):
                raise BrokenRecord("it is the head of another run, or of another manifest")
            if name != head_name(head):
                raise BrokenRecord("it is another head than its name says")
            claims.add_head(head, signatures, source)
        except BrokenRecord as error:
            claims.troubles.append(Trouble(kind="tampered", what=f"{source}: {error}"))
    for stream in directory.stream_names():
        path = directory.checkpoint(stream)
        if path.is_symlink() or path.exists():
            try:
                text = _text(directory, path)
                point = read_checkpoint(text, run=manifest.run, stream=stream)
                claims.add_size(stream, point.size, point.root, "checkpoint")
            except BrokenRecord as error:
                what = f"checkpoint: {error}"
                claims.troubles.append(Trouble(kind="tampered", stream=stream, what=what))
    return claims


def head_name(head: Head) -> str:
    """Return the name of the file of a head."""
    return f"{head.size}-{head.digest.removeprefix('sha256:')[:16]}.txt"


def _text(directory: LogDirectory, path: Path) -> str:
    try:
        return read_inside(directory.path, path, limit=LONGEST_TEXT).decode()
    except UnicodeDecodeError:
        raise BrokenRecord("expected text in UTF-8") from None


@dataclass(kw_only=True)
class Anchoring:
    """What from outside the log stands behind it.

    Attributes:
        head: Digest or text of a head; None for none.
        public_key: Text of a verifier key; None for none.
        anchor: What was found to stand behind the log.
        records: Records that it covers.
        found: The head that it is.
        signer: Name of the key that signed.
    """

    head: str | None = None
    public_key: str | None = None
    anchor: Anchor = "none"
    records: int = 0
    found: Head | None = None
    signer: str = ""
    _given: Head | None = None
    _key: VerifierKey | None = None

    def __post_init__(self) -> None:
        """Read what was given.

        Raises:
            InvalidInput: It is no head, or no key.
        """
        if self.public_key is not None:
            self._key = VerifierKey.from_text(self.public_key)
        if self.head is None or is_head_digest(self.head):
            return
        try:
            self._given = read_head(self.head)[0]
        except BrokenRecord:
            message = "expected a head as sha256:<64 digits>, or the whole text of one"
            raise InvalidInput(f"{message}, got {self.head!r:.80}") from None
        self.head = self._given.digest

    def expect(self, claims: Claims) -> None:
        """Have the streams held against a head that was given as text."""
        if self._given is not None:
            claims.add_head(self._given, (), "the head given")

    def settle(self, now: Head, claims: Claims) -> list[Trouble]:
        """Hold the log as it is now against what was given.

        Args:
            now: Head of the log as it was read.
            claims: What the log says about itself; all of it was held against the records.

        Returns:
            What is wrong.
        """
        if self._key is not None:
            self._take_signature(now, claims, self._key)
        if self.head is None:
            return []
        known = {digest: head for digest, (head, _) in claims.heads.items()}
        known[now.digest] = now
        found = known.get(self.head)
        if found is None:
            what = f"no state of the log has the head {self.head}"
            return [Trouble(kind="tampered", what=f"{what}: it was rewritten, cut, or is another")]
        if found.manifest != now.manifest or found.run != now.run:
            return [Trouble(kind="tampered", what="the head given is that of another run")]
        self.records, self.found = found.size, found
        self.anchor = "head" if found.digest == now.digest else "earlier head"
        return []

    def _take_signature(self, now: Head, claims: Claims, key: VerifierKey) -> None:
        """Take the largest head that the key signed; it was held against the records."""
        signed = [
            head for head, lines in claims.heads.values() if is_signed(head.text(), lines, key)
        ]
        if signed:
            latest = max(signed, key=lambda head: head.size)
            self.records, self.found, self.signer = latest.size, latest, key.name
            self.anchor = "signature" if latest.digest == now.digest else "earlier signature"
