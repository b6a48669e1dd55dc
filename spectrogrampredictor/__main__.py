"""The command line: `spectrogrampredictor COMMAND`."""

import sys

import click
import httpx

from spectrogrampredictor.command_errors import Failed, said_of
from spectrogrampredictor.commands_jobs import jobs, tasks
from spectrogrampredictor.commands_keys import completion, keys, tokens, verify
from spectrogrampredictor.commands_models import aliases, models, push, register
from spectrogrampredictor.commands_predict import predict
from spectrogrampredictor.environment import BadSettings
from spectrogrampredictor.jobs import JobFailed
from spectrogrampredictor.problem import Problem
from spectrogrampredictor.version import VERSION

_HELP = """Host audio models by their SHA-256, and ask them about songs.

\b
From a trained model to an answer:
  export BASE_URL=https://models.example SIGNING_TOKEN=...
  spectrogrampredictor push genre.h5
  spectrogrampredictor predict 3f2a...e1 song.mp3
\b
Where the server is and who asks:
  BASE_URL          the server
  CA_FILE           the authority of its certificate, where it is not one of the usual ones
  BEARER_TOKEN      a token; or
  KEY_ID            a key's name, with KEY_SECRET (base64) or KEY_FILE (a file with PEM); or
  SIGNING_TOKEN     the secret that all share
\b
Exit status:
  0  it is done
  1  the server, or a check, says no; what it said stands on standard error
  2  the command, or the environment, is not complete
"""


@click.group(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="%(version)s")
def program() -> None:
    """Hold the commands."""


for _command in (
    *(push, register, models, aliases, predict, jobs, tasks),
    *(verify, tokens, keys, completion),
):
    program.add_command(_command)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    try:
        program.main(arguments, prog_name="spectrogrampredictor", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    except BadSettings as error:
        click.echo(f"{error}; see spectrogrampredictor --help", err=True)
        return 2
    except (Problem, Failed, JobFailed, TimeoutError, OSError, httpx.HTTPError) as error:
        click.echo(said_of(error), err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
