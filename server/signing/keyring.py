"""The signing tokens, and the message authentication codes that they make.

itsdangerous signs with HMAC-SHA1 under a key derived from the token and a salt; the salt keeps a
signed JSON payload from being taken for a signed file. On the wire a signature is 27 characters of
base64url. One code has several lenient spellings (spare bits, ``=``, ``+/``, junk); only the
canonical one is taken, so that one signed message has one text.
"""

import base64
import hmac
from collections.abc import Sequence

import itsdangerous

from server.errors import BadSignature

FILE_SALT = b"itsdangerous.Signer"  # what `itsdangerous.Signer(token)` uses
PAYLOAD_SALT = b"itsdangerous"  # what `itsdangerous.Serializer(token)` uses
SEPARATOR = b"."
SIGNATURE_CHARS = 27  # ceil(8 * 20 / 6) for the 20 bytes of SHA-1
TRAILER_BYTES = len(SEPARATOR) + SIGNATURE_CHARS
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class KeyRing:
    """Tokens in order, oldest first; each of them verifies.

    Parameters
    ----------
    tokens : sequence of str
        At least one, none empty.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        if not tokens or not all(tokens):
            raise ValueError("a key ring holds at least one token, none of them empty")
        self._tokens = tuple(tokens)

    def codes(self, salt: bytes) -> list[hmac.HMAC]:
        """Start one authentication code for each token."""
        signers = (itsdangerous.Signer(token, salt=salt) for token in self._tokens)
        return [hmac.new(signer.derive_key(), digestmod="sha1") for signer in signers]


def check_trailer(trailer: bytes, codes: Sequence[hmac.HMAC]) -> None:
    """Compare a trailer (separator and signature) with finished codes.

    Every code is compared, without leaving early, in constant time.

    Raises
    ------
    BadSignature
        If the trailer is not canonical or no code agrees; the error never says which.
    """
    text = trailer[len(SEPARATOR) :]
    if len(trailer) != TRAILER_BYTES or not trailer.startswith(SEPARATOR):
        raise BadSignature
    if not _ALPHABET.issuperset(text):
        raise BadSignature
    raw = decode_canonical(text)
    agreed = [hmac.compare_digest(code.digest(), raw) for code in codes]
    if not any(agreed):
        raise BadSignature


def decode_canonical(text: bytes) -> bytes:
    """Decode base64url without padding, its one canonical spelling only.

    Raises
    ------
    BadSignature
        If encoding the decoded bytes gives another text.
    """
    try:
        raw = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError as error:
        raise BadSignature from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != text:
        raise BadSignature
    return raw
