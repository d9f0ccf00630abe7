"""How often `gte-ops doctor` is right: every fault of the lab, its double faults and its healthy hosts, once.

    python -m benchmarks.doctor_accuracy [--lanes 2] [--only NAME] [--write docs/accuracy.md]

Each trial brings up a real nginx and gunicorn, causes the fault, waits until a client meets it, and runs the doctor as
a command. Right means: the injected cause first, and no cause beside it that was not caused. Prints Markdown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.lab.faults import CASES
from tests.lab.faults.case import Case, NotHereError
from tests.lab.faults.double import PAIRS
from tests.lab.healthy import VARIANTS, Variant
from tests.lab.stack import Stack
from tests.lab.trial import tried


@dataclass(frozen=True)
class Outcome:
    """One trial. ``kind``: single, double, healthy; ``seconds``: the doctor's own; ``why``: why it was not tried."""

    kind: str
    name: str
    injected: tuple[str, ...]
    expected: frozenset[str]
    named: tuple[str, ...] = ()
    seconds: float = 0.0
    why: str = ""

    @property
    def first_right(self) -> bool:
        """Whether an injected cause stands first; on a healthy host, whether nothing is named."""
        return (
            self.named[:1] == self.injected[:1]
            if self.kind != "double"
            else bool(set(self.named[:1]) & set(self.injected))
        )

    @property
    def right(self) -> bool:
        """Whether what was caused is named, and nothing else."""
        return set(self.named) == self.expected and (self.kind == "double" or self.first_right)


def fault_trial(kind: str, cases: Sequence[Case]) -> Outcome:
    """Cause ``cases`` at once and ask the doctor."""
    name = " + ".join(case.name for case in cases)
    expected = frozenset(code for case in cases for code in (case.code, *case.beside))
    injected = tuple(case.first for case in cases)
    impossible = next((why for case in cases if (why := case.impossible())), "")
    if impossible:
        return Outcome(kind, name, injected, expected, why=impossible)
    try:
        ran = tried(*cases)
    except NotHereError as why:
        return Outcome(kind, name, injected, expected, why=str(why))
    except (AssertionError, OSError, RuntimeError, TimeoutError) as error:
        return Outcome(
            kind, name, injected, expected, ("not caused",), why=f"{type(error).__name__}: {error}"[:200]
        )
    return Outcome(kind, name, injected, expected, tuple(ran.codes), ran.report.get("duration_ms", 0) / 1000)


def healthy_trial(variant: Variant) -> Outcome:
    """Ask the doctor about a host that is in order."""
    with Stack(**variant.stack) as stack:
        variant.arrange(stack)
        ran = stack.doctor()
    seconds = ran.report.get("duration_ms", 0) / 1000
    return Outcome("healthy", variant.name, (), frozenset(), tuple(ran.codes), seconds)


def table(outcomes: Sequence[Outcome]) -> str:
    """The document: totals, the confusion matrix by layer, every trial that was not right, what was not tried."""
    ran = [o for o in outcomes if not o.why]
    lines = [
        "| trials | tried | right cause first | exactly what was caused | median s | slowest s |",
        "|---|---|---|---|---|---|",
    ]
    for kind, words in (
        ("single", "single faults"),
        ("double", "double faults"),
        ("healthy", "healthy hosts"),
    ):
        of_kind = [o for o in ran if o.kind == kind]
        if of_kind:
            took = [o.seconds for o in of_kind]
            share = [
                f"{n} ({n / len(of_kind):.0%})"
                for n in (sum(o.first_right for o in of_kind), sum(o.right for o in of_kind))
            ]
            lines.append(
                f"| {words} | {len(of_kind)} | {share[0]} | {share[1]}"
                f" | {statistics.median(took):.2f} | {max(took):.2f} |"
            )
    singles = [o for o in ran if o.kind == "single"]
    layers = list(dict.fromkeys(o.injected[0][:3] for o in singles))
    counts = Counter((o.injected[0][:3], o.named[0][:3] if o.named else "none") for o in singles)
    columns = [*layers, *sorted({named for _, named in counts} - set(layers))]
    lines += ["", "Layer of the injected cause (rows) against layer of the cause named first (columns):", ""]
    lines += [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {layer} | " + " | ".join(str(counts[layer, column] or "") for column in columns) + " |"
        for layer in layers
    ]
    by_code: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in singles:
        by_code[outcome.injected[0]].append(outcome)
    lines += ["", "| injected | trials | named first | beside it |", "|---|---|---|---|"]
    for code in sorted(by_code):
        first = Counter(o.named[0] if o.named else "none" for o in by_code[code])
        beside = sorted({c for o in by_code[code] for c in o.named if c not in o.expected})
        told = ", ".join(f"{named} ×{count}" for named, count in first.most_common())
        lines.append(f"| {code} | {len(by_code[code])} | {told} | {', '.join(beside)} |")
    wrong = [o for o in outcomes if not o.right and (not o.why or o.named)]
    if wrong:
        lines += ["", "Not right:", ""]
        lines += [f"- {o.name}: {', '.join(o.named) or 'nothing'} named; {o.why}" for o in wrong]
    untried = [o for o in outcomes if o.why and not o.named]
    if untried:
        lines += ["", "Not tried, because this machine does not let it be caused:", ""]
        lines += [f"- {o.name}: {o.why}" for o in untried]
    return "\n".join(lines)


def main() -> None:
    """Run the trials and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, default=2, help="stacks at a time")
    parser.add_argument("--only", default="", help="trials whose name holds this")
    parser.add_argument("--write", type=Path, help="put the tables into this file, between its markers")
    options = parser.parse_args()
    trials = [
        *((case.name, partial(fault_trial, "single", (case,))) for case in CASES),
        *(
            (f"{one.name} + {other.name}", partial(fault_trial, "double", (one, other)))
            for one, other in PAIRS
        ),
        *((variant.name, partial(healthy_trial, variant)) for variant in VARIANTS),
    ]
    chosen = [run for name, run in trials if options.only in name]
    outcomes = []
    with ThreadPoolExecutor(options.lanes) as lanes:
        for done in lanes.map(lambda run: run(), chosen):
            outcomes.append(done)
            print(
                f"{'ok  ' if done.right else 'FAIL'} {done.kind} {done.name}: {done.named}", file=sys.stderr
            )
    made = (
        f"gte-ops {importlib.metadata.version('gte-ops')}, Python {platform.python_version()},"
        f" {datetime.now(UTC):%Y-%m-%d}, {options.lanes} stacks at a time."
    )
    document = f"{made}\n\n{table(outcomes)}\n"
    print(document)
    if options.write:
        begin, end = "<!-- measured -->\n", "<!-- /measured -->"
        words = options.write.read_text()
        head, tail = words.partition(begin)[0], words.partition(end)[2]
        options.write.write_text(f"{head}{begin}{document}{end}{tail}")


if __name__ == "__main__":
    main()
