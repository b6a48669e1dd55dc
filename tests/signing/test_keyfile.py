"""server/signing/keyfile.py and keyedits.py: keys by name, as fresh as their file."""

import base64
import hashlib
import json
import os
import resource
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import itsdangerous
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from server.digest import Digest
from server.errors import BadSignature, ScopeMissing
from server.signing.keyedits import add_key, disable_key, new_material
from server.signing.keyfile import KeyFault, KeyFile, parse_keys, read_keys
from server.signing.keyring import PAYLOAD_SALT, Algorithm, Key, KeyRing
from server.signing.principal import EVERYTHING, Dialect, Limits, Principal, Scope
from tests.signing.messages import PUBLIC

NOW = 1_800_000_000.0
RAW = hashlib.sha256(b"a secret of these tests").digest()
SECRET = base64.b64encode(RAW).decode()
TOKEN = "a token of more than sixteen bytes"
GOOD: dict[str, Any] = {
    "id": "notebook",
    "algorithm": "hmac-sha256",
    "secret": SECRET,
    "scopes": {"predict": ["*"]},
}


def text_of(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


def write(path: Path, *entries: object) -> Path:
    path.write_bytes(text_of(*entries))
    path.chmod(0o600)
    return path


def fault_of(text: bytes) -> str:
    with pytest.raises(KeyFault) as caught:
        parse_keys(text)
    assert SECRET not in str(caught.value)
    return str(caught.value)


# what a file says


def test_a_key_is_read_with_all_it_says() -> None:
    entry = GOOD | {
        "scopes": {"register": ["*"], "predict": ["3f2a*", "??00*"]},
        "not_before": "2026-11-01T00:00:00Z",
        "not_after": "2027-01-01T00:00:00",
        "disabled": True,
        "limits": {"requests_per_minute": 60, "bytes_per_hour": 1000},
    }
    (key,) = parse_keys(text_of(entry))
    assert key == Key(
        "notebook",
        Algorithm.HMAC_SHA256,
        RAW,
        {Scope.REGISTER: ("*",), Scope.PREDICT: ("3f2a*", "??00*")},
        not_before=1793491200.0,
        not_after=1798761600.0,
        disabled=True,
        limits=Limits(requests_per_minute=60, bytes_per_hour=1000),
    )
    assert SECRET not in repr(key)


@pytest.mark.parametrize(
    ("entry", "raw"),
    [
        ({"algorithm": "ed25519", "public_key": base64.b64encode(PUBLIC).decode()}, PUBLIC),
        ({"algorithm": "itsdangerous", "secret": TOKEN}, TOKEN.encode()),
        ({"algorithm": "hmac-sha256", "secret": SECRET}, RAW),
    ],
)
def test_each_algorithm_has_its_own_material(entry: dict[str, str], raw: bytes) -> None:
    (key,) = parse_keys(text_of({"id": "a", "scopes": {}} | entry))
    assert (key.algorithm, key.material) == (entry["algorithm"], raw)


def test_a_file_without_keys_is_good() -> None:
    assert parse_keys(b'{"keys": []}') == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        *(({"id": name}, "an id is") for name in ("", "a b", "x" * 65, "-a", "\u00e9", 5, None)),
        *(({"id": name}, "server's own") for name in ("operator", "signing-token-00")),
        *(({"algorithm": name}, "one of") for name in ("none", "HMAC-SHA256", "rsa", "")),
        *(({"secret": text}, "base64") for text in ("!", SECRET[:-1], "\u00e9" * 44)),
        *(({"secret": text}, "at least 32") for text in ("", base64.b64encode(bytes(31)).decode())),
        *(({"secret": text}, "missing") for text in (None, 5)),
        ({"algorithm": "itsdangerous", "secret": "fifteen bytes.."}, "at least 16"),
        ({"algorithm": "itsdangerous", "secret": "change me, please!"}, "everybody knows"),
        *(
            ({"secret": base64.b64encode(raw).decode()}, "everybody knows")
            for raw in (bytes(32), bytes(range(32)))
        ),
        ({"algorithm": "ed25519"}, "unknown members"),
        ({"public_key": SECRET}, "unknown members"),
        ({"surprise": 1}, "unknown members"),
        *(({"disabled": value}, "true or false") for value in (0, "no")),
        *(({"not_after": text}, "instant") for text in ("soon", "2026-13-01", 5, 20271126)),
        ({"not_before": "x"}, "instant"),
        *(({"limits": value}, "an object") for value in (5, None, {"speed": 1})),
        *(
            ({"limits": {"bytes_per_hour": n}}, "from 1 to")
            for n in (0, -1, 1.5, True, "9", 10**400)
        ),
        ({"scopes": []}, "an object"),
        ({"scopes": {"fly": ["*"]}}, "an object"),
        *(({"scopes": value}, "an object") for value in ("predict", None)),
        *(({"scopes": {"predict": value}}, "patterns") for value in ("*", None)),
        *(({"scopes": {"predict": [value]}}, "patterns") for value in ("x", 5, "", "A*", "a" * 65)),
    ],
    ids=ascii,
)
def test_a_key_of_another_form_is_told(changed: dict[str, Any], says: str) -> None:
    assert says in fault_of(text_of(GOOD | changed))


