"""The command line: `python -m server COMMAND`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from server import app, devcert, key_commands, settings
from server.database import DatabaseInUse
from server.settings import SettingsFault
from server.signing.keyfile import KeyFault
from server.telemetry import configure_logging

_DESCRIPTION = """\
Host audio models by their SHA-256 and answer only signed requests.

Everything is set by environment variables; `python -m server settings` lists them."""

_EPILOG = """\
a development server in two lines:
  python -m server devcert certs
  SIGNING_TOKEN=$(openssl rand -hex 32) CERTS_DIR=certs API_BIND=127.0.0.1:8443 \\
      UPLOAD_BIND=127.0.0.1:9443 python -m server serve"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except SettingsFault as error:
        _complain("cannot start:", *error.faults)
    except KeyFault as error:
        _complain(f"cannot be done: {error}")
    except DatabaseInUse:
        _complain("another process, a running server as a rule, owns MODELS_DIR: stop it first")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve both ports until SIGTERM")
    serve.set_defaults(command=_serve)
    sweep = commands.add_parser("sweep", help="promote and discard uploads once, without a server")
    sweep.set_defaults(command=_sweep)
    listing = commands.add_parser("settings", help="list every setting and its present value")
    listing.set_defaults(command=_settings)
    cert = commands.add_parser("devcert", help="make a development certificate and its authority")
    cert.add_argument("folder", type=Path, help="where ca.pem, server.crt and server.key go")
    cert.add_argument(
        "--host",
        action="append",
        help="name or address to certify, repeatable; default: localhost, 127.0.0.1 and ::1",
    )
    cert.set_defaults(command=_devcert)
    key_commands.add_commands(commands)
    return parser


def _serve(_options: argparse.Namespace) -> int:
    chosen, faults = settings.read_settings(os.environ)
    configure_logging(chosen.log_level)
    ports = app.Ports(chosen, faults)
    asyncio.run(app.serve(chosen, ports))
    return 0


def _sweep(_options: argparse.Namespace) -> int:
    chosen, _ = settings.read_settings(os.environ)  # a sweep signs nothing: it needs no token
    configure_logging("WARNING")
    report = asyncio.run(app.sweep_once(chosen))
    for digest in report.promoted:
        print(f"promoted {digest.hex}")
    print(f"{len(report.promoted)} promoted, {report.discarded} discarded, {report.left} left")
    return 0


def _settings(_options: argparse.Namespace) -> int:
    for row in settings.table():
        now = os.environ.get(row.env)
        shown = "(set)" if now and row.env == "SIGNING_TOKEN" else now or row.default or "-"
        unit = f" {row.unit}" if row.unit else ""
        print(f"{row.env:<22} {shown}{unit}\n{'':<22} {row.help}")
    return 0


def _devcert(options: argparse.Namespace) -> int:
    hosts = options.host or ["localhost", "127.0.0.1", "::1"]
    try:
        devcert.make_certificates(options.folder, hosts)
    except FileExistsError as error:
        _complain(f"{error.filename} is there already: remove it for a new one")
        return 1
    print(f"wrote ca.pem, server.crt and server.key in {options.folder} for {', '.join(hosts)}")
    return 0


def _complain(*lines: str) -> None:
    print("\n  ".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
