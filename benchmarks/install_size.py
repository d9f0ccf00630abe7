"""What each way to install brings along: distributions and megabytes, from an empty environment.

    .venv/bin/python benchmarks/install_size.py                   # the toolkit alone, and each extra
    .venv/bin/python benchmarks/install_size.py --source DIR ''   # another checkout, the toolkit alone

pip installs from wherever it is configured to. Megabytes are of the files in site-packages without compiled bytecode,
which pip would write on this machine and not on another.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("", "client", "service", "embedded")


def measured(source: Path, extra: str) -> tuple[int, float]:
    """How many distributions, this one included, and how many megabytes (10^6 bytes) an install takes."""
    with tempfile.TemporaryDirectory(prefix="gte-install-size-") as folder:
        environment = Path(folder) / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        target = f"{source}[{extra}]" if extra else str(source)
        pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
        quiet = ("--quiet", "--quiet", "--disable-pip-version-check", "--no-compile")
        subprocess.run([*pip, "install", *quiet, target], check=True)
        (packages,) = environment.glob("lib/python*/site-packages")
        files = [file for file in packages.rglob("*") if file.is_file() and not file.is_symlink()]
        return len(list(packages.glob("*.dist-info"))), sum(file.stat().st_size for file in files) / 1e6


def main() -> None:
    """Print a table, one line for each extra."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, default=ROOT, help="checkout to install; default: this one")
    parser.add_argument("extras", nargs="*", default=EXTRAS, help="'' is the toolkit alone")
    arguments = parser.parse_args()
    print("| install | distributions | MB |\n| --- | --- | --- |")
    for extra in arguments.extras:
        count, megabytes = measured(arguments.source, extra)
        print(f"| {f'gte-ops[{extra}]' if extra else 'gte-ops'} | {count} | {megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
