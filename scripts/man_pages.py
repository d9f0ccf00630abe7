"""The man pages and the shells' completion of gte-ops, made from its commands: setup.py puts them into the wheel.

.venv/bin/python scripts/man_pages.py DIRECTORY          # laid out as below /usr/share
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from ops import __version__
from ops.cli.main import commands

PROGRAM = "gte-ops"
# Where each shell looks below a share directory: bash-completion(1), zshcompsys(1) and fish-completions(1).
COMPLETION = {
    "bash": "bash-completion/completions/gte-ops",
    "zsh": "zsh/site-functions/_gte-ops",
    "fish": "fish/vendor_completions.d/gte-ops.fish",
}


def shared_files() -> dict[str, str]:
    """Every file by its place below a share directory."""
    pages = {f"man/man1/{'-'.join(words)}.1": man_page(words, context) for words, context in tree()}
    return pages | {place: completion(shell) for shell, place in COMPLETION.items()}


def completion(shell: str) -> str:
    """The script that completes gte-ops in ``shell``: it asks gte-ops itself."""
    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"click completes nothing in {shell}")
    asking = kind(commands, {}, PROGRAM, "_GTE_OPS_COMPLETE")
    return asking.source_template % asking.source_vars()


def tree() -> Iterator[tuple[tuple[str, ...], click.Context]]:
    """Every command below gte-ops, by the words that call it, itself included."""

    def below(
        words: tuple[str, ...], context: click.Context
    ) -> Iterator[tuple[tuple[str, ...], click.Context]]:
        yield words, context
        for name, command in subcommands(context):
            yield from below((*words, name), click.Context(command, info_name=name, parent=context))

    return below((PROGRAM,), click.Context(commands, info_name=PROGRAM, **commands.context_settings))


def subcommands(context: click.Context) -> list[tuple[str, click.Command]]:
    """The commands of a group, by name."""
    group = context.command
    if not isinstance(group, click.Group):
        return []
    found = ((name, group.get_command(context, name)) for name in group.list_commands(context))
    return [(name, command) for name, command in found if command is not None and not command.hidden]


def man_page(words: tuple[str, ...], context: click.Context) -> str:
    """The page of one command, as man(7) has it."""
    name, command = "-".join(words), context.command
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f'.TH "{name.upper()}" "1" "" "{PROGRAM} {__version__}"', ".ad l", ".SH NAME"]
    lines += [f"{escaped(name)} \\- {escaped(command.get_short_help_str(200))}", ".SH SYNOPSIS"]
    lines += [f".B {escaped(' '.join(words))}", escaped(usage), ".SH DESCRIPTION", *description(command)]
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    if records := [record for option in options if (record := option.get_help_record(context))]:
        lines.append(".SH OPTIONS")
        for option, help_text in records:
            lines += [".TP", f".B {escaped(option)}", escaped(help_text)]
    if below := subcommands(context):
        lines.append(".SH COMMANDS")
        for child, subcommand in below:
            lines += [
                ".TP",
                f".BR {escaped(f'{name}-{child}')} (1)",
                escaped(subcommand.get_short_help_str(200)),
            ]
    if len(words) > 1:
        lines += [".SH SEE ALSO", f".BR {escaped('-'.join(words[:-1]))} (1)"]
    return "\n".join(lines) + "\n"


def description(command: click.Command) -> Iterator[str]:
    """The paragraphs of the help; those that click shows line for line stay so."""
    for number, paragraph in enumerate(inspect.cleandoc(command.help or "").split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *map(escaped, paragraph.splitlines()[1:]), ".fi")
        else:
            yield from map(escaped, paragraph.splitlines())


def escaped(words: str) -> str:
    """``words`` as groff shows them: a hyphen can be copied as one, and no line begins a request."""
    text = words.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def write(directory: Path) -> list[Path]:
    """Write all files below ``directory``, and return where they are."""
    files = {directory / place: text for place, text in shared_files().items()}
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return list(files)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
