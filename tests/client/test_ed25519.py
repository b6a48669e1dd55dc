"""spectrogrampredictor/ed25519.py against RFC 8032 and the library `cryptography`."""

import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from spectrogrampredictor.ed25519 import verify

L = 2**252 + 27742317777372353535851937790883648493
# section 7.1: public key, message, signature
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


def library(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize("vector", VECTORS, ids=["empty", "one byte", "two bytes"])
def test_the_vectors_of_the_standard_hold(vector: tuple[str, str, str]) -> None:
    public, message, signature = map(bytes.fromhex, vector)
    assert verify(public, signature, message)
    assert not verify(public, signature, message + b"!")


def test_it_agrees_with_the_library() -> None:
    rng = random.Random(8032)
    verdicts = []
    for _ in range(200):
        key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), rng.randbytes(rng.randrange(80))
        parts = [bytearray(public), bytearray(key.sign(message)), bytearray(message)]
        if rng.random() < 0.7 and parts[(where := rng.randrange(3))]:
            parts[where][rng.randrange(len(parts[where]))] ^= 1 << rng.randrange(8)
        public, signature, message = map(bytes, parts)
        verdicts.append(verify(public, signature, message))
        assert verdicts[-1] == library(public, signature, message)
    assert {True, False} == set(verdicts)


def test_a_signature_has_one_spelling() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little")
    again = signature[:32] + (scalar + L).to_bytes(32, "little")
    assert verify(public, signature, b"message")
    assert not verify(public, again, b"message")


@pytest.mark.parametrize(
    ("public", "signature"),
    [
        (b"", b"\0" * 64),
        (b"\0" * 31, b"\0" * 64),
        (b"\1" + b"\0" * 31, b"\0" * 63),
        (b"\xff" * 32, b"\0" * 64),  # y is no number below p
        (b"\2" + b"\0" * 31, b"\0" * 64),  # no point has this y
        (b"\1" + b"\0" * 30 + b"\x80", b"\0" * 64),  # -0
        ((2**255 - 19 + 1).to_bytes(32, "little"), b"\1" + b"\0" * 63),  # 1, spelled otherwise
    ],
    ids=range(7),
)
def test_what_is_no_key_or_no_signature_is_refused(public: bytes, signature: bytes) -> None:
    assert not verify(public, signature, b"message")
