"""The whole proof by hand: python -m tests.differential [--batches N] [--sites N] [--requests N] [--seed N]."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.differential.compare import Counts, compare
from tests.differential.real_nginx import RealNginx
from tests.differential.versions import nginx_versions


def main() -> int:
    """Compare, and print the counts and every difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--sites", type=int, default=50)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10)
    parser.add_argument("--port", type=int, default=21000)
    parser.add_argument("--only", type=int, default=None, help="the first (0) or second (1) nginx alone")
    arguments = parser.parse_args()
    failed = False
    programs = nginx_versions()
    for binary, version in programs if arguments.only is None else [programs[arguments.only]]:
        counts, started = Counts(), time.monotonic()
        for batch in range(arguments.batches):
            with tempfile.TemporaryDirectory() as place, RealNginx(binary, Path(place)) as nginx:
                seed = arguments.seed + batch
                compare(nginx, version, seed, arguments.sites, arguments.requests, arguments.port, counts)
        seconds = time.monotonic() - started
        sys.stdout.write(
            f"nginx {version}: {counts.configurations} configurations ({counts.refused} that nginx refuses left out),"
            f" {counts.requests} requests, {len(counts.differences)} differences, {seconds:.0f} s;"
            f" {dict(sorted(counts.outcomes.items()))}\n"
        )
        sys.stdout.writelines(f"{words}\n\n" for words in counts.differences[: arguments.show])
        failed = failed or bool(counts.differences)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
