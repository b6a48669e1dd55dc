"""server/signing/edwards.py: points of small order, and bytes that are no point, are no key."""

import secrets

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from server.signing.edwards import is_public_key

P = (1 << 255) - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def plus(one: Point, two: Point) -> Point:
    """Add two points, by the law of RFC 8032 section 5.1.4 in affine coordinates."""
    (x1, y1), (x2, y2) = one, two
    mixed = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + mixed, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - mixed, -1, P)
    return x % P, y % P


def decoded(raw: bytes) -> Point | None:
    """Return a point by RFC 8032 section 5.1.3; None when the bytes are none."""
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or v * x * x % P != u or (x == 0 and sign):
        return None
    return (P - x if x & 1 != sign else x), y


def is_small(point: Point) -> bool:
    for _ in range(3):
        point = plus(point, point)
    return point == (0, 1)


def small_order() -> list[bytes]:
    """Return every spelling of a point whose order divides 8, by multiplying others by theirs."""
    order = (1 << 252) + 27742317777372353535851937790883648493
    found: set[int] = set()
    while len(found) < 5:
        point = decoded(secrets.token_bytes(32))
        if point is None:
            continue
        total, bits = (0, 1), order
        while bits:
            total = plus(total, point) if bits & 1 else total
            point, bits = plus(point, point), bits >> 1
        found.add(total[1])
    spelled = {y + k * P for y in found for k in (0, 1) if y + k * P < 1 << 255}
    return [(y | sign << 255).to_bytes(32, "little") for y in sorted(spelled) for sign in (0, 1)]


def test_no_spelling_of_a_point_of_small_order_is_a_key() -> None:
    spelled = small_order()
    assert len(spelled) == 14
    assert [raw.hex() for raw in spelled if is_public_key(raw)] == []


def test_anybody_signs_for_the_point_that_is_nothing() -> None:
    nothing = (1).to_bytes(32, "little")
    forged = nothing + bytes(32)
    Ed25519PublicKey.from_public_bytes(nothing).verify(forged, b"whatever it is")
    with pytest.raises(InvalidSignature):
        Ed25519PrivateKey.generate().public_key().verify(forged, b"whatever it is")


@given(st.binary(min_size=32, max_size=32))
def test_what_is_a_key_is_a_point_of_large_order(raw: bytes) -> None:
    point = decoded(raw)
    assert is_public_key(raw) == (point is not None and not is_small(point))


@given(st.binary(min_size=32, max_size=32))
def test_every_pair_has_a_key(private: bytes) -> None:
    public = Ed25519PrivateKey.from_private_bytes(private).public_key()
    assert is_public_key(public.public_bytes_raw())
