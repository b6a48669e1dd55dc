"""server/signing/stream.py against itsdangerous.Signer, on many generated files."""

import base64
import os
import random

import itsdangerous
import pytest

from server.errors import BadSignature
from server.signing.keyring import KeyRing
from server.signing.stream import StreamUnsigner

CASES = int(os.environ.get("SIGNING_CASES", "2000"))
TOKENS = ["an older token of ours", "the token that signs now"]
LIBRARY = itsdangerous.Signer(TOKENS)
RING = KeyRing(TOKENS)


def _we_read(signed: bytes, draw: random.Random) -> bytes | None:
    unsigner = StreamUnsigner(RING)
    out, at = [], 0
    while at < len(signed):
        size = draw.choice([1, 3, 27, 28, 29, 64, 1000])
        out += [bytes(piece) for piece in unsigner.feed(signed[at : at + size])]
        at += size
    try:
        unsigner.finish()
    except BadSignature:
        return None
    return b"".join(out)


def _the_library_reads(signed: bytes) -> bytes | None:
    """Read with the library, and take only the one canonical spelling."""
    try:
        data: bytes = LIBRARY.unsign(signed)
    except itsdangerous.BadSignature:
        return None
    text = signed[len(data) + 1 :]
    raw = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    return data if base64.urlsafe_b64encode(raw).rstrip(b"=") == text else None


def _altered(signed: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(signed))
    last = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef-_+/="
    return draw.choice(
        [
            signed[:at] + bytes([signed[at] ^ (1 << draw.randrange(8))]) + signed[at + 1 :],
            signed[:-1] + bytes([draw.choice(last)]),
            signed + draw.choice([b"=", b"==", b"\n", b" ", b"*", b"."]),
            signed[:at],
            signed[:at] + draw.choice([b"!", b".", b"\0", b"="]) + signed[at:],
            signed + signed[-28:],
            signed[-28:],
        ]
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_library_agrees_on_every_file() -> None:
    draw = random.Random(20261126)
    verdicts = {True: 0, False: 0}
    for case in range(CASES):
        data = draw.randbytes(draw.choice([0, 1, 27, 28, 29, 100, draw.randrange(2000)]))
        token = draw.choice([*TOKENS, TOKENS[-1], "a token that nobody gave out"])
        signed = itsdangerous.Signer(token).sign(data)
        if draw.random() < 0.7:
            signed = _altered(signed, draw)
        ours = _we_read(signed, draw)
        assert ours == _the_library_reads(signed), (case, signed)
        verdicts[ours is not None] += 1
    assert min(verdicts.values()) > CASES // 10
