"""Sign a statement, and check the signature: a DSSE envelope with Ed25519.

    signed bytes = "DSSEv1 " len(type) " " type " " len(payload) " " payload

Source: Dead Simple Signing Envelope v1.0; keys are those of `fgmf log keygen`.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, Final

from fgmf.canonical import canonical_json
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.mask_log.signing import Signer, VerifierKey
    from fgmf.types import Json

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


def sign_statement(statement: Mapping[str, Json], signer: Signer) -> dict[str, Json]:
    """Put a statement into a signed envelope.

    Args:
        statement: Made by `statement_of_results`.
        signer: Has the secret key.

    Returns:
        The envelope; `keyid` is the text of the verifier key.
    """
    payload = canonical_json(dict(statement))
    signature = signer.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    entry: Json = {"keyid": signer.verifier.text(), "sig": _base64(signature)}
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": _base64(payload),
        "signatures": [entry],
    }


def verify_envelope(envelope: Mapping[str, Any], key: VerifierKey) -> dict[str, Any]:
    """Return the statement in an envelope that a key signed.

    Args:
        envelope: As it was read from JSON.
        key: The public key, from elsewhere: one that comes with the envelope proves nothing.

    Raises:
        InvalidInput: It is no envelope, no signature in it is by this key, or it holds something
            else than a statement.
        MissingDependency: The package cryptography is not there.
    """
    message = "expected a DSSE envelope with an in-toto statement, signed by the given key"
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        kind = envelope["payloadType"]
        signatures = [base64.b64decode(s["sig"], validate=True) for s in envelope["signatures"]]
        signed = pre_authentication_encoding(str(kind), payload)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise InvalidInput(f"{message}, got none: {type(error).__name__}") from None
    if not any(key.verifies(signature, signed) for signature in signatures):
        raise InvalidInput(f"{message}, got no signature by {key.name}")
    try:
        statement = json.loads(payload)
    except ValueError:
        statement = None
    if kind != PAYLOAD_TYPE or not isinstance(statement, dict):
        raise InvalidInput(f"{message}, got a payload of type {kind!r:.60}")
    return statement


def pre_authentication_encoding(kind: str, payload: bytes) -> bytes:
    """Return the bytes that are signed."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
