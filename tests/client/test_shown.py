"""spectrogrampredictor/shown.py and the help of the command line."""

from pathlib import Path

import click
import pytest

from spectrogrampredictor.__main__ import main, program
from spectrogrampredictor.shown import print_table, size_of


def every(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    found = [(name, command)]
    if isinstance(command, click.Group):
        for part, inner in command.commands.items():
            found += every(inner, f"{name} {part}".strip())
    return found


COMMANDS = every(program, "")


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3_210_000_000, "3.2 GB")],
)
def test_sizes_are_written_as_people_do(count: int | None, text: str) -> None:
    assert size_of(count) == text


def test_columns_are_as_wide_as_they_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "name"], [["long", "x"], ["b", "-"]])
    assert capsys.readouterr().out == "a     name\nlong  x\nb     -\n"


def test_every_command_of_the_issue_is_there() -> None:
    wanted = {"keys", "register", "push", "models", "predict", "verify-receipt", "tokens"}
    assert wanted <= set(program.commands)


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_explains_itself(
    name: str, command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: spectrogrampredictor {name}".strip())
    listed = shown.partition("Commands:")[2].partition("Examples:")[0]
    assert "..." not in listed, "a short help that is cut"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_examples_in_the_help_are_commands_that_there_are() -> None:
    known = {name for name, _ in COMMANDS}
    for _, command in COMMANDS:
        for line in (command.epilog or "").splitlines():
            for said in line.split("spectrogrampredictor ")[1:]:
                words = said.split()
                assert words[0] in known, line
                group = program.commands[words[0]]
                if isinstance(group, click.Group) and not words[1].startswith("-"):
                    assert f"{words[0]} {words[1]}" in known, line


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_SPECTROGRAMPREDICTOR_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_commands_are_completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "_SPECTROGRAMPREDICTOR_COMPLETE": "bash_complete",
        "COMP_WORDS": "spectrogrampredictor models di",
        "COMP_CWORD": "2",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out == "plain,disable\n"


def test_what_is_incomplete_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BASE_URL", raising=False)
    for arguments in (["models"], ["fly"], ["predict", "best"], ["tokens", "--scope", "fly"]):
        assert main(arguments) == 2
    assert "BASE_URL is not set" in capsys.readouterr().err


def test_the_docs_name_every_command() -> None:
    text = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    for name, _ in COMMANDS[1:]:
        assert f"`{name}" in text, name
