"""spectrogrampredictor/receipts.py: what the server signs is verified without it."""

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from server.signing.encoding import base64url
from server.signing.identity import Identity
from server.signing.receipts import Claims, issue
from spectrogrampredictor import BadReceipt, verify_receipt

SOUND, ANSWER = b"a song", b'{"labels":[]}'
CLAIMS = Claims(
    time="2026-11-26T05:00:00.000Z",
    input=hashlib.sha256(SOUND).hexdigest(),
    csv=None,
    model="ab" * 32,
    manifest=None,
    frontends=["gtzan-58@1"],
    window="0-30 s of 30 s",
    engine="onnxruntime 1",
    precision="float32",
    output=hashlib.sha256(ANSWER).hexdigest(),
)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.open(tmp_path_factory.mktemp("identity") / "identity.key")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.open(tmp_path_factory.mktemp("other") / "identity.key")


def keys(*identities: Identity) -> dict[str, Any]:
    return {"keys": [one.jwk for one in identities]}


def test_a_good_receipt_says_what_it_states(identity: Identity, other: Identity) -> None:
    receipt = issue(identity, CLAIMS) + "\n"
    stated = verify_receipt(
        receipt, keys(other, identity), answer=ANSWER, sound=SOUND, model="AB" * 32
    )
    assert asdict(stated) == asdict(CLAIMS)
    assert verify_receipt(receipt, identity.jwk) == stated


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"answer": b"{}"}, "another output"),
        ({"sound": b""}, "another input"),
        ({"model": "cd" * 32}, "another model: abab"),
    ],
)
def test_a_receipt_of_something_else_is_refused(
    identity: Identity, named: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadReceipt, match=said):
        verify_receipt(issue(identity, CLAIMS), keys(identity), **named)


def test_a_set_may_hold_other_keys_and_one_twice(identity: Identity) -> None:
    unnamed = {name: value for name, value in identity.jwk.items() if name != "kid"}
    merged = {"keys": [unnamed, None, {"kty": "RSA", "kid": 5}, identity.jwk, identity.jwk]}
    assert verify_receipt(issue(identity, CLAIMS), merged).model == CLAIMS.model


def test_a_receipt_of_another_server_is_refused(identity: Identity, other: Identity) -> None:
    receipt = issue(other, CLAIMS)
    with pytest.raises(BadReceipt, match="not among those given"):
        verify_receipt(receipt, keys(identity))
    forged = {"keys": [identity.jwk | {"kid": other.jwk["kid"]}]}
    with pytest.raises(BadReceipt, match="signature"):
        verify_receipt(receipt, forged)


def test_every_changed_letter_is_seen(identity: Identity) -> None:
    receipt = issue(identity, CLAIMS)
    for place in range(0, len(receipt), 7):
        letter = "A" if receipt[place] != "A" else "B"
        with pytest.raises(BadReceipt):
            verify_receipt(receipt[:place] + letter + receipt[place + 1 :], keys(identity))


def test_a_receipt_that_states_more_is_read_and_one_that_states_less_is_not(
    identity: Identity,
) -> None:
    for change, good in (({"more": 1}, True), ({"model": None}, True)):
        assert bool(signed(identity, asdict(CLAIMS) | change)) is good
    less = {name: value for name, value in asdict(CLAIMS).items() if name != "output"}
    with pytest.raises(BadReceipt, match="does not state"):
        verify_receipt(signed(identity, less), keys(identity))


def signed(identity: Identity, claims: dict[str, Any], **head: Any) -> str:
    header = {"alg": "EdDSA", "kid": identity.jwk["kid"], "typ": "prediction-receipt"} | head
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{base64url(identity.sign(text.encode()))}"


@pytest.mark.parametrize("head", [{"alg": "none"}, {"alg": "HS256"}, {"typ": "JWT"}])
def test_another_kind_of_token_is_no_receipt(identity: Identity, head: dict[str, str]) -> None:
    with pytest.raises(BadReceipt, match="no receipt"):
        verify_receipt(signed(identity, asdict(CLAIMS), **head), keys(identity))


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "e30.e30.", "\u00e4.\u00e4.\u00e4", "W10.W10.AA"]
)
def test_what_is_no_receipt_is_refused(identity: Identity, text: str) -> None:
    with pytest.raises(BadReceipt):
        verify_receipt(text, keys(identity))


@pytest.mark.parametrize(
    "wrong",
    [{}, {"keys": []}, {"keys": None}, {"keys": [{}]}, {"keys": [None]}, {"kid": 1}],
    ids=str,
)
def test_keys_that_are_none_are_refused(identity: Identity, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadReceipt):
        verify_receipt(issue(identity, replace(CLAIMS, csv="00")), wrong)


def test_a_key_that_is_no_ed25519_key_is_refused(identity: Identity) -> None:
    for change in ({"crv": "X25519"}, {"x": "!"}, {"x": "AAAA"}):
        with pytest.raises(BadReceipt):
            verify_receipt(issue(identity, CLAIMS), identity.jwk | change)
