"""Receipts: what the server says that it predicted, verifiable without it.

A receipt is a JWS in its compact form (RFC 7515, RFC 8037), so that any JOSE library reads it:

::

    base64url(header) "." base64url(claims) "." base64url(Ed25519 signature of all before it)

    header   {"alg": "EdDSA", "kid": <thumbprint of the key>, "typ": "prediction-receipt"}
    claims   what `Claims` lists
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.signing.encoding import base64url, canonical_json
from server.signing.identity import Identity

TYPE = "prediction-receipt"


class BadReceipt(Exception):
    """A receipt, or a key, that cannot be relied on; says why."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a receipt states; digests are SHA-256 in hexadecimal digits.

    Attributes
    ----------
    time : str
        When the answer was ready, UTC, as RFC 3339 writes it.
    input : str
        Digest of the request's body as it came.
    csv : str or None
        Digest of the feature row that came beside it.
    model : str
        Digest of the model file.
    manifest : str or None
        Digest of the model's manifest, as JSON without spaces, with sorted members, and with
        escapes for what is not ASCII.
    frontends : sequence of str
        What made the model's tensors.
    window : str or None
        Which part of the sound was used.
    engine, precision : str
        What ran the model.
    output : str
        Digest of the answer's body, byte for byte.
    """

    time: str
    input: str
    csv: str | None
    model: str
    manifest: str | None
    frontends: Sequence[str]
    window: str | None
    engine: str
    precision: str
    output: str


def issue(identity: Identity, claims: Claims) -> str:
    """Sign a receipt."""
    header = {"alg": "EdDSA", "kid": identity.jwk["kid"], "typ": TYPE}
    text = ".".join(base64url(canonical_json(part)) for part in (header, asdict(claims)))
    return f"{text}.{base64url(identity.sign(text.encode()))}"


def verify_receipt(receipt: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a receipt states.

    Parameters
    ----------
    receipt : str
        Its text.
    keys : mapping
        A set of public keys (RFC 7517), as the server gives it out, or one key alone.

    Raises
    ------
    BadReceipt
        If it was not signed by one of the keys, or was changed since.
    """
    try:
        text, _, signature = receipt.rpartition(".")
        head, body = (json.loads(_decode(part)) for part in text.split("."))
        kind, name = (head["alg"], head["typ"]), head["kid"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadReceipt("this is no receipt") from error
    if kind != ("EdDSA", TYPE):
        raise BadReceipt(f"this is no receipt, but {kind}")
    try:
        _public_key(keys, name).verify(_decode(signature), text.encode())
    except (InvalidSignature, ValueError) as error:
        raise BadReceipt("the signature is not good: the receipt was changed") from error
    stated: dict[str, Any] = body
    return stated


def _public_key(keys: Mapping[str, Any], name: object) -> Ed25519PublicKey:
    try:
        # a set may hold keys of others, without a name, or one of them twice (RFC 7517 section 5)
        key = next(key for key in keys.get("keys", [keys]) if _is_named(key, name))
        if (key["kty"], key["crv"]) == ("OKP", "Ed25519"):
            return Ed25519PublicKey.from_public_bytes(_decode(key["x"]))
    except (StopIteration, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadReceipt(f"the key {name} of the receipt is not among those given") from error
    raise BadReceipt(f"the key {name} is no Ed25519 key")


def _is_named(key: object, name: object) -> bool:
    return isinstance(key, Mapping) and "kid" in key and bool(key["kid"] == name)


def _decode(text: str) -> bytes:
    """Decode base64url in its one canonical spelling."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64url(raw) != text:
        raise ValueError("not canonical base64url")
    return raw
