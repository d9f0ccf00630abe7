"""How many faults their printed fix mends without thought: every fault of the lab, each line run as it stands.

    python -m benchmarks.fix_lines [--lanes 2] [--only NAME] [--minutes 40] [--results FILE] [--write docs/accuracy.md]

Each trial brings up a real nginx and gunicorn, causes the fault, runs the lines of the fix that the doctor prints
first, in order, and asks a client (`tests/lab/fix_trial.py`). Advice is passed over, and so are lines that would change
the machine. With ``--minutes`` no trial is begun after that long; one fault of each cause comes before the second of
any. ``--results`` keeps what was tried, a line each, and a second run goes on from there. Prints Markdown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import msgspec

from tests.lab.faults import CASES
from tests.lab.faults.case import Case, NotHereError
from tests.lab.fix_trial import FixTrial, try_fix

KINDS = ("mended", "not mended", "elsewhere", "person")


class Result(msgspec.Struct, frozen=True):
    """One fault, and its trial or why there is none."""

    code: str
    name: str
    trial: FixTrial | None = None
    why: str = ""


def attempt(case: Case) -> Result:
    """The trial of one fault."""
    if reason := case.impossible():
        return Result(case.code, case.name, why=reason)
    try:
        trial = try_fix(case)
    except NotHereError as reason:
        return Result(case.code, case.name, why=str(reason))
    except Exception as error:  # noqa: BLE001  one stack that does not come up must not end the run
        return Result(case.code, case.name, why=f"{type(error).__name__}: {error}"[:200])
    print(
        f"{trial.kind:10} {trial.code} {trial.name} confirmed={trial.confirmed}", file=sys.stderr, flush=True
    )
    for line in trial.lines:
        print(f"             {line.exit_code} {line.words[:160]} {line.why}", file=sys.stderr, flush=True)
    return Result(case.code, case.name, trial)


class Results:
    """What was tried, by the fault's name, kept in ``path`` if there is one; a later trial of a fault counts."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = Lock()
        lines = path.read_bytes().splitlines() if path is not None and path.exists() else []
        decoded = (msgspec.json.decode(line, type=Result) for line in lines)
        self.by_name = {result.name: result for result in decoded}

    def add(self, result: Result) -> None:
        """Keep ``result`` at once."""
        with self._lock:
            self.by_name[result.name] = result
            if self._path is not None:
                with self._path.open("ab") as file:
                    file.write(msgspec.json.encode(result) + b"\n")


def by_turns(cases: Sequence[Case]) -> list[Case]:
    """One fault of each cause, then the second of those that have two, and so on."""
    turns: Counter[str] = Counter()
    ranked = []
    for case in cases:
        ranked.append((turns[case.code], case))
        turns[case.code] += 1
    return [case for _, case in sorted(ranked, key=lambda item: item[0])]


def table(trials: Sequence[FixTrial], untried: int) -> str:
    """The counts by kind, overall and by severity of what is affected, and the codes that lines alone mend."""
    kinds = Counter(item.kind for item in trials)
    rows = ["| faults | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    rows.append(f"| {len(trials)} | " + " | ".join(_share(kinds[kind], len(trials)) for kind in KINDS) + " |")
    by_code: dict[str, Counter[str]] = {}
    for item in trials:
        by_code.setdefault(item.code, Counter())[item.kind] += 1
    for kind in KINDS:
        codes = ", ".join(
            f"{code} ×{count[kind]}" if sum(count.values()) > 1 else code
            for code, count in sorted(by_code.items())
            if count[kind]
        )
        rows.append(f"\n{kind}: {codes or '-'}")
    said = sum(item.confirmed in (0, 1) for item in trials if item.is_mended)
    rows.append(f"\nThe last line said so: {said} of {kinds['mended']}. Not tried here: {untried}.")
    return "\n".join(rows)


def _share(count: int, whole: int) -> str:
    return f"{count} ({100 * count / whole:.0f}%)" if whole else "0"


def main() -> None:
    """Try all faults and print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--write", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    cases = by_turns([case for case in CASES if arguments.only in f"{case.code} {case.name}"])
    give_up = time.monotonic() + 60 * arguments.minutes
    results = Results(arguments.results)

    def try_in_time(case: Case) -> None:
        if case.name not in results.by_name and time.monotonic() < give_up:
            results.add(attempt(case))

    with ThreadPoolExecutor(arguments.lanes) as pool:
        list(pool.map(try_in_time, cases))
    tried = [
        results.by_name.get(case.name, Result(case.code, case.name, why="no time was left")) for case in cases
    ]
    trials = [item.trial for item in tried if item.trial is not None]
    for item in tried:
        if item.trial is None:
            print(f"not tried  {item.code} {item.name}: {item.why}", file=sys.stderr)
    version = importlib.metadata.version("gte-ops")
    head = (
        f"gte-ops {version}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}: {len(trials)} of the"
        f" {len(cases)} faults of the lab.\n\n"
    )
    text = head + table(trials, len(tried) - len(trials)) + "\n"
    for path in arguments.write:
        page = path.read_text(encoding="utf-8")
        begin, end = "<!-- fix lines -->\n", "<!-- /fix lines -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        path.write_text(before + begin + text + end + after, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
