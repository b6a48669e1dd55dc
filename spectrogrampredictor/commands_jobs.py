"""The commands `tasks` and `jobs`: work that outlives its request."""

import json
from pathlib import Path
from typing import Any

import click

from spectrogrampredictor.client import Client
from spectrogrampredictor.jobs import Job
from spectrogrampredictor.model_names import digest_or_name
from spectrogrampredictor.shown import bar, examples, print_table, size_of

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_PARTS = 1000
_EXAMPLES = examples(
    "spectrogrampredictor tasks",
    "spectrogrampredictor jobs run separation song.mp3 -p format=flac --output stems/",
    "spectrogrampredictor jobs run midi song.mp3 --model basic-pitch --output notes/",
    "spectrogrampredictor jobs --state failed",
)


@click.command(short_help="List what can be done with sounds.")
@click.option("--json", "as_json", is_flag=True, help="With parameters, forms of models and files.")
def tasks(*, as_json: bool) -> None:
    """List the tasks of the server, with their parameters."""
    with Client.from_env() as client:
        found = client.jobs.tasks()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for task in found:
        click.echo(f"{task['name']}: {task['summary']}")
        for parameter in task["parameters"]:
            click.echo(f"  -p {parameter['name']}={parameter['default']}  {_bounds(parameter)}")


def _bounds(parameter: dict[str, Any]) -> str:
    if parameter["choices"]:
        return f"{parameter['summary']} ({', '.join(parameter['choices'])})"
    return f"{parameter['summary']} ({parameter['least']:g} to {parameter['most']:g})"


@click.group(
    invoke_without_command=True, epilog=_EXAMPLES, short_help="List jobs, or do something with one."
)
@click.option(
    "--state", type=click.Choice(["queued", "running", "done", "failed", "cancelled"]), help="Only."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def jobs(context: click.Context, *, state: str | None, as_json: bool) -> None:
    """List your jobs, or do something with one."""
    if context.invoked_subcommand is not None:
        return
    with Client.from_env() as client:
        found = list(client.jobs.every(state=state))
    if as_json:
        for job in found:
            click.echo(json.dumps(_told(job)))
        return
    rows = [(job.id, job.task, job.state, f"{job.progress:.0%}", _by(job)) for job in found]
    print_table(("id", "task", "state", "progress", "by"), rows)


@jobs.command(epilog=_EXAMPLES, short_help="Hand in a job, wait, and fetch its files.")
@click.argument("task")
@click.argument("sound", type=_FILE)
@click.option("--model", help="A digest, a name or a file; without one the baseline answers.")
@click.option(
    "-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Of the task."
)
@click.option("--output", type=_FOLDER, help="A folder for the files; the current one otherwise.")
@click.option("--priority", type=int, default=0, help="Higher ones are done first.")
@click.option("--no-wait", is_flag=True, help="Print the job's id and go.")
def run(
    *,
    task: str,
    sound: Path,
    model: str | None,
    given: tuple[str, ...],
    output: Path | None,
    priority: int,
    no_wait: bool,
) -> None:
    """Do TASK with SOUND, print the result, and fetch the files.

    The same sound, model and parameters again give the result that is there.
    """
    parameters = dict(_pair(text) for text in given)
    with Client.from_env() as client:
        job = client.jobs.submit(
            *(task, sound),
            model=None if model is None else digest_or_name(model),
            priority=priority,
            **parameters,
        )
        if no_wait:
            click.echo(job.id)
            return
        _finish(client, job, output)


@jobs.command(short_help="Wait for a job and fetch its files.")
@click.argument("job")
@click.option("--output", type=_FOLDER, help="A folder for the files; the current one otherwise.")
def fetch(*, job: str, output: Path | None) -> None:
    """Wait for JOB, print its result, and fetch its files."""
    with Client.from_env() as client:
        _finish(client, client.jobs.get(job), output)


@jobs.command(short_help="Tell about a job.")
@click.argument("job")
def show(*, job: str) -> None:
    """Tell about JOB, as JSON."""
    with Client.from_env() as client:
        click.echo(json.dumps(_told(client.jobs.get(job)), indent=2))


@jobs.command(short_help="End a job, or forget it.")
@click.argument("job")
def cancel(*, job: str) -> None:
    """End JOB; one that is over is forgotten, with its files."""
    with Client.from_env() as client:
        client.jobs.cancel(job)


def _finish(client: Client, job: Job, output: Path | None) -> None:
    with bar(job.task) as told:
        done = client.jobs.wait(job, progress=lambda part: told(round(part * _PARTS), _PARTS))
    click.echo(json.dumps(_told(done)))
    for path in client.jobs.save(done, output or Path()):
        click.echo(f"{path}  {size_of(path.stat().st_size)}", err=True)


def _told(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {"id": job.id, "task": job.task, "state": job.state}
    told |= {"progress": job.progress, "by": _by(job), "parameters": job.parameters}
    if job.outputs is not None:
        told["outputs"] = job.outputs
    if job.artifacts:
        told["files"] = [artifact.name for artifact in job.artifacts]
    if job.problem is not None:
        told["problem"] = job.problem
    return told


def _by(job: Job) -> str:
    return job.model or job.baseline or "-"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="-p")
    return name, value
