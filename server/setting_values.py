"""The kinds of values that settings have, and how each is read from its text."""

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.known_secrets import is_known

MIN_SECRET_BYTES = 16
NEVER = datetime.max.replace(tzinfo=UTC)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on, `host:port`; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Paths(tuple[str, ...]):
    """Patterns of request paths, by commas; `1` is every path, `0` is none."""

    __slots__ = ()

    def __str__(self) -> str:
        return {(): "0", ("*",): "1"}.get(self, ",".join(self))


class Secret(str):
    """A text that is shown nowhere; empty: there is none."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(...)" if self else "Secret()"


class Names(tuple[str, ...]):
    """Hosts, with a port where it is not 443, by commas."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(self)


@dataclass(frozen=True, slots=True)
class Pin:
    """A model file: where it is fetched from, unless that is empty, and its digest."""

    url: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.url}#sha256={self.digest}" if self.url else self.digest


def _parse_pin(text: str) -> Pin:
    url, mark, digest = text.rpartition("#sha256=")
    digest = digest.lower()
    if not _DIGEST.fullmatch(digest) or (mark and not url.startswith(("https://", "file:///"))):
        raise ValueError("write 64 hexadecimal digits, or https://... or file:///...#sha256=DIGITS")
    return Pin(url, digest)


def _parse_bind(text: str) -> Bind:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("write host:port")
    return Bind(host.strip("[]"), int(port))


def _parse_flag(text: str) -> bool:
    flags = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
    if text.lower() not in flags:
        raise ValueError("write 0 or 1")
    return flags[text.lower()]


def _parse_digests(text: str) -> tuple[str, ...]:
    digests = tuple(digest.strip().lower() for digest in text.split(","))
    if not all(_DIGEST.fullmatch(digest) for digest in digests):
        raise ValueError("write digests of 64 hexadecimal digits, with commas between them")
    return digests


def _parse_paths(text: str) -> Paths:
    if text in ("0", "1"):
        return Paths(("*",) if text == "1" else ())
    paths = Paths(path.strip() for path in text.split(","))
    if not all(path.startswith("/") for path in paths):
        raise ValueError("write 1, 0, or paths that begin with a slash, with commas between them")
    return paths


def _parse_names(text: str) -> Names:
    return Names(name.strip().lower().removesuffix(":443") for name in text.split(","))


def _parse_secret(text: str) -> Secret:
    if len(text.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"write at least {MIN_SECRET_BYTES} bytes")
    return Secret(text)


def _parse_instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


PARSERS: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    bool: _parse_flag,
    Path: Path,
    Bind: _parse_bind,
    tuple[str, ...]: _parse_digests,
    Paths: _parse_paths,
    Names: _parse_names,
    Secret: _parse_secret,
    Pin: _parse_pin,
    datetime: _parse_instant,
}


def read_tokens(environ: Mapping[str, str], faults: list[str]) -> tuple[str, ...]:
    """Read the signing tokens, oldest first; adds a sentence to `faults` for what is wrong."""
    literal, path = environ.get("SIGNING_TOKEN"), environ.get("SIGNING_TOKEN_FILE")
    tokens: tuple[str, ...] = ()
    if path and literal:
        faults.append("SIGNING_TOKEN and SIGNING_TOKEN_FILE are both set: keep one")
    elif path:
        try:
            with Path(path).open(encoding="utf-8") as file:
                mode = os.fstat(file.fileno()).st_mode
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"SIGNING_TOKEN_FILE cannot be read: {type(error).__name__}")
            return ()
        if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
            faults.append(
                "SIGNING_TOKEN_FILE: every user may read or write it: take that away (chmod 640)"
            )
        tokens = tuple(line.strip() for line in lines if line.strip())
        if not tokens:
            faults.append("SIGNING_TOKEN_FILE holds no token")
    elif literal:
        tokens = (literal,)
    elif not environ.get("KEYS_FILE"):
        faults.append("SIGNING_TOKEN is not set, nor KEYS_FILE: no request could be verified")
    if any(len(token.strip().encode()) < MIN_SECRET_BYTES for token in tokens):
        faults.append(f"a signing token is shorter than {MIN_SECRET_BYTES} bytes")
    elif any(is_known(token.strip().encode()) for token in tokens):
        faults.append("a signing token is one that everybody knows: `openssl rand -hex 32` is none")
    return tokens
