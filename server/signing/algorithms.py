"""The two algorithms of message signatures (RFC 9421 sections 3.3.3 and 3.3.6)."""

import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.signing.keyring import Algorithm, Key


def verify(key: Key, base: bytes, signature: bytes) -> bool:
    """Tell whether a signature is a key's, by the algorithm of the key.

    Parameters
    ----------
    key : Key
        For messages.
    base : bytes
        What was signed.
    signature : bytes
        To be judged.
    """
    if key.algorithm is Algorithm.HMAC_SHA256:
        return hmac.compare_digest(hmac.digest(key.material, base, "sha256"), signature)
    try:
        Ed25519PublicKey.from_public_bytes(key.material).verify(signature, base)
    except InvalidSignature:
        return False
    return True
