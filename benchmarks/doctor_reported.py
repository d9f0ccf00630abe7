"""How often `gte-ops doctor` is right about faults that others reported in public: each once, by kind.

    python -m benchmarks.doctor_reported [--lanes 2] [--only NAME] [--json FILE]

Each trial rebuilds the reporter's host on a real nginx and gunicorn, waits until a client meets the fault, runs the
doctor as a command, repairs the host as the reporter did, and runs it again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.lab.reported import REPORTED
from tests.lab.reported.case import Kind, Reported, Verdict, verdict
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


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
            reported.repair(stack)
            wait_for(lambda: not reported.sees(stack), "the repaired host to serve", within=15, every=0.05)
            again = stack.doctor()
            if not ran.report:
                return Trial(reported, why=f"the doctor said: {ran.stderr[-300:]}")
            return Trial(reported, verdict(reported, ran), tuple(ran.codes), tuple(again.codes))
    except (AssertionError, OSError, RuntimeError) as error:
        return Trial(reported, why=f"{type(error).__name__}: {error}"[:600])


def table(trials: list[Trial]) -> str:
    """The share by kind, and each fault."""
    lines = [
        "| kind | faults | " + " | ".join(Verdict) + " |",
        "|---|---|" + "---|" * len(Verdict),
    ]
    for kind in Kind:
        of_kind = [trial for trial in trials if trial.reported.kind is kind and trial.judged]
        counts = [sum(trial.judged is judged for trial in of_kind) or "" for judged in Verdict]
        lines.append(f"| {kind} | {len(of_kind)} | " + " | ".join(map(str, counts)) + " |")
    lines += ["", "| fault | report | first cause | judged | repaired |", "|---|---|---|---|---|"]
    for trial in trials:
        judged = trial.judged or f"not tried: {trial.why.splitlines()[0]}"
        green = ", ".join(trial.after) or "green"
        first = next(iter(trial.named), "none")
        lines.append(f"| {trial.reported.name} | {trial.reported.source} | {first} | {judged} | {green} |")
    return "\n".join(lines)


def main() -> None:
    """Run the trials and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, default=2, help="stacks at a time")
    parser.add_argument("--only", default="", help="faults whose name or kind holds this")
    parser.add_argument("--json", type=Path, help="also write the verdicts here")
    options = parser.parse_args()
    chosen = [reported for reported in REPORTED if options.only in f"{reported.name} {reported.kind}"]
    trials = []
    with ThreadPoolExecutor(options.lanes) as lanes:
        for trial in lanes.map(tried, chosen):
            trials.append(trial)
            told = trial.judged or trial.why
            print(f"{trial.reported.name}: {told} {trial.named} after {trial.after}", file=sys.stderr)
    print(table(trials))
    if options.json:
        verdicts = {trial.reported.name: [trial.judged, *trial.named] for trial in trials}
        options.json.write_text(json.dumps(verdicts, indent=1))


if __name__ == "__main__":
    main()
