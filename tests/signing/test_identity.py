"""server/signing/identity.py and receipts.py: the server's key and what it signs."""

import base64
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from server.signing import identity as identity_module
from server.signing.encoding import base64url, canonical_json
from server.signing.identity import Identity, IdentityFault
from server.signing.receipts import BadReceipt, Claims, issue, verify_receipt

# RFC 8037 appendix A: a key, its thumbprint and a signature over a text
PRIVATE = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
PUBLIC = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
CLAIMS = Claims(
    time="2026-11-26T05:00:00.000Z",
    input="00" * 32,
    csv=None,
    model="11" * 32,
    manifest="22" * 32,
    frontends=["kaggle-gtzan@1"],
    window="0.0-30.0 s of 30.0 s",
    engine="onnxruntime 1.31.1",
    precision="float32",
    output="33" * 32,
)


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture
def identity() -> Identity:
    return Identity(Ed25519PrivateKey.from_private_bytes(raw(PRIVATE)))


def test_the_key_is_named_as_rfc_8037_names_it(identity: Identity) -> None:
    assert identity.jwk["x"] == PUBLIC
    assert identity.jwk["kid"] == THUMBPRINT


def test_the_signature_is_the_one_of_rfc_8037(identity: Identity) -> None:
    text = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    assert base64url(identity.sign(text)) == (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    first = Identity.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Identity.open(path).jwk == first.jwk
    assert [each.name for each in tmp_path.iterdir()] == ["identity.key"]
    assert Identity.open(tmp_path / "another").jwk != first.jwk


def test_of_many_makers_at_once_one_wins(tmp_path: Path) -> None:
    found: list[str] = []
    path = tmp_path / "identity.key"

    def make() -> None:
        identity_module._make(path)
        found.append(Identity.open(path).jwk["kid"])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    Identity.open(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(IdentityFault, match="alone"):
        Identity.open(tmp_path / "key")


def test_a_file_that_is_no_such_key_is_refused(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for text in (b"", b"no key", other):
        (tmp_path / "key").write_bytes(text)
        (tmp_path / "key").chmod(0o600)
        with pytest.raises(IdentityFault, match="is no"):
            Identity.open(tmp_path / "key")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(IdentityFault, match="cannot be read or made"):
        Identity.open(tmp_path / "none" / "key")


def test_secrets_of_two_purposes_differ(identity: Identity) -> None:
    assert identity.secret(b"one") == identity.secret(b"one")
    assert identity.secret(b"one") != identity.secret(b"two")
    assert len(identity.secret(b"one")) == 32


# receipts


def test_a_receipt_states_what_was_claimed(identity: Identity) -> None:
    receipt = issue(identity, CLAIMS)
    for keys in ({"keys": [identity.jwk]}, identity.jwk):
        stated = verify_receipt(receipt, keys)
        assert stated["model"] == "11" * 32
        assert stated["frontends"] == ["kaggle-gtzan@1"]
        assert stated["csv"] is None
        assert len(stated) == 10


def test_a_receipt_verifies_without_our_code(identity: Identity) -> None:
    text, _, signature = issue(identity, CLAIMS).rpartition(".")
    Ed25519PublicKey.from_public_bytes(raw(PUBLIC)).verify(raw(signature), text.encode())
    header, claims = (json.loads(raw(part)) for part in text.split("."))
    assert header == {"alg": "EdDSA", "kid": THUMBPRINT, "typ": "prediction-receipt"}
    assert claims["output"] == "33" * 32


@pytest.mark.parametrize("change", [1, 2, 4, 8, 16, 32, 64])
def test_a_receipt_with_a_flipped_bit_is_refused(identity: Identity, change: int) -> None:
    receipt = issue(identity, CLAIMS)
    for at in range(len(receipt)):
        changed = receipt[:at] + chr(ord(receipt[at]) ^ change) + receipt[at + 1 :]
        with pytest.raises(BadReceipt):
            verify_receipt(changed, identity.jwk)


def test_a_receipt_of_another_server_is_refused(identity: Identity, tmp_path: Path) -> None:
    other = Identity.open(tmp_path / "key")
    with pytest.raises(BadReceipt, match="not among"):
        verify_receipt(issue(other, CLAIMS), {"keys": [identity.jwk]})
    named = identity.jwk | {"x": other.jwk["x"]}
    with pytest.raises(BadReceipt, match="changed"):
        verify_receipt(issue(identity, CLAIMS), named)


@pytest.mark.parametrize(
    "key",
    [
        *({"kty": "EC"}, {"crv": "X25519"}, {"x": "AA"}, {"x": 5}, {"x": "="}, {"kty": None}),
    ],
    ids=str,
)
def test_a_key_of_another_kind_is_refused(identity: Identity, key: dict[str, Any]) -> None:
    with pytest.raises(BadReceipt):
        verify_receipt(issue(identity, CLAIMS), identity.jwk | key)


@pytest.mark.parametrize("keys", [{}, {"keys": []}, {"keys": 5}, {"keys": [5]}, {"kid": "x"}])
def test_a_set_without_the_key_is_refused(identity: Identity, keys: dict[str, Any]) -> None:
    with pytest.raises(BadReceipt, match="not among"):
        verify_receipt(issue(identity, CLAIMS), keys)


@pytest.mark.parametrize("header", [{"alg": "none"}, {"typ": "JWT"}, {"alg": "HS256"}])
def test_a_text_of_another_kind_is_no_receipt(identity: Identity, header: dict[str, str]) -> None:
    good = {"alg": "EdDSA", "kid": THUMBPRINT, "typ": "prediction-receipt"}
    text = f"{base64url(canonical_json(good | header))}.{base64url(canonical_json({}))}"
    receipt = f"{text}.{base64url(identity.sign(text.encode()))}"
    with pytest.raises(BadReceipt, match="no receipt"):
        verify_receipt(receipt, identity.jwk)


@given(st.text(max_size=60))
def test_nothing_else_is_a_receipt(text: str) -> None:
    with pytest.raises(BadReceipt):
        verify_receipt(text, {"keys": []})


def test_a_set_may_hold_other_keys_and_one_twice(identity: Identity) -> None:
    unnamed = {name: value for name, value in identity.jwk.items() if name != "kid"}
    merged = {"keys": [unnamed, None, {"kty": "RSA", "kid": 5}, identity.jwk, identity.jwk]}
    assert verify_receipt(issue(identity, CLAIMS), merged)["model"] == CLAIMS.model


def test_two_answers_have_two_receipts(identity: Identity) -> None:
    assert issue(identity, CLAIMS) != issue(identity, replace(CLAIMS, output="44" * 32))
