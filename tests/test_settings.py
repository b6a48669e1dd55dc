"""server/settings.py and the command line: every fault in one message."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.setting_values import Bind, Pin
from server.settings import read_settings

TOKEN = "a token of more than sixteen bytes"
ROOT = Path(__file__).parents[1]


def test_a_token_is_enough() -> None:
    settings, faults = read_settings({"SIGNING_TOKEN": TOKEN})
    assert faults == []
    assert settings.signing_tokens == (TOKEN,)
    assert settings.database == "sqlite:///models/registry.sqlite3"


def test_values_are_read_with_their_types() -> None:
    environ = {
        "SIGNING_TOKEN": TOKEN,
        "API_BIND": "[::1]:8443",
        "SWEEP_INTERVAL_S": "0.5",
        "LEGACY_STATUS": "1",
        "MODELS_DIR": "/data/models",
        "DECODERS": "3",
    }
    settings, faults = read_settings(environ)
    assert faults == []
    assert settings.api_bind == Bind("::1", 8443)
    assert str(settings.api_bind) == "[::1]:8443"
    assert settings.sweep_interval_s == 0.5
    assert settings.legacy_status is True
    assert settings.models_dir == Path("/data/models")
    assert settings.decoders == 3


def test_pinned_models_are_read_in_either_case_with_spaces_between() -> None:
    one, two = "ab" * 32, "0f" * 32
    environ = {"SIGNING_TOKEN": TOKEN, "PINNED_MODELS": f" {one.upper()} , {two} "}
    settings, faults = read_settings(environ)
    assert faults == []
    assert settings.pinned_models == (one, two)


@pytest.mark.parametrize("url", ["", "https://models.example/violin.keras", "file:///srv/a b.h5"])
def test_the_model_of_the_demonstration_is_pinned_by_its_digest(url: str) -> None:
    text = f"{url}#sha256={'AB' * 32}" if url else "AB" * 32
    environ = {"SIGNING_TOKEN": TOKEN, "SPEC2SPEC_DEMO": "1", "SPEC2SPEC_MODEL": text}
    settings, faults = read_settings(environ)
    assert faults == []
    assert settings.spec2spec_demo is True
    assert settings.spec2spec_model == Pin(url, "ab" * 32)
    assert str(settings.spec2spec_model) == text.replace("AB", "ab")


def test_the_demonstration_is_off_and_open_to_no_other_page_unless_asked() -> None:
    settings, _ = read_settings({"SIGNING_TOKEN": TOKEN})
    assert (settings.spec2spec_demo, settings.spec2spec_origins) == (False, ())
    origins = {"SPEC2SPEC_ORIGINS": " https://a.example , https://b.example:8443"}
    settings, faults = read_settings({"SIGNING_TOKEN": TOKEN} | origins)
    assert faults == []
    assert settings.spec2spec_origins == ("https://a.example", "https://b.example:8443")


def test_without_settings_of_its_own_memory_is_left_to_the_machine() -> None:
    settings, _ = read_settings({"SIGNING_TOKEN": TOKEN})
    assert (settings.model_memory, settings.pinned_models) == (0, ())
    assert (settings.feature_cache_dir, settings.feature_cache_bytes) == ("", 64 << 20)


def test_tokens_are_read_from_a_file_oldest_first(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN} one\n\n{TOKEN} two\n")
    (tmp_path / "tokens").chmod(0o640)
    settings, faults = read_settings({"SIGNING_TOKEN_FILE": str(tmp_path / "tokens")})
    assert faults == []
    assert settings.signing_tokens == (f"{TOKEN} one", f"{TOKEN} two")


@pytest.mark.parametrize("mode", [0o644, 0o602])
def test_a_file_of_tokens_that_everybody_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    (tmp_path / "tokens").chmod(mode)
    _, faults = read_settings({"SIGNING_TOKEN_FILE": str(tmp_path / "tokens")})
    assert len(faults) == 1
    assert "chmod 640" in faults[0]


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "SIGNING_TOKEN is not set"),
        ({"SIGNING_TOKEN": ""}, "SIGNING_TOKEN is not set"),
        ({"SIGNING_TOKEN": "fifteen bytes.."}, "shorter than 16 bytes"),
        ({"SIGNING_TOKEN": "changemechangeme"}, "everybody knows"),
        ({"SIGNING_TOKEN": "correct horse battery staple"}, "everybody knows"),
        ({"SIGNING_TOKEN": TOKEN, "SIGNING_TOKEN_FILE": "/x"}, "both set"),
        ({"SIGNING_TOKEN_FILE": "/nowhere/at/all"}, "cannot be read"),
        ({"SIGNING_TOKEN_FILE": "/dev/null"}, "holds no token"),
        ({"SIGNING_TOKEN": TOKEN, "API_BIND": "443"}, "write host:port"),
        ({"SIGNING_TOKEN": TOKEN, "API_BIND": "x:99999"}, "write host:port"),
        ({"SIGNING_TOKEN": TOKEN, "LEGACY_STATUS": "maybe"}, "write 0 or 1"),
        ({"SIGNING_TOKEN": TOKEN, "SWEEP_INTERVAL_S": "0"}, "at least"),
        ({"SIGNING_TOKEN": TOKEN, "SWEEP_INTERVAL_S": "nan"}, "at least"),
        ({"SIGNING_TOKEN": TOKEN, "SWEEP_INTERVAL_S": "inf"}, "at least"),
        ({"SIGNING_TOKEN": TOKEN, "DECODERS": "two"}, "DECODERS"),
        ({"SIGNING_TOKEN": TOKEN, "DATABASE_URL": "postgresql://x"}, "DATABASE_URL"),
        ({"SIGNING_TOKEN": TOKEN, "LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
        ({"SIGNING_TOKEN": TOKEN, "SANDBOX": "maybe"}, "SANDBOX: one of on, partial, off"),
        ({"SIGNING_TOKEN": TOKEN, "DIALECT1_ENABLED": "prediction"}, "begin with a slash"),
        ({"SIGNING_TOKEN": TOKEN, "DIALECT1_UNTIL": "soon"}, "DIALECT1_UNTIL"),
        ({"SIGNING_TOKEN": TOKEN, "MODEL_MEMORY": "-1"}, "at least 0"),
        ({"SIGNING_TOKEN": TOKEN, "MODEL_MEMORY": "8G"}, "MODEL_MEMORY"),
        ({"SIGNING_TOKEN": TOKEN, "RESIDENT_MODELS": "0"}, "at least 1"),
        ({"SIGNING_TOKEN": TOKEN, "FEATURE_CACHE_BYTES": "-1"}, "at least 0"),
        ({"SIGNING_TOKEN": TOKEN, "FEATURE_CACHE_DISK_BYTES": "much"}, "FEATURE_CACHE_DISK_BYTES"),
        ({"SIGNING_TOKEN": TOKEN, "SPEC2SPEC_DEMO": "on"}, "write 0 or 1"),
        *(
            ({"SIGNING_TOKEN": TOKEN, "SPEC2SPEC_MODEL": text}, "64 hexadecimal digits")
            for text in (
                "violin",
                "https://models.example/violin.keras",
                f"http://models.example/violin.keras#sha256={'ab' * 32}",
                f"https://models.example/violin.keras#sha256={'ab' * 31}",
                f"/srv/violin.keras#sha256={'ab' * 32}",
            )
        ),
        *(
            ({"SIGNING_TOKEN": TOKEN, "PINNED_MODELS": text}, "64 hexadecimal digits")
            for text in ("x", "ab" * 31, "zz" * 32, f"{'ab' * 32},", f"{'ab' * 32} {'cd' * 32}")
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(environ: dict[str, str], says: str) -> None:
    _, faults = read_settings(environ)
    assert len(faults) == 1
    assert says in faults[0]


def test_a_token_never_shows_in_the_settings() -> None:
    assert TOKEN not in repr(read_settings({"SIGNING_TOKEN": TOKEN})[0])


def test_a_file_of_keys_does_in_place_of_a_token() -> None:
    settings, faults = read_settings({"KEYS_FILE": "/keys.json"})
    assert faults == []
    assert (settings.keys_file, settings.signing_tokens) == ("/keys.json", ())


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("1", ("*",)),
        ("0", ()),
        ("/prediction", ("/prediction",)),
        (" /prediction , /v1/* ", ("/prediction", "/v1/*")),
    ],
)
def test_dialect_1_is_for_every_path_for_none_or_for_some(
    text: str, paths: tuple[str, ...]
) -> None:
    settings, faults = read_settings({"SIGNING_TOKEN": TOKEN, "DIALECT1_ENABLED": text})
    assert faults == []
    assert settings.dialect1_paths == paths
    assert str(settings.dialect1_paths).replace(",", " , ") == text.strip()


@pytest.mark.parametrize(
    "text", ["2027-01-01", "2027-01-01T00:00:00Z", "2027-01-01T02:00:00+02:00"]
)
def test_an_instant_without_a_zone_is_utc(text: str) -> None:
    settings, faults = read_settings({"SIGNING_TOKEN": TOKEN, "DIALECT1_UNTIL": text})
    assert faults == []
    assert settings.dialect1_until == datetime(2027, 1, 1, tzinfo=UTC)


def test_names_of_the_server_are_read_as_hosts_are_compared() -> None:
    environ = {"SIGNING_TOKEN": TOKEN, "SIGNED_AUTHORITIES": "Models.Example:443, x:8443"}
    settings, faults = read_settings(environ)
    assert faults == []
    assert settings.authorities == ("models.example", "x:8443")
    assert str(settings.authorities) == "models.example,x:8443"


COMMANDS: list[list[str]] = [
    *([], ["serve"], ["sweep"], ["settings"], ["devcert"], ["sandbox"]),
    *(["keys"], ["keys", "make"], ["keys", "list"], ["keys", "disable"], ["token"]),
    *(["verify-receipt"], ["fsck"], ["models"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_explains_itself(command: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "server", *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.startswith("usage: python -m server")
