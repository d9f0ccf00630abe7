"""How often the embedded default's rules for ``relation`` and ``event`` are right, on sentences written by hand.

    python -m benchmarks.extraction_quality [--misses]

The sentences stand in ``benchmarks/extraction/sentences.txt``, one half looked at while the rules were written,
the other not. A relation counts if subject, predicate and object are all as a reader has them; a trigger if
its type and word are; an argument if its type, role and text are. Sixty sentences of one author bound nothing
tightly: with 30, an interval of 95 % is easily 15 points wide either way.
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from service.engines.lac import Lac
from service.tasks.masked_text import mask
from service.tasks.rules.event import events_of
from service.tasks.rules.relation import relations_of

SENTENCES = Path(__file__).parent / "extraction" / "sentences.txt"

Fact = tuple[str, ...]


@dataclass
class Sentence:
    """A sentence and what a reader finds in it, as facts that can be compared."""

    text: str
    is_seen: bool
    facts: dict[str, set[Fact]] = field(
        default_factory=lambda: {"relation": set(), "trigger": set(), "argument": set()}
    )


def read(path: Path) -> list[Sentence]:
    """The sentences of the file; its head says how it is written."""
    sentences: list[Sentence] = []
    is_seen = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("=="):
            is_seen = line == "== seen"
            continue
        parts = [part.strip() for part in line[2:].split("|")]
        if line.startswith("R "):
            sentences[-1].facts["relation"].add(tuple(parts))
        elif line.startswith("E "):
            kind, trigger, *arguments = parts
            sentences[-1].facts["trigger"].add((kind, trigger))
            for argument in arguments:
                sentences[-1].facts["argument"].add((kind, *argument.split("=", 1)))
        else:
            sentences.append(Sentence(line.strip(), is_seen))
    return sentences


def found_in(text: str, lac: Lac) -> dict[str, set[Fact]]:
    """What the rules find in ``text``."""
    tokens = lac.tokens(text)
    masked = mask(text, tokens)
    events = events_of(text, tokens, masked)
    return {
        "relation": {(r.subject.text, r.predicate, r.object.text) for r in relations_of(masked)},
        "trigger": {(event.type, event.trigger) for event in events},
        "argument": {(event.type, one.role, one.text) for event in events for one in event.arguments},
    }


def main() -> None:
    """Print the table, and with ``--misses`` what was missed or wrongly found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--misses", choices=("seen", "held-out"), help="show what is wrong in this half")
    options = parser.parse_args()
    lac = Lac()
    counts: Counter[tuple[bool, str, str]] = Counter()
    sentences = read(SENTENCES)
    for sentence in sentences:
        found = found_in(sentence.text, lac)
        for kind, wanted in sentence.facts.items():
            for outcome, facts in (
                ("right", wanted & found[kind]),
                ("missed", wanted - found[kind]),
                ("wrong", found[kind] - wanted),
            ):
                counts[sentence.is_seen, kind, outcome] += len(facts)
                if (
                    facts
                    and outcome != "right"
                    and options.misses == ("seen" if sentence.is_seen else "held-out")
                ):
                    print(outcome, kind, *sorted(facts), "in", sentence.text)
    print(f"{lac.name}, {len(sentences)} sentences\n")
    print("| | sentences | right | wrong | missed | precision | recall |\n|---|---|---|---|---|---|---|")
    for is_seen in (True, False):
        for kind in ("relation", "trigger", "argument"):
            right, wrong, missed = (
                counts[is_seen, kind, outcome] for outcome in ("right", "wrong", "missed")
            )
            print(
                f"| {kind} | {'seen' if is_seen else 'held out'} | {right} | {wrong} | {missed}"
                f" | {right / max(1, right + wrong):.2f} | {right / max(1, right + missed):.2f} |"
            )


if __name__ == "__main__":
    main()
