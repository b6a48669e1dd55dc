"""Texts of what is signed by us: base64url without padding, and JSON with one spelling."""

import base64
import json
from collections.abc import Mapping


def base64url(raw: bytes) -> str:
    """Encode as JOSE does (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def canonical_json(value: Mapping[str, object]) -> bytes:
    """Write an object without spaces, its members in order."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
