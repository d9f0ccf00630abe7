"""How many faults their printed fix mends without thought: every fault of the lab, each line run as it stands.

    python -m benchmarks.fix_lines [--baseline] [--lanes 2] [--only NAME] [--minutes 40] [--results FILE]
        [--write docs/accuracy.md]

Each trial brings up a real nginx and gunicorn, causes the fault, runs the lines of the fix that the doctor prints
first, in order, and asks a client (`tests/lab/fix_trial.py`). Advice is passed over, and so are lines that would change
the machine. With ``--baseline`` the host has a baseline and a backup from before the fault, as on one that the watchdog
guards. With ``--minutes`` no trial is begun after that long; one fault of each cause comes before the second of
any. ``--results`` keeps what was tried, a line each, and a second run goes on from there: with both kinds of run in one
file, the table has both. Prints Markdown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
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
    """One fault, and its trial or why there is none. ``with_baseline``: whether the host had one."""

    code: str
    name: str
    with_baseline: bool
    trial: FixTrial | None = None
    why: str = ""


def attempt(case: Case, *, with_baseline: bool) -> Result:
    """The trial of one fault."""
    if reason := case.impossible():
        return Result(case.code, case.name, with_baseline, why=reason)
    try:
        trial = try_fix(case, with_baseline=with_baseline)
    except NotHereError as reason:
        return Result(case.code, case.name, with_baseline, why=str(reason))
    except Exception as error:  # noqa: BLE001  one stack that does not come up must not end the run
        return Result(case.code, case.name, with_baseline, why=f"{type(error).__name__}: {error}"[:200])
    print(
        f"{trial.kind:10} {trial.code} {trial.name} confirmed={trial.confirmed}", file=sys.stderr, flush=True
    )
    for line in trial.lines:
        print(f"             {line.exit_code} {line.words[:160]} {line.why}", file=sys.stderr, flush=True)
    return Result(case.code, case.name, with_baseline, trial)


class Results:
    """What was tried, kept in ``path`` if there is one; a later trial of a fault counts."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = Lock()
        lines = path.read_bytes().splitlines() if path is not None and path.exists() else []
        decoded = (msgspec.json.decode(line, type=Result) for line in lines)
        self._results = {(result.name, result.with_baseline): result for result in decoded}

    def of(self, case: Case, *, with_baseline: bool) -> Result | None:
        """The result of ``case``, None if it was not tried."""
        return self._results.get((case.name, with_baseline))

    def add(self, result: Result) -> None:
        """Keep ``result`` at once."""
        with self._lock:
            self._results[result.name, result.with_baseline] = result
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


ROWS = {False: "no baseline: gte-ops is new on the host", True: "a baseline and a backup from before"}


def table(tried: Mapping[bool, Sequence[FixTrial]], whole: int) -> str:
    """The counts by kind, with and without a baseline, and the codes of each kind."""
    rows = ["| host | faults | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 2) + "|"]
    for with_baseline, trials in tried.items():
        kinds = Counter(item.kind for item in trials)
        shares = " | ".join(_share(kinds[kind], len(trials)) for kind in KINDS)
        rows.append(f"| {ROWS[with_baseline]} | {len(trials)} of {whole} | {shares} |")
    for with_baseline, trials in tried.items():
        rows.append(f"\nWith {'a' if with_baseline else 'no'} baseline:\n")
        rows += [f"- {kind}: {_codes(trials, kind)}" for kind in KINDS]
        confirmed = sum(item.confirmed in (0, 1) for item in trials if item.is_mended)
        ended = [line for item in trials for line in item.lines if line.exit_code in (124, 126, 127)]
        rows.append(
            f"- the last line said so: {confirmed} of {sum(item.is_mended for item in trials)}; lines that no shell"
            f" runs, or that do not end: {len(ended)} of {sum(len(item.lines) for item in trials)}; dry runs that end"
            f" with a command for what affects users: {sum(item.dry_run_helps for item in trials)} of {len(trials)}"
        )
    return "\n".join(rows)


def _codes(trials: Sequence[FixTrial], kind: str) -> str:
    """The codes of one kind; with a count where the faults of a code differ."""
    all_kinds = Counter(item.code for item in trials)
    codes = sorted(Counter(item.code for item in trials if item.kind == kind).items())
    return ", ".join(code if all_kinds[code] == 1 else f"{code} ×{count}" for code, count in codes) or "-"


def _share(count: int, whole: int) -> str:
    return f"{count} ({100 * count / whole:.0f}%)" if whole else "0"


def main() -> None:
    """Try all faults and print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--baseline", action="store_true")
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
        if results.of(case, with_baseline=arguments.baseline) is None and time.monotonic() < give_up:
            results.add(attempt(case, with_baseline=arguments.baseline))

    with ThreadPoolExecutor(arguments.lanes) as pool:
        list(pool.map(try_in_time, cases))
    tried: dict[bool, list[FixTrial]] = {}
    for with_baseline in (False, True):
        for case in cases:
            result = results.of(case, with_baseline=with_baseline)
            if result is None:
                continue
            if result.trial is None:
                print(f"not tried  {case.code} {case.name}: {result.why}", file=sys.stderr)
            else:
                tried.setdefault(with_baseline, []).append(result.trial)
    version = importlib.metadata.version("gte-ops")
    head = f"gte-ops {version}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}.\n\n"
    text = head + table(tried, len(cases)) + "\n"
    for path in arguments.write:
        page = path.read_text(encoding="utf-8")
        begin, end = "<!-- fix lines -->\n", "<!-- /fix lines -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        path.write_text(before + begin + text + end + after, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
