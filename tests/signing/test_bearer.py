"""server/signing/bearer.py: what a token says, and everything that is refused."""

from dataclasses import replace

import itsdangerous
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.digest import Digest
from server.errors import BadSignature, ScopeMissing
from server.signing.bearer import BearerTokens
from server.signing.keyfile import OPERATOR
from server.signing.keyring import Algorithm, Key, KeyRing
from server.signing.principal import Dialect, Grants, Scope

NOW = 1_800_000_000.0
SECRET = bytes(range(32))
READ: Grants = {Scope.READ: ("*",)}
KEY = Key("minter", Algorithm.HMAC_SHA256, SECRET, {Scope.READ: ("ab*",), Scope.PREDICT: ("*",)})


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def tokens(*keys: Key, clock: Clock | None = None, secret: bytes = SECRET) -> BearerTokens:
    ring = KeyRing(keys=keys, clock=clock or Clock())
    return BearerTokens(secret, lambda: ring, clock=clock or Clock())


def test_a_token_speaks_for_its_key_within_its_scopes() -> None:
    minted = tokens(KEY).mint("minter", READ, ttl_s=60, max_bytes=100, material=SECRET)
    principal = tokens(KEY).open(minted.text)
    assert minted.expires == NOW + 60
    assert (principal.key_id, principal.dialect) == ("minter", Dialect.BEARER)
    assert principal.max_bytes == 100
    principal.require(Scope.READ, Digest.parse("ab" * 32))
    for scope, digest in [(Scope.READ, Digest.parse("cd" * 32)), (Scope.PREDICT, None)]:
        with pytest.raises(ScopeMissing):
            principal.require(scope, digest)


def test_the_operators_token_needs_no_key() -> None:
    principal = tokens().open(tokens().mint(OPERATOR, READ, ttl_s=60).text)
    assert principal.max_bytes is None
    principal.require(Scope.READ, Digest.parse("cd" * 32))


def test_a_token_says_that_it_ends_with_its_key() -> None:
    ending = replace(KEY, not_after=NOW + 3.5)
    minted = tokens(ending).mint("minter", READ, ttl_s=60, material=SECRET)
    assert minted.expires == NOW + 3


def test_a_token_ends_at_its_time() -> None:
    clock = Clock()
    text = tokens(KEY).mint("minter", READ, ttl_s=60, material=SECRET).text
    clock.now = NOW + 59
    assert tokens(KEY, clock=clock).open(text).key_id == "minter"
    clock.now = NOW + 60
    with pytest.raises(BadSignature):
        tokens(KEY, clock=clock).open(text)


def test_a_token_of_a_key_that_is_gone_is_refused() -> None:
    text = tokens(KEY).mint("minter", READ, ttl_s=60, material=SECRET).text
    with pytest.raises(BadSignature):
        tokens().open(text)


def test_a_token_ends_with_the_secret_that_minted_it() -> None:
    text = tokens(KEY).mint("minter", READ, ttl_s=60, material=SECRET).text
    for other in (replace(KEY, material=SECRET[::-1]), replace(KEY, material=b"")):
        with pytest.raises(BadSignature):
            tokens(other).open(text)


def test_a_token_of_another_server_is_refused() -> None:
    text = tokens(KEY, secret=bytes(32)).mint("minter", READ, ttl_s=60, material=SECRET).text
    with pytest.raises(BadSignature):
        tokens(KEY).open(text)


def test_another_purpose_of_the_secret_makes_no_token() -> None:
    text = itsdangerous.URLSafeTimedSerializer(SECRET).dumps({"kid": OPERATOR})
    with pytest.raises(BadSignature):
        tokens(KEY).open(str(text))


@pytest.mark.parametrize("change", [1, 2, 4, 8, 16, 32, 64])
def test_a_flipped_bit_anywhere_is_refused(change: int) -> None:
    text = tokens(KEY).mint("minter", READ, ttl_s=60, material=SECRET).text
    for at in range(len(text)):
        changed = text[:at] + chr(ord(text[at]) ^ change) + text[at + 1 :]
        with pytest.raises(BadSignature):
            tokens(KEY).open(changed)


@given(st.text(max_size=100))
def test_nothing_else_is_a_token(text: str) -> None:
    for candidate in (text, "x" * 9000, text + "\u00e9"):
        with pytest.raises(BadSignature):
            tokens(KEY).open(candidate)
