"""Commands about who asks: `keys`, `tokens`, `verify-receipt`, `completion`."""

import base64
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from spectrogrampredictor.client import Client
from spectrogrampredictor.command_errors import Failed
from spectrogrampredictor.receipts import BadReceipt, verify_receipt
from spectrogrampredictor.shown import examples

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SCOPES = ["register", "upload", "sweep", "predict", "read", "admin"]
_EXAMPLES_MAKE = examples(
    "spectrogrampredictor keys make notebook",
    "export KEY_ID=notebook KEY_FILE=notebook.pem",
)
_EXAMPLES_TOKENS = examples(
    "TOKEN=$(spectrogrampredictor tokens --scope predict --ttl 300)",
    'curl -H "Authorization: Bearer $TOKEN" --data-binary @song.mp3 \\',
    '  -H "Content-Type: audio/mpeg" $BASE_URL/v1/models/best/predictions',
)
_EXAMPLES_VERIFY = examples(
    "spectrogrampredictor verify-receipt receipts/song.receipt --keys receipts.jwks \\",
    "  --answer receipts/song.answer.json --sound song.mp3",
)
_EXAMPLES_COMPLETION = examples(
    'eval "$(spectrogrampredictor completion bash)"          in ~/.bashrc',
    "spectrogrampredictor completion fish | source           in config.fish",
)


@click.group(short_help="Make a key, or fetch the server's.")
def keys() -> None:
    """Make a key of your own, or fetch the server's that verifies receipts."""


@keys.command(epilog=_EXAMPLES_MAKE, short_help="Make an Ed25519 key.")
@click.argument("key_id")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the private key goes; default: KEY_ID.pem.",
)
def make(*, key_id: str, out: Path | None) -> None:
    """Make an Ed25519 key whose private half never leaves this machine.

    It prints the line that the server's operator runs, with the scopes of their choice.
    """
    path = out or Path(f"{key_id}.pem")
    public = _make(path)
    click.echo(f"wrote {path}; the server's operator runs:", err=True)
    click.echo(
        f"python -m server keys make {key_id} --algorithm ed25519 --public-key {public} "
        "--scope register --scope upload --scope read --scope predict"
    )


def _make(path: Path) -> str:
    """Write a private key that only its owner can read; return the public one."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,  # an extra: only who signs so has it
        )
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            Encoding,
            NoEncryption,
            PrivateFormat,
        )
    except ImportError as error:
        raise Failed("this needs: pip install 'spectrogrampredictor[ed25519]'") from error
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(pem)
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


@keys.command("receipts", short_help="Fetch what verifies receipts.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="receipts.jwks",
    show_default=True,
    help="Where it goes.",
)
def receipt_keys(out: Path) -> None:
    """Fetch the public key that verifies the server's receipts; do it once, and keep it."""
    with Client.from_env() as client:
        out.write_text(json.dumps(client.receipt_keys(), indent=2) + "\n")
    click.echo(f"wrote {out}")


@click.command(epilog=_EXAMPLES_TOKENS, short_help="Print a bearer token.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(_SCOPES),
    help="What it allows; may be given again.",
)
@click.option("--model", help="Pattern of digests, such as '3f2a*'; default: every model.")
@click.option("--ttl", type=click.IntRange(1), help="Seconds that it is good.")
@click.option("--max-bytes", type=click.IntRange(1), help="Of a body.")
def tokens(
    *, scopes: tuple[str, ...], model: str | None, ttl: int | None, max_bytes: int | None
) -> None:
    """Print a bearer token for a client that can only set a header.

    It is good for what you may do yourself, and ends by itself.
    """
    with Client.from_env() as client:
        token = client.mint_token(scopes, models=model, ttl_s=ttl, max_bytes=max_bytes)
    until = datetime.fromtimestamp(token.expires, UTC).isoformat(timespec="seconds")
    click.echo(f"good until {until}", err=True)
    click.echo(token.token)


@click.command(
    "verify-receipt", epilog=_EXAMPLES_VERIFY, short_help="Check what a server has signed."
)
@click.argument("receipt", type=_FILE)
@click.option("--keys", "key_file", type=_FILE, required=True, help="Of `keys receipts`.")
@click.option("--answer", type=_FILE, help="The answer's body, to be the one that is meant.")
@click.option("--sound", type=_FILE, help="The sound that was sent, to be the one that is meant.")
@click.option("--model", help="Digest of the model that must have answered.")
def verify(
    *, receipt: Path, key_file: Path, answer: Path | None, sound: Path | None, model: str | None
) -> None:
    """Check what a server has signed of a prediction, without asking it.

    It prints what the RECEIPT states, or says what is wrong and ends with 1.
    """
    try:
        stated = verify_receipt(
            receipt.read_bytes().decode("ascii", "replace"),
            json.loads(key_file.read_bytes()),
            answer=answer.read_bytes() if answer else None,
            sound=sound.read_bytes() if sound else None,
            model=model,
        )
    except (ValueError, RecursionError) as error:
        raise Failed(f"{key_file}: these are no keys") from error
    except BadReceipt as error:
        raise Failed(f"{receipt}: {error}") from error
    click.echo(json.dumps(asdict(stated), indent=2))


@click.command(epilog=_EXAMPLES_COMPLETION, short_help="Print the completion of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and files."""
    kind = get_completion_class(shell)
    if kind is None:
        raise Failed(f"there is no completion for {shell}")
    name = "spectrogrampredictor"
    click.echo(kind(context.find_root().command, {}, name, f"_{name.upper()}_COMPLETE").source())
