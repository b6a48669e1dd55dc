"""The command line: `python -m server COMMAND`."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Take a call to look at the certificate before there is one: the start looks at it."""


if __name__ == "__main__":
    # Before the imports, which take a while: to process 1 of a container a signal that nobody
    # handles is not given; and OpenSSL reads its configuration once, when it is loaded.
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGHUP, _go_on)
    signal.signal(signal.SIGTERM, _end)
    os.environ.setdefault("OPENSSL_CONF", str(Path(__file__).with_name("openssl.cnf")))

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import replace

from server import (
    app,
    devcert,
    extract_command,
    key_commands,
    offline,
    operating,
    parts,
    settings,
)
from server.database import DatabaseInUse
from server.digest import Digest
from server.errors import BadDigest
from server.ports import Ports
from server.progress import Progress
from server.settings import SettingsFault
from server.signing.keyfile import KeyFault
from server.telemetry import configure_logging

_DESCRIPTION = """\
Host audio models by their SHA-256 and answer only signed requests.

Everything is set by environment variables; `python -m server settings` lists them."""

_FSCK = """\
Check every file of the repository against its digest and its record, while no server runs.

A flipped byte is found and named.  --repair mends what can be mended: a damaged model must be
uploaded again and says so, what was made of a model is made again, what a crash left is removed,
and what is no model is set aside in MODELS_DIR/quarantine.

exit status:
  0  all is well, or has been repaired
  1  faults remain
  2  it could not be checked: a server is running, the settings are wrong, or the database does
     not open"""

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
    serve.add_argument(
        "--skip-download",
        action="store_true",
        help="take SPEC2SPEC_MODEL as it lies here, without fetching its URL",
    )
    serve.set_defaults(command=_serve)
    sweep = commands.add_parser("sweep", help="promote and discard uploads once, without a server")
    sweep.set_defaults(command=_sweep)
    fsck = commands.add_parser(
        "fsck",
        help="check every file against its digest and its record, without a server",
        description=_FSCK,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fsck.add_argument("--repair", action="store_true", help="mend what can be mended")
    fsck.set_defaults(command=_fsck)
    walls = commands.add_parser("sandbox", help="say how well models are shut in on this machine")
    walls.set_defaults(command=_sandbox)
    models = commands.add_parser("models", help="list models, or switch one on or off")
    acts = models.add_subparsers(required=True, metavar="ACT")
    acts.add_parser("list", help="list every model that has, or had, a file").set_defaults(
        command=_list_models
    )
    for act, work, text in (
        ("enable", operating.enable, "let a disabled model predict again"),
        ("disable", operating.disable, "switch a model off"),
    ):
        switch = acts.add_parser(act, help=text)
        switch.add_argument("digest", help="SHA-256 of the model's file")
        switch.set_defaults(command=_switch, work=work)
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
    extract_command.add_command(commands)
    return parser


def _serve(options: argparse.Namespace) -> int:
    chosen, faults = settings.read_settings(os.environ)
    if options.skip_download:
        chosen = replace(chosen, spec2spec_model=replace(chosen.spec2spec_model, url=""))
    configure_logging(chosen.log_level)
    asyncio.run(app.serve(chosen, Ports(chosen, faults)))
    return 0


def _sweep(_options: argparse.Namespace) -> int:
    chosen, _ = settings.read_settings(os.environ)  # a sweep signs nothing: it needs no token
    configure_logging("WARNING")
    report = asyncio.run(offline.sweep_once(chosen))
    for digest in report.promoted:
        print(f"promoted {digest.hex}")
    print(f"{len(report.promoted)} promoted, {report.discarded} discarded, {report.left} left")
    return 0


def _fsck(options: argparse.Namespace) -> int:
    chosen, _ = settings.read_settings(os.environ)  # it signs nothing: it needs no token
    configure_logging("CRITICAL")  # what it finds is its output
    progress = Progress()
    check = offline.fsck_once(chosen, repair=options.repair, progress=progress.show)
    try:
        findings = asyncio.run(check)
    finally:
        progress.clear()
    for found in findings:
        print(f"{found.fault}: {found.name}{' (repaired)' if found.mended else ''}")
    remaining = sum(not found.mended for found in findings)
    print(f"{len(findings)} faults, {len(findings) - remaining} repaired")
    return 1 if remaining else 0


def _sandbox(_options: argparse.Namespace) -> int:
    chosen, _ = settings.read_settings(os.environ)
    configure_logging("ERROR")
    found = asyncio.run(parts.find_sandbox(chosen))
    print(f"sandbox: {found.describe()}")
    return 0 if found.allows_models else 1


def _list_models(_options: argparse.Namespace) -> int:
    chosen, _ = settings.read_settings(os.environ)
    for model in asyncio.run(operating.list_models(chosen)):
        print(f"{model.digest.hex} {model.state:<9} {model.reason or ''}".rstrip())
    return 0


def _switch(options: argparse.Namespace) -> int:
    chosen, _ = settings.read_settings(os.environ)
    try:
        digest = Digest.parse(options.digest)
    except BadDigest as error:
        _complain(f"{options.digest}: {error.detail}")
        return 1
    if not asyncio.run(options.work(chosen, digest)):
        _complain(f"{digest.hex}: nothing to change; `models list` shows every model")
        return 1
    return 0


def _settings(_options: argparse.Namespace) -> int:
    for row in settings.table():
        now = os.environ.get(row.env)
        shown = "(set)" if now and row.env in settings.SECRETS else now or row.default or "-"
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
