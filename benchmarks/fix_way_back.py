"""How many faults `doctor --fix=risky --yes` mends: every single fault of the lab, with a baseline and a backup made
while it was healthy.

    python -m benchmarks.fix_way_back [--only NAME] [--minutes 40] [--results FILE] [--write docs/accuracy.md]

Each trial brings up a real nginx and gunicorn, keeps a baseline and a backup, causes the fault, runs the repair, and
asks a client (`tests/lab/way_back.py`). With ``--minutes`` no trial is begun after that long; one fault of each cause
comes before the second of any. ``--results`` keeps what was tried, a line each, and a second run goes on from there.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.fix_lines import by_turns
from tests.lab.faults import CASES
from tests.lab.faults.case import Case, NotHereError
from tests.lab.way_back import try_way_back

# What no program on the host can mend, by the names of the faults.
_PROVIDER = "the record is at the DNS provider"
_AUTHORITY = "it takes a new certificate, and no authority is to be had in the lab"
_REQUESTS = "it is what clients send, or how many they are; nothing on the host is wrong"
_STAND_IN = "the fault is the lab's own stand-in: another program, a control group, a file system of its own"
_MODEL = "the model's files are large, and no copy is on the host"
_NO_CRON = "no cron runs in the lab"
_PASSED = "it has passed: the service runs again, and the log's lines remain"
_URL = "it is the URL that users were given"
NOT_BY_A_HOST: dict[str, str] = {
    "name_does_not_exist": _PROVIDER,
    "resolver_is_silent": _PROVIDER,
    "name_leads_elsewhere": _PROVIDER,
    "name_leads_elsewhere_and_nothing_is_expected": _PROVIDER,
    "name_has_an_ipv6_address_and_nginx_no_listen_for_it": _PROVIDER,
    "users_are_sent_to_an_address": _URL,
    "connections_are_dropped": _STAND_IN,
    "another_server_holds_the_front_address": _STAND_IN,
    "another_server_speaks_plain_http_at_the_front_address": _STAND_IN,
    "nginx_was_reloaded_away_from_a_port_that_another_took": _STAND_IN,
    "another_program_holds_the_port": _STAND_IN,
    "another_user_s_process_calls_itself_nginx": _STAND_IN,
    "nginx_is_not_installed": _STAND_IN,
    "url_is_longer_than_nginx_reads": _REQUESTS,
    "cookie_is_longer_than_nginx_reads": _REQUESTS,
    "file_system_for_bodies_is_full": _STAND_IN,
    "nginx_is_short_of_connections_beside_a_full_file_system": _STAND_IN,
    "file_system_has_few_inodes_left": _STAND_IN,
    "service_is_near_its_memory_limit": _STAND_IN,
    "quota_stops_the_service": _STAND_IN,
    "cron_has_not_run_the_watchdog_for_hours": _NO_CRON,
    "model_is_missing": _MODEL,
    "model_is_missing_while_another_engine_serves": _MODEL,
    "weights_are_truncated": _MODEL,
    "weights_are_a_pointer": _MODEL,
    "a_shard_is_missing": _MODEL,
    "model_does_not_load": _MODEL,
    "kernel_kills_a_worker_for_its_memory": _PASSED,
    "kernel_kills_a_worker_with_a_request_in_hand": _PASSED,
    "worker_is_killed_by_hand": _PASSED,
    "worker_is_killed_with_a_request_in_hand": _PASSED,
    "worker_crashes": _PASSED,
    "a_worker_of_nginx_crashes": _PASSED,
}


@dataclass(frozen=True)
class Result:
    """One fault and what became of it. ``kind``: mended, not mended, worse, or not tried; ``why``: for a person."""

    code: str
    name: str
    kind: str
    why: str = ""


def trial(case: Case) -> Result:
    """The trial of one fault."""
    if reason := case.impossible():
        return Result(case.code, case.name, "not tried", reason)
    try:
        done = try_way_back(case)
    except NotHereError as reason:
        return Result(case.code, case.name, "not tried", str(reason))
    except Exception as error:  # noqa: BLE001  one stack that does not come up must not end the run
        return Result(case.code, case.name, "not tried", f"{type(error).__name__}: {error}"[:300])
    if done.kind == "passed":
        return Result(case.code, case.name, "not tried", "it has gone without a repair")
    why = "; ".join(f"{code} {outcome}: {words}" for code, outcome, words in done.results)
    return Result(case.code, case.name, done.kind, why[:400])


def table(results: Sequence[Result]) -> str:
    """The counts, the share of those that a host can mend, and by name what was not mended."""
    tried = [item for item in results if item.kind != "not tried"]
    by_host = [item for item in tried if item.name not in NOT_BY_A_HOST]
    others = [item for item in tried if item.name in NOT_BY_A_HOST]
    kinds = Counter(item.kind for item in by_host)
    whole = len(by_host)
    share = f"{100 * kinds['mended'] / whole:.0f}%" if whole else "-"
    rows = [
        "| faults that a host can mend | mended | not mended | made worse |",
        "|---|---|---|---|",
        f"| {whole} | {kinds['mended']} ({share}) | {kinds['not mended']} | {kinds['worse']} |",
        "",
        f"Not mendable by a host, by name below: {len(others)}, of which"
        f" {sum(item.kind == 'mended' for item in others)} were mended all the same and"
        f" {sum(item.kind == 'worse' for item in others)} made worse. Not tried here:"
        f" {len(results) - len(tried)}.",
    ]
    for kind in ("worse", "not mended"):
        rows += ["", f"{kind.capitalize()}:", ""]
        chosen = [item for item in by_host if item.kind == kind]
        rows += [f"- {item.code} `{item.name}`: {_short(item.why)}" for item in chosen] or ["- none"]
    rows += ["", "Not mendable by a host:", ""]
    reasons: dict[str, list[str]] = {}
    for item in others:
        reasons.setdefault(NOT_BY_A_HOST[item.name], []).append(f"{item.code} `{item.name}`")
    rows += [f"- {why}: {', '.join(names)}" for why, names in reasons.items()]
    return "\n".join(rows)


def _short(why: str) -> str:
    """What became of it, without the lab's directories."""
    words = why.split("; ")[0].replace("|", "\\|")
    return " ".join(part for part in words.split() if "/gte-lab-" not in part)[:200] or "no remedy"


