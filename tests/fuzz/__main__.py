"""The long run, by atheris (libFuzzer with Python's own coverage): see README.md.

    python -m tests.fuzz                        # every target, one after the other, a minute each
    python -m tests.fuzz --seconds 600 logs pem

What an input that fails did is printed with its traceback, and the input lies in --keep. Inputs that reached new code
are kept there too, and are where the next run begins."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.seeds import examples, pieces

# One input may take this long, and the process grow to this much.
SECONDS_FOR_ONE = 20
MEMORY_MB = 1500
MAX_INPUT_BYTES = 20_000


def main() -> int:
    """The exit code: 0 where nothing was found."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--keep", type=Path, default=Path(".fuzz"), help="directory of the inputs (.fuzz)")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    found = [name for name in asked.targets or TARGETS if _run(name, asked.seconds, asked.keep / name)]
    if found:
        sys.stdout.write(f"FOUND: {', '.join(found)}\n")
    return 1 if found else 0


def _run(name: str, seconds: int, directory: Path) -> bool:
    """Whether anything was found in ``name`` within ``seconds``."""
    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(examples(name)):
        (corpus / f"example-{number}").write_bytes(content)
    words = directory / "words"
    words.write_text("".join(f'"{_escaped(piece)}"\n' for piece in pieces(name)))
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.one",
        name,
        str(corpus),
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={SECONDS_FOR_ONE}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-dict={words}",
        f"-artifact_prefix={directory}/",
        "-print_final_stats=1",
    ]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = done.stdout + done.stderr
    runs = re.search(r"number_of_executed_units: (\d+)", said)
    peak = re.search(r"peak_rss_mb: +(\d+)", said)
    sys.stdout.write(
        f"{name}: {runs[1] if runs else '?'} executions in {time.monotonic() - started:.0f} s,"
        f" {peak[1] if peak else '?'} MB at most{', FOUND SOMETHING' if done.returncode else ''}\n"
    )
    sys.stdout.flush()
    if done.returncode:
        sys.stdout.write(said[-6000:])
    return done.returncode != 0


def _escaped(piece: bytes) -> str:
    """As libFuzzer's dictionaries have it."""
    return "".join(f"\\x{byte:02x}" for byte in piece)


if __name__ == "__main__":
    sys.exit(main())
