"""spectrogrampredictor/environment.py: where the server is and who asks."""

import base64
from pathlib import Path

import pytest

from spectrogrampredictor import BearerToken, Client, Ed25519Key, HmacKey, SigningToken
from spectrogrampredictor.environment import BadSettings, read_settings
from tests.client.test_auth import PEM

URL = {"BASE_URL": "https://models.example"}
SECRET = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def pem(tmp_path: Path) -> str:
    path = tmp_path / "key.pem"
    path.write_bytes(PEM)
    return str(path)


def test_each_way_to_say_who_asks_is_found(pem: str) -> None:
    for said, kind in (
        ({"SIGNING_TOKEN": "secret"}, SigningToken),
        ({"KEY_ID": "a", "KEY_SECRET": SECRET, "SIGNING_TOKEN": "secret"}, HmacKey),
        ({"KEY_ID": "a", "KEY_FILE": pem}, Ed25519Key),
        ({"BEARER_TOKEN": "t", "KEY_ID": "a", "KEY_FILE": pem}, BearerToken),
        ({}, type(None)),
        ({"SIGNING_TOKEN": ""}, type(None)),
    ):
        found = read_settings(URL | said)
        assert isinstance(found.auth, kind)
        assert (found.url, found.ca_file) == (URL["BASE_URL"], None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "BASE_URL is not set"),
        (URL | {"KEY_ID": "a"}, "KEY_SECRET .* or KEY_FILE"),
        (URL | {"KEY_ID": "a", "KEY_SECRET": "?"}, "KEY_SECRET: the secret is not base64"),
        (URL | {"KEY_ID": "a", "KEY_FILE": "/gone"}, "KEY_FILE=/gone: No such file"),
        (URL | {"KEY_ID": "a", "KEY_FILE": __file__}, "KEY_FILE=.*test_environment.py: "),
    ],
)
def test_what_is_missing_or_wrong_is_named(said: dict[str, str], told: str) -> None:
    with pytest.raises(BadSettings, match=told):
        read_settings(said)


def test_a_client_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", URL["BASE_URL"])
    monkeypatch.delenv("CA_FILE", raising=False)
    with Client.from_env() as client:
        assert client is not None
