"""How often `gte-ops doctor` is right about faults that others reported in public: each once, by kind.

    python -m benchmarks.doctor_reported [--lanes 2] [--only NAME] [--write docs/accuracy.md]

Each trial rebuilds the reporter's host on a real nginx and gunicorn, waits until a client meets the fault, runs the
doctor as a command, repairs the host as the reporter did, and runs it again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.lab.reported import REPORTED
from tests.lab.reported.case import Kind, Reported, Verdict, verdict
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

# How each fault was judged when the doctor met it first, before anything was changed for it. Never made anew.
FIRST = Path(__file__).with_name("doctor_reported_first.json")


@dataclass(frozen=True)
class Trial:
    """One fault. ``named``: the causes' codes, the first first; ``after``: those on the repaired host; ``why``: why it
    could not be tried."""

    reported: Reported
    judged: Verdict | None = None
    named: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    why: str = ""


def tried(reported: Reported) -> Trial:
    """Rebuild, ask, repair and ask again."""
    if why := reported.impossible():
        return Trial(reported, why=why)
    try:
        with Stack(**reported.stack) as stack:
            reported.inject(stack)
            wait_for(lambda: reported.sees(stack), f"a client to meet {reported.name}", within=15, every=0.05)
            ran = stack.doctor()
            if reported.kind is Kind.HEALTHY:
                return Trial(reported, verdict(reported, ran), tuple(ran.codes), tuple(ran.codes))
            reported.repair(stack)
            wait_for(lambda: not reported.sees(stack), "the repaired host to serve", within=15, every=0.05)
            again = stack.doctor()
            if not ran.report:
                return Trial(reported, why=f"the doctor said: {ran.stderr[-300:]}")
            return Trial(reported, verdict(reported, ran), tuple(ran.codes), tuple(again.codes))
    except (AssertionError, OSError, RuntimeError) as error:
        return Trial(reported, why=f"{type(error).__name__}: {error}"[:600])


def table(trials: Sequence[Trial], first: Mapping[str, str]) -> str:
    """The shares by kind, and each fault. ``first``: how each was judged at its very first try."""
    lines = ["| kind | faults | right at the first try | right now |", "|---|---|---|---|"]
    groups: list[tuple[str, list[Trial]]] = [
        (kind, [trial for trial in trials if trial.reported.kind is kind]) for kind in Kind
    ]
    for words, group in [*groups, ("all", list(trials))]:
        before = [first[trial.reported.name] for trial in group if trial.reported.name in first]
        now = [trial.judged for trial in group if trial.judged]
        lines.append(f"| {words} | {len(group)} | {_share(before)} | {_share(now)} |")
    lines += [
        "",
        "| fault | report | first try | now | first cause | repaired |",
        "|---|---|---|---|---|---|",
    ]
    for trial in trials:
        reported = trial.reported
        judged = trial.judged or f"not tried: {trial.why.splitlines()[0]}"
        cells = (
            reported.name,
            reported.source,
            first.get(reported.name, ""),
            judged,
            next(iter(trial.named), "none"),
            ", ".join(trial.after) or "green",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(judged: Sequence[str]) -> str:
    right = sum(verdict is Verdict.RIGHT for verdict in map(Verdict, judged))
    return f"{right} of {len(judged)}"


def main() -> None:
    """Run the trials and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, default=2, help="stacks at a time")
    parser.add_argument("--only", default="", help="faults whose name or kind holds this")
    parser.add_argument("--write", type=Path, help="put the tables into this file, between its markers")
    options = parser.parse_args()
    chosen = [reported for reported in REPORTED if options.only in f"{reported.name} {reported.kind}"]
    trials = []
    with ThreadPoolExecutor(options.lanes) as lanes:
        for trial in lanes.map(tried, chosen):
            trials.append(trial)
            told = trial.judged or trial.why
            print(f"{trial.reported.name}: {told} {trial.named} after {trial.after}", file=sys.stderr)
    document = table(trials, json.loads(FIRST.read_text()))
    print(document)
    if options.write:
        begin, end = "<!-- reported -->\n", "<!-- /reported -->"
        words = options.write.read_text()
        head, tail = words.partition(begin)[0], words.partition(end)[2]
        options.write.write_text(f"{head}{begin}{document}\n{end}{tail}")


if __name__ == "__main__":
    main()
