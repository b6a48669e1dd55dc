"""server/known_secrets.py: what everybody knows is no secret, and what is random is one."""

import base64
import random

import pytest

from server.known_secrets import is_known


@pytest.mark.parametrize(
    "secret",
    [
        *("changeme", "change-me", "secret", "token", "password", "changemechangeme"),
        *("your-secret-key-here", "CHANGE_ME_TO_A_RANDOM_STRING", "Super Secret Token 2026!"),
        *("this is a secret", "replace-me-please-12345", "insert your token here", "devtoken" * 4),
        *("xxxxxxxxxxxxxxxxxxxx", "abababababababab", "1111111111111111", "1234123412341234"),
        *(
            "0123456789abcdef",
            "abcdefghijklmnopqrstuvwxyz",
            "12345678901234567890",
            "fedcba9876543210",
        ),
        *(
            "correct horse battery staple",
            "correct-horse-battery-staple",
            "CorrectHorseBatteryStaple",
        ),
        "0123456789abcdef" * 4,
        *("1234512345123451", "q7Zk2vQ9" * 2, "tR4!x" * 5),
    ],
)
def test_what_everybody_tries_is_known(secret: str) -> None:
    assert is_known(secret.encode())


@pytest.mark.parametrize("secret", [bytes(32), bytes(range(32)), b"\xff" * 32, b"\x01\x02" * 16])
def test_bytes_without_chance_in_them_are_known(secret: bytes) -> None:
    assert is_known(secret)


def test_random_secrets_are_not_known() -> None:
    chance = random.Random(20261127)
    for _ in range(2000):
        raw = chance.randbytes(32)
        for secret in (raw, raw.hex().encode(), base64.b64encode(raw), raw[:8].hex().encode()):
            assert not is_known(secret)
        digits = "".join(chance.choice("0123456789") for _ in range(40))
        assert not is_known(digits.encode())


def test_a_random_secret_of_five_different_digits_is_not_known() -> None:
    assert not is_known(b"c898dccd9cb9d9bd")


@pytest.mark.parametrize(
    "secret",
    [
        "only 24 bytes of secrecy",
        "tragic umbrella seventeen pear",
        "p\u00e4ssw\u00f6rter sind geheim",
    ],
)
def test_words_of_ones_own_are_not_known(secret: str) -> None:
    assert not is_known(secret.encode())
