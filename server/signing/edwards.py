"""Which 32 bytes are an Ed25519 public key (RFC 8032 section 5.1.3) that only its owner signs for.

No library says so: OpenSSL takes any 32 bytes for a key, and with one of the points of small order
signatures verify that were made without a private key.
"""

_P = (1 << 255) - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SIGN = 1 << 255
# y of a point of order 8; the others are its opposite, and 1, -1 and 0 for the orders 1, 2 and 4
_Y8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_OF_SMALL_ORDER = {1, _P - 1, 0, _Y8, _P - _Y8}


def is_public_key(raw: bytes) -> bool:
    """Tell whether bytes are a point of the curve, in its one spelling, and not of small order.

    Parameters
    ----------
    raw : bytes
        32 of them.
    """
    y = int.from_bytes(raw, "little") & ~_SIGN
    if y >= _P or y in _OF_SMALL_ORDER:
        return False
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return pow(x_squared, (_P - 1) // 2, _P) == 1
