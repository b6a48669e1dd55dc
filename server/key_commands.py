"""What the command line does with keys, tokens and receipts; the server need not be stopped."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from server import settings
from server.repository.layout import Layout
from server.signing import receipts
from server.signing.bearer import PURPOSE, BearerTokens
from server.signing.identity import Identity, IdentityFault
from server.signing.keyedits import add_key, disable_key, new_material
from server.signing.keyfile import OPERATOR, PATTERN, KeyFault, read_keys
from server.signing.keyring import Algorithm, Key, KeyRing
from server.signing.principal import Scope

T = TypeVar("T")
_MOST_DAYS = 36525  # a century
_SCOPES = [str(scope) for scope in Scope]


def add_commands(commands: Any) -> None:
    """Add `keys`, `token` and `verify-receipt` to the commands of a parser."""
    _add_keys(commands)
    token = commands.add_parser("token", help="print a bearer token")
    token.add_argument("--scope", action="append", required=True, choices=_SCOPES)
    token.add_argument("--model", action="append", help="pattern of model digests; default: every")
    token.add_argument("--ttl", type=float, help="seconds; default, and most: TOKEN_MAX_S")
    token.set_defaults(command=mint_token)
    verify = commands.add_parser("verify-receipt", help="check a receipt, without a server")
    verify.add_argument("receipt", type=Path, help="file with the header Prediction-Receipt")
    verify.add_argument("--key", type=Path, required=True, help="the public key, as served")
    verify.add_argument("--answer", type=Path, help="the answer's body, to be the one stated")
    verify.add_argument("--input", type=Path, help="the request's body, to be the one stated")
    verify.set_defaults(command=verify_receipt)


def _add_keys(commands: Any) -> None:
    keys = commands.add_parser("keys", help="make, list and disable the keys in KEYS_FILE")
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    make = actions.add_parser("make", help="add a key and show its secret, once")
    make.add_argument("id", help="its public name")
    make.add_argument("--scope", action="append", required=True, choices=_SCOPES)
    make.add_argument("--model", action="append", help="pattern of model digests; default: every")
    make.add_argument(
        "--algorithm", choices=[str(each) for each in Algorithm], default=str(Algorithm.ED25519)
    )
    make.add_argument("--public-key", help="Ed25519 public key of its owner, 32 bytes in base64")
    make.add_argument("--days", type=_days, help="how long it is good; default: without end")
    make.add_argument("--requests-per-minute", type=int, metavar="N", help="default: no limit")
    make.add_argument("--bytes-per-hour", type=int, metavar="N", help="default: no limit")
    make.set_defaults(command=make_key)
    listing = actions.add_parser("list", help="list every key; secrets are not shown")
    listing.set_defaults(command=list_keys)
    disable = actions.add_parser("disable", help="switch a key off, at once")
    disable.add_argument("id")
    disable.set_defaults(command=switch_off)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= _MOST_DAYS:  # which a number that is none is not, either
        raise argparse.ArgumentTypeError(f"more than 0 and at most {_MOST_DAYS}")
    return days


def make_key(options: argparse.Namespace) -> int:
    """Add a key; show what its owner must keep on standard output, and nothing else there."""
    path = _path()
    algorithm = Algorithm(options.algorithm)
    if options.public_key is None:
        material, secret = new_material(algorithm)
    elif algorithm is Algorithm.ED25519:
        material, secret = {"public_key": options.public_key}, ""
    else:
        raise KeyFault("--public-key is for ed25519")
    patterns = options.model or ["*"]
    entry: dict[str, Any] = {
        "id": options.id,
        "algorithm": algorithm,
        **material,
        "scopes": dict.fromkeys(options.scope, patterns),
    }
    limits = {
        name: value
        for name in ("requests_per_minute", "bytes_per_hour")
        if (value := getattr(options, name)) is not None
    }
    if limits:
        entry["limits"] = limits
    if options.days is not None:
        end = datetime.now(UTC) + timedelta(days=options.days)
        entry["not_after"] = end.isoformat(timespec="seconds")
    _told(path, lambda: add_key(path, entry))
    print(f"added {options.id} to {path}", file=sys.stderr)
    if secret:
        print(secret.rstrip("\n"))
    return 0


def list_keys(_options: argparse.Namespace) -> int:
    """List the keys, one a line."""
    now = datetime.now(UTC).timestamp()
    path = _path()
    for key in _told(path, lambda: read_keys(path)):
        scopes = " ".join(f"{scope}:{','.join(globs)}" for scope, globs in key.grants.items())
        row = f"{key.id:<24} {key.algorithm:<12} {_state(key, now):<22} {scopes} {_limits(key)}"
        print(row.rstrip())
    return 0


def _limits(key: Key) -> str:
    asked = (
        (key.limits.requests_per_minute, "requests/minute"),
        (key.limits.bytes_per_hour, "bytes/hour"),
    )
    return " ".join(f"{most} {what}" for most, what in asked if most is not None)


def _state(key: Key, now: float) -> str:
    if key.disabled:
        return "disabled"
    if now < key.not_before:
        return f"from {_day(key.not_before)}"
    if now >= key.not_after:
        return f"ended {_day(key.not_after)}"
    return "good" if key.not_after == float("inf") else f"until {_day(key.not_after)}"


def _day(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M")


def switch_off(options: argparse.Namespace) -> int:
    """Disable a key."""
    path = _path()
    _told(path, lambda: disable_key(path, options.id))
    print(f"disabled {options.id}")
    return 0


def mint_token(options: argparse.Namespace) -> int:
    """Print a token that the operator mints; it ends by itself."""
    chosen, _ = settings.read_settings(os.environ)
    longest = chosen.token_max_s
    ttl_s = longest if options.ttl is None else options.ttl
    if not 0 < ttl_s <= longest:
        raise KeyFault(f"--ttl is at most {longest:g} seconds (TOKEN_MAX_S)")
    patterns = tuple(options.model or ["*"])
    if not all(map(PATTERN.fullmatch, patterns)):
        raise KeyFault("--model takes hexadecimal digits, * and ?")
    path = Layout(chosen.models_dir, chosen.uploads_dir).identity
    try:
        identity = Identity.open(path)
    except IdentityFault as error:
        raise KeyFault(f"{path}: {error}") from error
    tokens = BearerTokens(identity.secret(PURPOSE), KeyRing)
    grants = {Scope(scope): patterns for scope in options.scope}
    print(tokens.mint(OPERATOR, grants, ttl_s=ttl_s).text)
    return 0


def verify_receipt(options: argparse.Namespace) -> int:
    """Print what a good receipt states; say what is wrong with another."""
    try:
        keys = json.loads(options.key.read_bytes())
        text = options.receipt.read_bytes().decode("ascii", "replace")
        stated = receipts.verify_receipt(text.strip(), keys)
        for name, path in (("output", options.answer), ("input", options.input)):
            if path is not None and sha256(path.read_bytes()).hexdigest() != stated[name]:
                raise receipts.BadReceipt(f"{path} is not the {name} that the receipt states")
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except (ValueError, RecursionError):
        print(f"{options.key} is no public key in JSON", file=sys.stderr)
        return 2
    except receipts.BadReceipt as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(stated, indent=2))
    return 0


def _path() -> Path:
    if not (name := os.environ.get("KEYS_FILE")):
        raise KeyFault("KEYS_FILE is not set")
    return Path(name)


def _told(path: Path, work: Callable[[], T]) -> T:
    """Name the file in its fault."""
    try:
        return work()
    except KeyFault as error:
        raise KeyFault(f"KEYS_FILE={path}: {error}") from error
