"""Verify Ed25519 signatures (RFC 8032), with nothing but whole numbers.

Only public values are worked on here, so that it does not matter how long it takes: a few
milliseconds. Signing is left to the library `cryptography`, for its time must tell nothing of the
key.
"""

import hashlib

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64

_Point = tuple[int, int, int, int]  # X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether a signature is that of a message.

    Parameters
    ----------
    public_key : bytes
        32 of them.
    signature : bytes
        64 of them.
    message : bytes
        What was signed.

    Notes
    -----
    As in RFC 8032 section 5.1.7, without the cofactor; encodings that are not canonical are
    refused.
    """
    if len(public_key) != _KEY_BYTES or len(signature) != _SIGNATURE_BYTES:
        return False
    first, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    point = _decode(public_key)
    if point is None or scalar >= _L:
        return False
    hashed = hashlib.sha512(first + public_key + message).digest()
    factor = int.from_bytes(hashed, "little") % _L
    # S B - k A, which must be R
    minus = (_P - point[0], point[1], point[2], _P - point[3])
    return _encode(_add(_times(scalar, _BASE), _times(factor, minus))) == first


def _add(p: _Point, q: _Point) -> _Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: _Point) -> _Point:
    found = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            found = _add(found, point)
        point = _add(point, point)
        scalar >>= 1
    return found


def _decode(raw: bytes) -> _Point | None:
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = _x_of(y, sign) if y < _P else None
    return None if x is None else (x, y, 1, x * y % _P)


def _x_of(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    return _P - x if x & 1 != sign else x


def _encode(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _base() -> _Point:
    y = 4 * pow(5, -1, _P) % _P
    x = _x_of(y, 0)
    if x is None:
        raise ArithmeticError
    return x, y, 1, x * y % _P


_BASE = _base()
