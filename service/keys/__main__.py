"""``python -m service.keys``: make, list and revoke API keys."""

from pathlib import Path

import click

from service.chinese import chinese
from service.keys import key_file
from service.keys.key_file import KeyFileError
from service.language import Message
from service.settings import PREFIX

_VARIABLE = PREFIX + "API_KEYS_FILE"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=_VARIABLE,
    required=True,
    help=f"The file of keys; otherwise that of {_VARIABLE}.",
)
@click.pass_context
def main(context: click.Context, path: Path) -> None:
    """API keys of the service. The service takes a change over at its next request, without a restart.

    服务的 API 密钥：create 新建，list 列出，revoke 吊销。改动在下一个请求时生效，无需重启。
    """
    context.obj = path


@main.command()
@click.argument("name")
@click.pass_obj
def create(path: Path, name: str) -> None:
    """Make a key named NAME and print it, this once. 新建一个密钥，只显示这一次。"""
    key = key_file.add(path, name)
    click.echo(key)
    click.echo(
        "It is shown this once; only its hash is kept. 密钥只显示这一次，文件中只保存其哈希值。", err=True
    )


@main.command("list")
@click.pass_obj
def list_keys(path: Path) -> None:
    """The names, when each was made, and the beginning of its hash. 列出名称、创建时间和哈希值开头。"""
    for key in key_file.read(path):
        click.echo(f"{key.name}\t{key.created}\t{key.sha256[:12]}")


@main.command()
@click.argument("name")
@click.pass_obj
def revoke(path: Path, name: str) -> None:
    """Take the key named NAME back. 吊销名为 NAME 的密钥。"""
    key_file.remove(path, name)
    click.echo(f"revoked: {name}", err=True)


def run() -> None:
    """The command, with every error of the file as one line and exit status 1; errors of usage exit 3."""
    try:
        main.main(prog_name="python -m service.keys", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        raise SystemExit(3) from None
    except click.Abort:
        raise SystemExit(130) from None
    except KeyFileError as error:
        said = str(Message(str(error), chinese(str(error))))
        click.echo(f"service.keys: {said}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    run()
