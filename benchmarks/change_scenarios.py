"""Whether the doctor names the guilty change among five innocent ones: every scenario of change, and the faults of the
lab with the same innocent changes.

    python -m benchmarks.change_scenarios [--only NAME] [--results FILE] [--write docs/accuracy.md]

Each brings up a real nginx and gunicorn, keeps a baseline, and makes the changes (`tests/lab/change_scenarios.py`,
`tests/lab/changed.py`). ``--results`` keeps what was tried, a line each, and a second run goes on from there. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.lab.change_scenarios import ScenarioResult, run_scenario
from tests.lab.changed import GUILTY, told_of
from tests.lab.faults import CASES
from tests.lab.faults.case import Case
from tests.lab.further_scenarios import SCENARIOS

BEGIN, END = "<!-- changes -->\n", "<!-- /changes -->"
Trial = Callable[[], ScenarioResult]


def try_fault(case: Case) -> ScenarioResult:
    """A fault of the lab among the innocent changes."""
    report = told_of(case)
    guilty = GUILTY[case.name]
    is_named = any(guilty in what for what in report.fitting(case.code))
    is_in_proof = case.code in report.ran.codes and guilty in report.evidence(case.code)
    missing = () if is_named and is_in_proof else (guilty,)
    wrong = tuple(sorted(report.blamed & report.innocent))
    return ScenarioResult(case.name, case.code, missing, wrong, tuple(report.ran.codes))


def trials() -> Mapping[str, Trial]:
    """Every trial by its name."""
    faults = {case.name: partial(try_fault, case) for case in CASES if case.name in GUILTY}
    return {f"fault {name}": trial for name, trial in faults.items()} | {
        f"scenario {chosen.name}": partial(run_scenario, chosen) for chosen in SCENARIOS
    }


def table(results: Sequence[ScenarioResult]) -> str:
    """The counts, and by name what was not right."""
    right = sum(result.is_right for result in results)
    named = sum(result.code in result.codes and not result.missing for result in results)
    blamed = sum(bool(result.wrong) for result in results)
    rows = [
        "| scenarios | right | cause and guilty change named | an innocent change blamed |",
        "|---|---|---|---|",
        f"| {len(results)} | {right} ({100 * right / max(1, len(results)):.0f}%) | {named} | {blamed} |",
        "",
        "Not right:",
        "",
    ]
    wrong = [result for result in results if not result.is_right]
    rows += [
        f"- {result.code} `{result.name}`: named {', '.join(result.codes) or 'nothing'};"
        f" missing {', '.join(result.missing) or 'nothing'};"
        f" blamed {', '.join(Path(path).name for path in result.wrong) or 'nothing'}"
        for result in wrong
    ] or ["- none"]
    return "\n".join(rows)


def main() -> None:
    """Try all and print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--write", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    known = _kept(arguments.results)
    results, unmet = [], []
    for name, trial in trials().items():
        if arguments.only not in name:
            continue
        try:
            result = known.get(name) or trial()
        except AssertionError as error:  # the stack did not come up, or nothing was met in time
            print("not run", name, error, file=sys.stderr, flush=True)
            unmet.append(name.partition(" ")[2])
            continue
        results.append(result)
        if name not in known:
            print("right" if result.is_right else "WRONG", name, result, file=sys.stderr, flush=True)
            if arguments.results is not None:
                with arguments.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": name, **asdict(result)}) + "\n")
    version = importlib.metadata.version("gte-ops")
    text = (
        f"gte-ops {version}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}.\n\n"
        f"{table(results)}\n"
        + (f"\nNot run, the stack did not come up: {', '.join(unmet)}\n" if unmet else "")
    )
    for path in arguments.write:
        page = path.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        path.write_text(before + BEGIN + text + END + after, encoding="utf-8")
    print(text)


def _kept(path: Path | None) -> dict[str, ScenarioResult]:
    """The results of an earlier run by the trial's name."""
    if path is None or not path.exists():
        return {}
    kept = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        name = fields.pop("key")
        lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
        kept[name] = ScenarioResult(**(fields | lists))
    return kept


if __name__ == "__main__":
    main()
