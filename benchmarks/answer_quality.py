"""Quality of the embedded default's answers: news, reviews, customer service, social media, traditional script.

The files of ``benchmarks/answers`` hold sentences with what a reader finds in them. ``tune`` and ``report`` are two
halves, by a hash of the text: the rules are written on sentences of the first; the second is only reported.
``--misses`` therefore takes no half. ``--answers benchmarks/answers/second`` (60 sentences) and ``third`` (20) are
later ones, each labelled before its first run and worked on since; ``fit`` was written to work on and to fit the
sentiment to (``scripts/fit_sentiment.py``); ``fourth`` (123) and ``fifth`` (48) are only reported. ``sixth`` (40) was
written and labelled by somebody who had not seen the rules, and worked on since.

Counted are sentiment (the label), places and names (text and type, among those that the file names), relations
(subject, predicate and object), triggers (type and word) and arguments (type, role and text). A sentence without
relations and events must have none.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from service.engines.interface import EngineKind
from service.engines.registry import EngineRegistry
from service.settings import read_settings
from service.tasks.registry import TASKS
from service.tasks.task import TaskInput

ANSWERS = Path(__file__).parent / "answers"
REGISTERS = {
    "news": "news",
    "reviews": "reviews",
    "desk": "customer service",
    "social": "social",
    "traditional": "traditional script",
}
KINDS = ("sentiment", "place", "name", "relation", "trigger", "argument")
_ENTITIES = {"P": "place", "N": "name"}
_LABELS = {"+": "positive", "-": "negative", "0": "neutral"}

Fact = tuple[str, ...]


@dataclass
class Sentence:
    """A sentence and what a reader finds in it, as facts that can be compared."""

    register: str
    text: str
    facts: dict[str, set[Fact]] = field(default_factory=lambda: {kind: set() for kind in KINDS})

    @property
    def half(self) -> str:
        """Which half it belongs to, decided by its text alone."""
        return "report" if hashlib.sha256(self.text.encode()).digest()[0] % 2 else "tune"


def sentences(directory: Path = ANSWERS) -> Iterator[Sentence]:
    """All sentences of the files in ``directory``: of each a line with a label and the text, then lines with facts."""
    for register in REGISTERS:
        sentence: Sentence | None = None
        for line in (directory / f"{register}.txt").read_text(encoding="utf-8").splitlines():
            mark, _, rest = line.strip().partition(" ")
            if not line.startswith(" "):
                if sentence is not None:
                    yield sentence
                sentence = Sentence(register, rest)
                sentence.facts["sentiment"].add((_LABELS[mark],))
                continue
            assert sentence is not None, line
            if mark in _ENTITIES:
                sentence.facts[_ENTITIES[mark]].add(tuple(part.strip() for part in rest.split("=")))
                continue
            parts = tuple(part.strip() for part in rest.split("|"))
            if mark == "R":
                sentence.facts["relation"].add(parts)
                continue
            kind, trigger, *arguments = parts
            sentence.facts["trigger"].add((kind, trigger))
            sentence.facts["argument"] |= {(kind, *argument.split("=", 1)) for argument in arguments}
        if sentence is not None:
            yield sentence


def answers(sentence: Sentence, engines: EngineRegistry) -> dict[str, set[Fact]]:
    """What the service answers about it. Of the places only those that the file names are looked at."""

    def ask(task: str) -> dict[str, object]:
        return TASKS[task].answer(engines, TaskInput((sentence.text,)))

    def entities(kind: str) -> set[Fact]:
        texts = {text for text, _ in sentence.facts[kind]}
        # "福建晋江" may be two entities, each of the right type.
        return {
            (text, one["type"])
            for text in texts
            for one in ask("ner")["entities"]  # type: ignore[attr-defined]
            if one["text"] == text or (text.endswith(one["text"]) and one["type"] in ("GPE", "LOC"))
        }

    events = ask("event")["events"]
    return {
        "sentiment": {(str(ask("sentiment")["label"]),)},
        "place": entities("place"),
        "name": entities("name"),
        "relation": {
            (one["subject"]["text"], one["predicate"], one["object"]["text"])
            for one in ask("relation")["relations"]  # type: ignore[attr-defined]
        },
        "trigger": {(one["type"], one["trigger"]["text"]) for one in events},  # type: ignore[attr-defined]
        "argument": {
            (event["type"], one["role"], one["text"])
            for event in events  # type: ignore[attr-defined]
            for one in event["arguments"]
        },
    }


def agreement(engines: EngineRegistry) -> tuple[int, int]:
    """How often ``similarity`` puts another wording of a sentence above its contradiction, and of how many."""
    closer = count = 0
    for line in (ANSWERS / "agreement.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        text, *others = (part.strip() for part in line.split("|"))
        same, opposite = TASKS["similarity"].answer(engines, TaskInput((text,), {"candidates": others}))[
            "scores"
        ]
        closer += same > opposite
        count += 1
    return closer, count


def main() -> None:
    """Print the table, and with ``--misses`` what is wrong in the half to tune on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--misses", action="store_true", help="show what is wrong in the half to tune on")
    parser.add_argument("--answers", type=Path, default=ANSWERS, help="directory of other sentences")
    options = parser.parse_args()
    from service.engines.registry import engines_of

    engines = engines_of(replace(read_settings({"GTE_ENGINE": "embedded"}), load_wait=60.0))
    engines.start()
    counts: Counter[tuple[str, str, str, str]] = Counter()
    halves = ("tune", "report") if options.answers == ANSWERS else ("whole",)
    for sentence in sentences(options.answers):
        half = sentence.half if len(halves) > 1 else "whole"
        found = answers(sentence, engines)
        for kind, wanted in sentence.facts.items():
            for outcome, facts in (
                ("right", wanted & found[kind]),
                ("missed", wanted - found[kind]),
                ("wrong", found[kind] - wanted),
            ):
                for register in (sentence.register, "all"):
                    counts[half, register, kind, outcome] += len(facts)
                if facts and outcome != "right" and options.misses and half != "report":
                    print(outcome, kind, *sorted(facts), "in", sentence.text)
    engines.lexical()
    print(f"{engines.names()[EngineKind.LEXICAL]}, {engines.names()[EngineKind.ENCODER]}\n")
    print("| half | register | kind | right | wrong | missed | precision | recall |")
    print("|---|---|---|---|---|---|---|---|")
    for half in halves:
        for register in (*REGISTERS, "all"):
            for kind in KINDS:
                right, wrong, missed = (
                    counts[half, register, kind, outcome] for outcome in ("right", "wrong", "missed")
                )
                if right + missed:
                    print(
                        f"| {half} | {REGISTERS.get(register, register)} | {kind} | {right} | {wrong} | {missed}"
                        f" | {right / max(1, right + wrong):.2f} | {right / (right + missed):.2f} |"
                    )
    if len(halves) > 1:
        closer, count = agreement(engines)
        print(f"\nsimilarity: another wording above the contradiction in {closer} of {count}")


if __name__ == "__main__":
    main()