def main() -> None:
    """Try all faults and print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--write", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    cases = by_turns([case for case in CASES if arguments.only in f"{case.code} {case.name}"])
    give_up = time.monotonic() + 60 * arguments.minutes
    known = _kept(arguments.results)
    for case in cases:
        if case.name in known or time.monotonic() > give_up:
            continue
        result = known[case.name] = trial(case)
        print(f"{result.kind:10} {result.code} {result.name} {result.why}", file=sys.stderr, flush=True)
        if arguments.results is not None:
            with arguments.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
    late = "no time was left"
    results = [known.get(case.name, Result(case.code, case.name, "not tried", late)) for case in cases]
    version = importlib.metadata.version("gte-ops")
    head = (
        f"gte-ops {version}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}:"
        f" {sum(item.kind != 'not tried' for item in results)} of the {len(results)} single faults of the lab.\n\n"
    )
    text = head + table(results) + "\n"
    for path in arguments.write:
        page = path.read_text(encoding="utf-8")
        begin, end = "<!-- way back -->\n", "<!-- /way back -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        path.write_text(before + begin + text + end + after, encoding="utf-8")
    print(text)


def _kept(path: Path | None) -> dict[str, Result]:
    """The results of earlier runs by the fault's name; a later one of the same fault counts."""
    if path is None or not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {result.name: result for result in (Result(**json.loads(line)) for line in lines)}


if __name__ == "__main__":
    main()