def test_a_public_key_has_32_bytes() -> None:
    key = {"id": "a", "algorithm": "ed25519", "scopes": {}, "public_key": SECRET[:-4]}
    assert "32 bytes" in fault_of(text_of(key))


@pytest.mark.parametrize("raw", [b"\1" + bytes(31), bytes(32), b"\2" + bytes(31)])
def test_a_public_key_that_anybody_signs_for_is_told(raw: bytes) -> None:
    public = base64.b64encode(raw).decode()
    key = {"id": "a", "algorithm": "ed25519", "scopes": {}, "public_key": public}
    assert "no Ed25519 public key" in fault_of(text_of(key))


@pytest.mark.parametrize("name", ["id", "algorithm", "scopes"])
def test_a_key_without_what_it_must_hold_is_told(name: str) -> None:
    assert "must hold" in fault_of(text_of({k: v for k, v in GOOD.items() if k != name}))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"[]", b"5", b"null", b"\xff", b'{"key": []}', b'{"keys": 5}', b"[" * 100_000),
        text_of(GOOD | {"algorithm": []}),
        *(b'{"keys": ""}', b'{"keys": {}}', b'{"keys": [], "surprise": 1}'),
    ],
    ids=range(13),
)
def test_a_text_of_another_form_is_told(text: bytes) -> None:
    assert "is not JSON of the form" in fault_of(text)


def test_a_byte_order_mark_is_told() -> None:
    assert "byte order mark" in fault_of(b"\xef\xbb\xbf" + text_of(GOOD))


@pytest.mark.parametrize(
    "changed", [{"algorithm": "rot13"}, {"scopes": {"fly": []}}, {"not_before": 20271126}]
)
def test_a_fault_speaks_the_language_of_the_file(changed: dict[str, Any]) -> None:
    assert "<" not in fault_of(text_of(GOOD | changed))


@pytest.mark.parametrize("entry", [5, "x", None, []])
def test_an_entry_that_is_no_object_is_told(entry: object) -> None:
    assert "key 1: must hold" in fault_of(text_of(entry))


def test_a_member_or_a_key_named_twice_is_told() -> None:
    assert "twice" in fault_of(b'{"keys": [{"id": "a", "id": "b"}]}')
    assert "'notebook'" in fault_of(text_of(GOOD, GOOD))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([*GOOD]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*GOOD, "keys", "not_after"]), inner, max_size=5)
        ),
        max_leaves=12,
    )
)
def test_no_json_raises_anything_but_a_fault(value: object) -> None:
    for text in (json.dumps(value), json.dumps({"keys": [value]})):
        try:
            parse_keys(text.encode())
        except KeyFault:
            continue


# the file itself


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFault, match="cannot be read"):
        KeyFile(tmp_path / "none")


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o666])
def test_a_file_that_every_user_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "keys", GOOD)
    path.chmod(mode)
    with pytest.raises(KeyFault, match="every user"):
        read_keys(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b" " * ((1 << 20) + 1))
    path.chmod(0o600)
    with pytest.raises(KeyFault, match="larger"):
        read_keys(path)


