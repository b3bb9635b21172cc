"""Ed25519 signatures on heads: the one bridge to `cryptography` (extra `sign`).

A signature line follows a head's text as in a C2SP signed note::

    — NAME base64(key id || signature)      key id: 4 bytes of SHA-256(NAME, 0x0A, 0x01, key)

A verifier key is text: ``NAME+<key id in hex>+base64(0x01 || key)``. It is what a gate takes as
`public_key`: whoever has it needs no head from outside, if they trust that only the writer of the
log had the secret key.

Source: C2SP signed-note (Ed25519, signature type 0x01).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import InvalidInput, MissingDependency
from fgmf.mask_log.places import read_outside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NAME: Final = re.compile(r"[^\s+]{1,80}")
_LONGEST_KEY: Final = 4096
_ED25519: Final = b"\x01"


@dataclass(frozen=True, kw_only=True)
class VerifierKey:
    """A public key, and whose it is.

    Attributes:
        name: Of the signer.
        key: 32 bytes.
    """

    name: str
    key: bytes

    @property
    def key_id(self) -> bytes:
        """What a signature line names the key by, 4 bytes."""
        hashed = hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.key)
        return hashed.digest()[:4]

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Say whether a signature of some bytes is by this key.

        Raises:
            MissingDependency: The package cryptography is not there.
        """
        package = _package()
        try:
            package.Ed25519PublicKey.from_public_bytes(self.key).verify(signature, data)
        except (ValueError, package.InvalidSignature):
            return False
        return True

    def text(self) -> str:
        """Write the key, to be published."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.key)}"

    @classmethod
    def from_text(cls, text: str) -> VerifierKey:
        """Read a key.

        Raises:
            InvalidInput: It is none.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        key = cls(name=name, key=data[1:])
        sound = _NAME.fullmatch(name) and len(data) == 33 and data[:1] == _ED25519
        if not sound or key.text() != text.strip():
            message = "expected a verifier key NAME+ID+KEY, as `fgmf log keygen` prints it"
            raise InvalidInput(f"{message}, got {text!r:.80}, of {key_id!r:.20}")
        return key


class Signer:
    """Signs heads with a secret key.

    Attributes:
        verifier: The public key.
    """

    def __init__(self, secret: bytes, *, name: str) -> None:
        """Take a secret key.

        Args:
            secret: 32 bytes.
            name: Whose it is.

        Raises:
            InvalidInput: It is no key, or the name is none.
            MissingDependency: The package cryptography is not there.
        """
        if len(secret) != 32 or _NAME.fullmatch(name) is None:
            raise InvalidInput("expected a key of 32 bytes, and a name without spaces or +")
        self._key = _package().Ed25519PrivateKey.from_private_bytes(secret)
        self.verifier = VerifierKey(name=name, key=self._key.public_key().public_bytes_raw())

    @classmethod
    def from_file(cls, path: Path) -> Signer:
        """Read a secret key: its name and its 64 hexadecimal digits, in two lines.

        Raises:
            InvalidInput: The file holds none, or others than its owner can read it.
            MaskLogUnreadable: It is no regular file.
            MissingDependency: The package cryptography is not there.
        """
        if path.stat().st_mode & 0o077:
            message = f"expected a secret key that only its owner can read, got {path}"
            raise InvalidInput(f"{message}; chmod 600")
        try:
            name, digits = read_outside(path, limit=_LONGEST_KEY).decode().splitlines()
            secret = bytes.fromhex(digits)
        except ValueError:
            message = f"expected a name and 64 hexadecimal digits in {path}"
            raise InvalidInput(f"{message}, as `fgmf log keygen` writes them") from None
        return cls(secret, name=name)

    def sign(self, data: bytes) -> bytes:
        """Return the signature of some bytes: 64 of them."""
        signature: bytes = self._key.sign(data)
        return signature

    def line(self, text: str) -> str:
        """Return the signature line of a head.

        Args:
            text: Of the head, without signatures.
        """
        signature = self.sign(text.encode())
        return f"\u2014 {self.verifier.name} {_base64(self.verifier.key_id + signature)}"


def write_key(path: Path, *, name: str) -> VerifierKey:
    """Make a secret key and write it to a file that only its owner can read.

    Raises:
        InvalidInput: The name is none.
        FileExistsError: The file is there.
        MissingDependency: The package cryptography is not there.
    """
    secret = os.urandom(32)
    verifier = Signer(secret, name=name).verifier
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(f"{name}\n{secret.hex()}\n")
    return verifier


def is_signed(text: str, lines: Sequence[str], key: VerifierKey) -> bool:
    """Say whether one of the signature lines of a head is by a key.

    Args:
        text: Of the head, without signatures.
        lines: Signature lines; those by other keys are passed over.
        key: The public key.

    Raises:
        MissingDependency: The package cryptography is not there.
    """
    _package()
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[1] != key.name:
            continue
        try:
            data = base64.b64decode(parts[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        if data[:4] == key.key_id and key.verifies(data[4:], text.encode()):
            return True
    return False


class _Package:
    """What is used of `cryptography`."""

    def __init__(self) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (
            Ed25519PrivateKey,
            Ed25519PublicKey,
        )

        self.InvalidSignature: Any = InvalidSignature
        self.Ed25519PrivateKey: Any = Ed25519PrivateKey
        self.Ed25519PublicKey: Any = Ed25519PublicKey


def _package() -> _Package:
    try:
        return _Package()
    except ImportError as error:
        message = "expected the package cryptography for signatures, got none"
        raise MissingDependency(f"{message}; install pytest-fgmf[sign]") from error


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
