"""``gte-api``: start the service, and try its models."""

import sys

from service.language import Message

_MISUSED = 3


def run() -> None:
    """Run the program, or end with one line where only the client was installed (docs/client.md)."""
    try:
        from service.cli.main import run as program
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "service"):
            raise
        line = "pip install 'gte-ops[embedded]'"
        words = Message(f"{missing} is not installed: {line}", f"没有安装 {missing}：{line}")
        sys.stderr.write(f"gte-api: {words}\n")
        sys.exit(_MISUSED)
    program()