def test_a_change_counts_at_the_next_look(tmp_path: Path) -> None:
    keys = KeyFile(write(tmp_path / "keys", GOOD))
    ring = keys.ring()
    assert ring.find("notebook") is not None
    assert keys.ring() is ring
    write(tmp_path / "keys", GOOD | {"id": "another"})
    assert keys.ring().find("notebook") is None
    assert keys.ring().find("another") is not None


def test_a_broken_file_keeps_the_old_keys_until_it_is_good_again(tmp_path: Path) -> None:
    path = write(tmp_path / "keys", GOOD)
    keys = KeyFile(path)
    for breaking in (lambda: path.write_bytes(b"{"), lambda: path.chmod(0o644), path.unlink):
        breaking()
        assert keys.ring().find("notebook") is not None
        assert keys.fault is not None
        write(path, GOOD)
        assert keys.ring().find("notebook") is not None
        assert keys.fault is None


def test_signing_tokens_stay_beside_the_file(tmp_path: Path) -> None:
    keys = KeyFile(write(tmp_path / "keys", GOOD), [TOKEN])
    assert keys.state() == {"known": 2, "fault": None}
    write(tmp_path / "keys")
    assert len(keys.ring()) == 1
    assert len(keys.ring().codes(PAYLOAD_SALT)) == 1


def test_without_a_file_the_tokens_are_all_there_is() -> None:
    assert len(KeyFile(None, [TOKEN]).ring()) == 1


# when a key is good, and for what


@pytest.mark.parametrize(
    ("changed", "good"),
    [
        ({}, True),
        ({"disabled": True}, False),
        ({"not_before": NOW}, True),
        ({"not_before": NOW + 1}, False),
        ({"not_after": NOW + 1}, True),
        ({"not_after": NOW}, False),
    ],
)
def test_a_key_verifies_only_while_it_is_good(changed: dict[str, Any], good: bool) -> None:
    token = Key("a", Algorithm.ITSDANGEROUS, TOKEN.encode(), **changed)
    other = Key("b", Algorithm.HMAC_SHA256, bytes(32), **changed)
    ring = KeyRing(keys=[token, other], clock=lambda: NOW)
    assert [code.key for code in ring.codes(PAYLOAD_SALT)] == ([token] if good else [])
    assert ring.find("b") == (other if good else None)


@pytest.mark.parametrize(
    ("now", "good"),
    [
        ({}, True),
        ({"limits": Limits(requests_per_minute=1)}, True),
        ({"disabled": True}, False),
        ({"material": bytes(31) + b"1"}, False),
        ({"algorithm": Algorithm.ITSDANGEROUS}, False),
        ({"id": "c"}, False),
    ],
)
def test_a_key_that_was_found_is_asked_for_again(now: dict[str, Any], good: bool) -> None:
    then = Key("b", Algorithm.HMAC_SHA256, bytes(32))
    ring = KeyRing(keys=[replace(then, **now)], clock=lambda: NOW)
    if good:
        assert ring.current(then) == replace(then, **now)
    else:
        with pytest.raises(BadSignature):
            ring.current(then)


def test_a_signing_token_keeps_its_name_when_others_come_and_go() -> None:
    names = [
        {code.key.id for code in KeyRing(tokens).codes(PAYLOAD_SALT)}
        for tokens in ([TOKEN], [TOKEN, "another token"], ["another token", TOKEN])
    ]
    assert names[0] <= names[1] == names[2]
    assert len(names[1]) == 2


def test_an_empty_token_is_no_key() -> None:
    with pytest.raises(ValueError, match="empty"):
        KeyRing([TOKEN, ""])


def test_a_scope_is_for_the_models_it_names() -> None:
    grants = {Scope.PREDICT: ("ab*", "00??*"), Scope.READ: ()}
    principal = Principal("a", Dialect.MESSAGE, (grants,))
    principal.require(Scope.PREDICT)
    principal.require(Scope.PREDICT, Digest.parse("ab" * 32))
    principal.require(Scope.PREDICT, Digest.parse("00" * 32))
    for scope, digest in [
        (Scope.PREDICT, Digest.parse("cd" * 32)),
        (Scope.REGISTER, Digest.parse("ab" * 32)),
        (Scope.REGISTER, None),
        (Scope.READ, None),
    ]:
        with pytest.raises(ScopeMissing):
            principal.require(scope, digest)


