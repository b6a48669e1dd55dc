"""What a server signed of a prediction, verified without it.

A receipt is a JWS in its compact form (RFC 7515) with `EdDSA` (RFC 8037). The public key is fetched
once from the server itself and kept: `Client.receipt_keys`.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectrogrampredictor import ed25519

_TYPE = "prediction-receipt"
_ALGORITHM = "EdDSA"


class BadReceipt(Exception):
    """A receipt that cannot be relied on; says why."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a server states; digests are SHA-256 in hexadecimal digits.

    Attributes
    ----------
    time : str
        When the answer was ready, UTC.
    input : str
        Of the request's body.
    csv : str or None
        Of the feature row that came beside it.
    model : str
        Of the model's file.
    manifest : str or None
        Of its manifest.
    frontends : list of str
        What made the tensors.
    window : str or None
        Which part of the sound was used.
    engine, precision : str
        What ran the model.
    output : str
        Of the answer's body.
    """

    time: str
    input: str
    csv: str | None
    model: str
    manifest: str | None
    frontends: list[str]
    window: str | None
    engine: str
    precision: str
    output: str


def verify_receipt(
    receipt: str,
    keys: Mapping[str, Any],
    *,
    answer: bytes | None = None,
    sound: bytes | None = None,
    model: str | None = None,
) -> Receipt:
    """Return what a receipt states, if it is good.

    Parameters
    ----------
    receipt : str
        Its text.
    keys : mapping
        The server's public keys as a JWK set, or one of them.
    answer, sound : bytes, optional
        The answer's body, and the request's, to be the ones that it is about.
    model : str, optional
        The digest of the model that must have answered.

    Raises
    ------
    BadReceipt
        If it was not signed by one of the keys, was changed since, or is about something else.
    """
    stated = _read(receipt, keys)
    for name, data in (("output", answer), ("input", sound)):
        if data is not None and hashlib.sha256(data).hexdigest() != getattr(stated, name):
            raise BadReceipt(f"it is about another {name}")
    if model is not None and model.lower() != stated.model:
        raise BadReceipt(f"it is about another model: {stated.model}")
    return stated


def _read(receipt: str, keys: Mapping[str, Any]) -> Receipt:
    try:
        text, _, signature = receipt.strip().rpartition(".")
        head, claims = (json.loads(_decode(part)) for part in text.split("."))
        named, kind = head["kid"], (head["alg"], head["typ"])
        signed = _decode(signature)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadReceipt("this is no receipt") from error
    if kind != (_ALGORITHM, _TYPE):
        raise BadReceipt("this is no receipt")
    if not ed25519.verify(_public_key(keys, named), signed, text.encode()):
        raise BadReceipt("the signature is not good: it was changed, or another server's")
    try:
        # a newer server may state more
        return Receipt(**{name: claims[name] for name in Receipt.__dataclass_fields__})
    except (KeyError, TypeError) as error:
        raise BadReceipt("it does not state what receipts state") from error


def _public_key(keys: Mapping[str, Any], named: object) -> bytes:
    try:
        # a set may hold keys of others, without a name, or one of them twice (RFC 7517 section 5)
        key = next(key for key in keys.get("keys", [keys]) if _is_named(key, named))
        if (key["kty"], key["crv"]) == ("OKP", "Ed25519"):
            return _decode(key["x"])
    except (StopIteration, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadReceipt(f"its key {named} is not among those given") from error
    raise BadReceipt(f"its key {named} is no Ed25519 key")


def _is_named(key: object, name: object) -> bool:
    return isinstance(key, Mapping) and "kid" in key and bool(key["kid"] == name)


def _decode(text: str) -> bytes:
    """Decode base64url in its one canonical spelling."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise ValueError("not canonical base64url")
    return raw
