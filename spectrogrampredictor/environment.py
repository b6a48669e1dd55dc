"""Where the server is and who asks, by environment variables.

=================  ===============================================================================
`BASE_URL`         the server, such as https://models.example
`CA_FILE`          the authority of its certificate; the usual ones where it is not set
`BEARER_TOKEN`     a token; or
`KEY_ID`           a key's name, with `KEY_SECRET` (base64) or `KEY_FILE` (PEM); or
`SIGNING_TOKEN`    the secret that all share
=================  ===============================================================================
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from spectrogrampredictor.auth import BearerToken, Ed25519Key, HmacKey, SigningToken


class BadSettings(Exception):
    """Variables that are missing, or do not go together; says which."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to know.

    Attributes
    ----------
    url : str
        Of the server.
    auth : httpx.Auth or None
        Who asks.
    ca_file : str or None
        The authority of its certificate.
    """

    url: str
    auth: httpx.Auth | None
    ca_file: str | None


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the variables.

    Raises
    ------
    BadSettings
        If they say not enough, or cannot be used.
    """
    if not (url := environment.get("BASE_URL")):
        raise BadSettings("BASE_URL is not set: where is the server?")
    return Settings(url, _auth(environment), environment.get("CA_FILE") or None)


def _auth(environment: Mapping[str, str]) -> httpx.Auth | None:
    if token := environment.get("BEARER_TOKEN"):
        return BearerToken(token)
    if key_id := environment.get("KEY_ID"):
        return _key(key_id, environment)
    if token := environment.get("SIGNING_TOKEN"):
        return SigningToken(token)
    return None


def _key(key_id: str, environment: Mapping[str, str]) -> httpx.Auth:
    secret, path = environment.get("KEY_SECRET"), environment.get("KEY_FILE")
    try:
        if secret:
            return HmacKey(key_id, secret)
        if path:
            return Ed25519Key(key_id, Path(path).read_bytes())
    except OSError as error:
        raise BadSettings(f"KEY_FILE={path}: {error.strerror}") from error
    except ValueError as error:
        raise BadSettings(f"{'KEY_SECRET' if secret else f'KEY_FILE={path}'}: {error}") from error
    except ImportError as error:
        raise BadSettings(str(error)) from error
    raise BadSettings("KEY_ID needs KEY_SECRET (base64) or KEY_FILE (PEM) beside it")