def test_every_grant_must_allow_what_is_asked() -> None:
    narrow = Principal("a", Dialect.BEARER, (EVERYTHING, {Scope.PREDICT: ("ab*",)}))
    narrow.require(Scope.PREDICT, Digest.parse("ab" * 32))
    with pytest.raises(ScopeMissing):
        narrow.require(Scope.PREDICT, Digest.parse("cd" * 32))
    with pytest.raises(ScopeMissing):
        narrow.require(Scope.ADMIN)


@pytest.mark.parametrize(
    ("patterns", "every"),
    [
        *((("*",), True), (("ab*", "**"), True), (("?" * 64,), True), (("?" * 64 + "*",), True)),
        *(((), False), (("ab*",), False), (("?" * 63,), False), (("?" * 65 + "*",), False)),
    ],
)
def test_some_patterns_are_good_for_every_model(patterns: tuple[str, ...], every: bool) -> None:
    named = Principal("a", Dialect.MESSAGE, ({Scope.ADMIN: patterns},))
    assert named.allows_every(Scope.ADMIN) is every
    narrow = Principal("a", Dialect.BEARER, (EVERYTHING, {Scope.ADMIN: patterns}))
    assert narrow.allows_every(Scope.ADMIN) is every
    assert not narrow.allows_every(Scope.READ)


# changes


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_new_secret_is_good_for_its_algorithm(algorithm: Algorithm, tmp_path: Path) -> None:
    material, secret = new_material(algorithm)
    add_key(tmp_path / "keys", {"id": "a", "algorithm": algorithm, "scopes": {}} | material)
    (key,) = read_keys(tmp_path / "keys")
    if algorithm is Algorithm.ED25519:
        private = load_pem_private_key(secret.encode(), None)
        assert key.material == private.public_key().public_bytes_raw()  # type: ignore[union-attr]
    elif algorithm is Algorithm.HMAC_SHA256:
        assert key.material == base64.b64decode(secret)
    else:
        assert key.material == secret.encode()
        assert itsdangerous.Signer(secret).validate(itsdangerous.Signer(key.material).sign("x"))


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    add_key(tmp_path / "keys", GOOD)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["keys"]


def test_a_change_keeps_the_rights_and_the_other_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "keys", GOOD, GOOD | {"id": "other", "not_after": "2030-01-01"})
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    disable_key(tmp_path / "link", "notebook")
    assert path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link").is_symlink()
    entries = json.loads(path.read_bytes())["keys"]
    assert entries == [
        GOOD | {"disabled": True},
        GOOD | {"id": "other", "not_after": "2030-01-01"},
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_change_by_root_leaves_the_file_its_owners(tmp_path: Path) -> None:
    path = write(tmp_path / "keys", GOOD)
    os.chown(path, 12345, 54321)
    disable_key(path, "notebook")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_a_change_that_would_break_the_file_is_not_made(tmp_path: Path) -> None:
    path = write(tmp_path / "keys", GOOD)
    before = path.read_bytes()
    for entry, says in [(GOOD, "twice"), (GOOD | {"id": "no id"}, "an id is")]:
        with pytest.raises(KeyFault, match=says):
            add_key(path, entry)
    with pytest.raises(KeyFault, match="holds no key other"):
        disable_key(path, "other")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["keys"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFault, match="folder"):
        add_key(tmp_path / "none" / "keys", GOOD)


def test_a_disk_without_room_leaves_the_old_keys_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "keys", GOOD)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))  # no file may become longer
    try:
        with pytest.raises(KeyFault, match="cannot be written"):
            disable_key(path, "notebook")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["keys"]
    assert not read_keys(path)[0].disabled


def test_of_two_changes_at_once_none_is_lost(tmp_path: Path) -> None:
    path = write(tmp_path / "keys")
    threads = [
        threading.Thread(target=add_key, args=(path, GOOD | {"id": f"key-{number}"}))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_keys(path)) == 16
