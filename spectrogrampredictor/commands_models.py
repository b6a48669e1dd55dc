"""Commands about models and their names: `push`, `register`, `models`, `aliases`."""

import json
import os
from pathlib import Path

import click

from spectrogrampredictor.answers import Model
from spectrogrampredictor.client import Client
from spectrogrampredictor.files import FileBody
from spectrogrampredictor.model_names import digest_or_name, is_digest
from spectrogrampredictor.problems import AliasNotFound
from spectrogrampredictor.shown import bar, examples, print_table, size_of

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MANIFEST = click.option(
    "--manifest", type=_FILE, help="JSON: frontends, labels and scaler that belong to the file."
)
_EXAMPLES_PUSH = examples(
    "spectrogrampredictor push genre.h5 --manifest manifest.json",
)
_EXAMPLES_REGISTER = examples(
    "spectrogrampredictor register genre.h5 --manifest manifest.json",
)
_EXAMPLES_MODELS = examples(
    "spectrogrampredictor models --state rejected",
    "spectrogrampredictor models show best",
)
_EXAMPLES_ALIASES = examples(
    "spectrogrampredictor aliases set best 3f2a...e1",
    "spectrogrampredictor aliases rollback best",
)


@click.command(epilog=_EXAMPLES_PUSH, short_help="Register model files and send them.")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@_MANIFEST
@click.option("--no-wait", is_flag=True, help="Do not wait until the models are ready.")
def push(*, files: tuple[Path, ...], manifest: Path | None, no_wait: bool) -> None:
    """Register model FILES, send them, and wait until they are ready.

    A file that the server has is not sent again. A large one goes in parts: after a cut line, or
    after Ctrl-C and the same command, it goes on where it was.
    """
    with Client.from_env() as client:
        for file in files:
            with bar(file.name) as told:
                model = client.push(
                    *(file, manifest),
                    wait_s=0 if no_wait else 600,
                    progress=told,
                    resume_in=_memory(),
                )
            click.echo(f"{model.digest}  {model.state}  {file}")


@click.command(epilog=_EXAMPLES_REGISTER, short_help="Say that a digest may become a model.")
@click.argument("model")
@_MANIFEST
def register(*, model: str, manifest: Path | None) -> None:
    """Say that MODEL, a digest or a file, may become a model; its file may come later.

    With another manifest a model that is there is judged again by that.
    """
    digest = model if is_digest(model) else FileBody.of(model).sha256
    with Client.from_env() as client:
        found = client.register(digest, manifest)
    click.echo(f"{found.digest}  {found.state}")


@click.group(
    invoke_without_command=True,
    epilog=_EXAMPLES_MODELS,
    short_help="List models, or do something with one.",
)
@click.option(
    "--state",
    type=click.Choice(["registered", "promoted", "ready", "rejected", "disabled"]),
    help="Only those.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def models(context: click.Context, *, state: str | None, as_json: bool) -> None:
    """List the models of the server, or do something with one."""
    if context.invoked_subcommand is not None:
        return
    with Client.from_env() as client:
        found = list(client.models(state=state))
    if as_json:
        for model in found:
            click.echo(_json(model))
        return
    rows = [
        [
            *(model.digest, model.state, model.task or "-", size_of(model.bytes)),
            *(" ".join(model.aliases) or "-", (model.reason or "-")[:60]),
        ]
        for model in found
    ]
    print_table(["digest", "state", "task", "size", "names", "reason"], rows)


@models.command()
@click.argument("model")
def show(model: str) -> None:
    """Print all that is known of MODEL as JSON."""
    with Client.from_env() as client:
        click.echo(_json(client.model(digest_or_name(model)), indent=2))


@models.command()
@click.argument("model")
@click.option("--reason", help="Told to whom asks for a prediction.")
def disable(*, model: str, reason: str | None) -> None:
    """Switch MODEL off."""
    with Client.from_env() as client:
        click.echo(f"{client.disable(digest_or_name(model), reason).digest}  disabled")


@models.command()
@click.argument("model")
def enable(model: str) -> None:
    """Switch MODEL on again."""
    with Client.from_env() as client:
        found = client.enable(digest_or_name(model))
    click.echo(f"{found.digest}  {found.state}")


@models.command()
@click.argument("model")
@click.confirmation_option(prompt="Remove the model with its files?")
def remove(model: str) -> None:
    """Remove MODEL with its files."""
    with Client.from_env() as client:
        client.remove(digest_or_name(model))


@click.group(
    invoke_without_command=True,
    epilog=_EXAMPLES_ALIASES,
    short_help="List names for models, or move one.",
)
@click.pass_context
def aliases(context: click.Context) -> None:
    """List the names of models, or move one.

    A name stands for one model, and may be used in place of its digest.
    """
    if context.invoked_subcommand is not None:
        return
    with Client.from_env() as client:
        found = client.aliases()
    rows = [[one.name, one.digest, one.previous or "-"] for one in found]
    print_table(["name", "digest", "before"], rows)


@aliases.command("set")
@click.argument("name")
@click.argument("model")
def set_alias(name: str, model: str) -> None:
    """Give NAME to MODEL, wherever it led before."""
    with Client.from_env() as client:
        given = digest_or_name(model)
        digest = given if is_digest(given) else client.model(given).digest
        try:
            seen = client.alias(name)
        except AliasNotFound:
            seen = None
        moved = client.set_alias(name, digest, seen=seen)
    click.echo(f"{moved.name}  {moved.digest}")


@aliases.command()
@click.argument("name")
def rollback(name: str) -> None:
    """Lead NAME back to the model before; again, and it goes forward."""
    with Client.from_env() as client:
        moved = client.roll_back_alias(name)
    click.echo(f"{moved.name}  {moved.digest}")


@aliases.command("remove")
@click.argument("name")
def remove_alias(name: str) -> None:
    """Take NAME away; the model stays."""
    with Client.from_env() as client:
        client.remove_alias(client.alias(name))


def _json(model: Model, indent: int | None = None) -> str:
    fields = {name: getattr(model, name) for name in Model.__dataclass_fields__}
    return json.dumps(fields, indent=indent, default=lambda instant: instant.isoformat())


def _memory() -> Path:
    """Return where uploads that are under way are written down."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "spectrogrampredictor" / "uploads"
