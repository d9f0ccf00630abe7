"""What `gte-ops doctor` and what a user would pick instead learn of the lab's faults: causes named, time taken.

    python -m benchmarks.doctor_comparison [--first] [--every N] [--only NAME] [--keep DIR] [--write docs]

Root, and Debian's monitoring-plugins-basic, are needed. The peers are installed into build/peers. Each fault is brought
about on a real stack at ports 443, 80 and 53; then every tool runs on the same broken stack, one after the other, as a
whole process. It sees a host set up in the usual way: in a mount namespace of its own the stack's nginx directory is
/etc/nginx, its error log is in /var/log/nginx, its name server is the system's, and its root certificate is trusted.

How each is judged stands in docs/comparison.md. The words are those of benchmarks/doctor_comparison.toml; for a cause
that has none there they follow from its title in the catalogue.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from ops.diagnosis.catalogue import catalogue
from ops.text.language import Language
from tests.lab.faults import CASES
from tests.lab.faults.case import Case, NotHereError
from tests.lab.stack import PREDICTION, REPOSITORY, Stack
from tests.lab.trial import broken

PEERS_DIRECTORY = REPOSITORY / "build" / "peers"
PEERS = ("deploydoctor==0.1.2", "nginx-lens==1.1.0", "gixy-next==0.9.0")
CHECK_HTTP = "/usr/lib/nagios/plugins/check_http"
PORTS = {"https": 443, "http": 80, "dns": 53, "backend": 8000}
LIMIT_S = 60.0
WORDS = tomllib.loads((Path(__file__).with_suffix(".toml")).read_text(encoding="utf-8"))


@cache
def words(code: str) -> str:
    """The pattern of a line from which a reader learns the cause ``code``: what was written down for it, else any
    setting that its title names, else the title's two longest words in either order."""
    if code in WORDS:
        return str(WORDS[code])
    title = catalogue().entry(code).title.en
    if settings := re.findall(r"\w+_\w+", title):
        return "|".join(settings)
    first, second = sorted(sorted(set(re.findall(r"[a-z]{3,}", title.lower()))), key=len)[-2:]
    return f"{first}.*{second}|{second}.*{first}"


# The host as a tool meets it; what it was about to run comes after.
_HOST = """
mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/nginx && mount -t tmpfs none /var/log/nginx &&
touch /var/log/nginx/error.log && mount --bind "$3" /var/log/nginx/error.log || exit 125
shift 3
exec "$@"
"""


@dataclass(frozen=True)
class Said:
    """What a tool said: its lines, its exit codes, how long it took in seconds."""

    lines: tuple[str, ...]
    exit_codes: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Peer:
    """A tool to compare with: its name, its command lines for a stack, and which of its lines are findings.

    Without ``finding`` it has noticed what its exit code is not 0 for."""

    name: str
    commands: Callable[[Stack], Sequence[Sequence[str]]]
    finding: str = ""

    def run(self, stack: Stack) -> Said:
        """Run it on ``stack`` as it is."""
        started = time.perf_counter()
        lines: list[str] = []
        codes = []
        for command in self.commands(stack):
            code, output = _run_on_host(stack, command)
            codes.append(code)
            lines += output.splitlines()
        return Said(tuple(lines), tuple(codes), time.perf_counter() - started)

    def verdict(self, said: Said, healthy: Said, code: str) -> str:
        """named, noticed or silent."""
        usual = {_settled(line) for line in healthy.lines}
        new = [line for line in said.lines if _settled(line) not in usual]
        if any(re.search(words(code), line, re.IGNORECASE) for line in new):
            return "named"
        found = [line for line in new if re.search(self.finding, line)] if self.finding else said.exit_codes
        noticed = any(found)
        return "noticed" if noticed else "silent"


def _check_http(stack: Stack) -> Sequence[Sequence[str]]:
    import json

    door = (CHECK_HTTP, "-H", stack.domain, "-S", "--sni")
    body = json.dumps(PREDICTION, ensure_ascii=False)
    post = ("-u", "/predict", "-P", body, "-T", "application/json", "-s", '"result"', "-w", "3", "-c", "8")
    return (*door, *post), (*door, "-C", "30,14")


def _program(name: str) -> str:
    return str(PEERS_DIRECTORY / "bin" / name)


DEPLOYDOCTOR = Peer(
    "deploydoctor", lambda stack: [(_program("deploydoctor"), "check", stack.domain)], r"\b(FAIL|WARN)\b"
)
NGINX_LENS = Peer(
    "nginx-lens",
    lambda stack: [(_program("nginx-lens"), "validate", str(stack.nginx_conf), "--nginx-path", "/usr/sbin/nginx")],
    r"✗|⚠|\b(HIGH|MEDIUM|LOW)\b",
)  # fmt: skip
GIXY = Peer(
    "gixy-next",
    lambda stack: [(_program("gixy-next"), str(stack.nginx_conf))],
    r"^>> Problem|^Severity|^Reason|ERROR|CRITICAL",
)
ALL = (DEPLOYDOCTOR, NGINX_LENS, GIXY, Peer("check_http", _check_http))


def _run_on_host(stack: Stack, command: Sequence[str]) -> tuple[int, str]:
    resolv = stack.directory / "resolv.conf"
    resolv.write_text(f"nameserver {stack.address}\noptions timeout:2 attempts:1\n")
    log = stack.nginx_error_log if stack.nginx_error_log.exists() else Path("/dev/null")
    environment = stack.environment() | {
        "SSL_CERT_FILE": str(stack.ca_file),
        "COLUMNS": "500",
        "NO_COLOR": "1",
        "PYTHONPATH": "",
    }
    host = ["unshare", "-m", "sh", "-c", _HOST, "sh", str(resolv), str(stack.nginx_dir), str(log)]
    try:
        ran = subprocess.run(
            [*host, *command], env=environment, cwd=stack.directory, stdin=subprocess.DEVNULL, timeout=LIMIT_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        return 124, (late.stdout or b"").decode(errors="replace")
    if ran.returncode == 125:
        sys.exit(f"the mount namespace: {ran.stdout.decode(errors='replace')}")
    return ran.returncode, ran.stdout.decode(errors="replace")


def _settled(line: str) -> str:
    """A line without what differs from run to run: numbers, temporary names, boxes."""
    line = re.sub(r"gte-lab-\w+", "LAB", line)
    return re.sub(r"[\s│─╭╮╰╯]+", " ", re.sub(r"\d+", "#", line)).strip()


@dataclass(frozen=True)
class Row:
    """One fault: what each tool made of it and how long it took; ``why`` it was not tried."""

    case: Case
    verdicts: dict[str, str]
    seconds: dict[str, float]
    why: str = ""


@cache
def healthy(layout: str) -> dict[str, Said]:
    """What the peers say of a healthy stack of this layout."""
    with Stack(layout=layout, ports=PORTS) as stack:  # type: ignore[arg-type]
        stack.predict()
        return {peer.name: peer.run(stack) for peer in ALL}


def compare(case: Case, keep: Path | None) -> Row:
    """Bring ``case`` about, and ask every tool."""
    if why := case.impossible():
        return Row(case, {}, {}, why)
    usual = healthy(case.stack.get("layout", "deploy"))
    verdicts, seconds = {}, {}
    try:
        with broken(case, ports=PORTS) as stack:
            ran = stack.doctor(machine=case.code == "HST005")
            verdicts["gte-ops doctor"] = (
                "named" if ran.first == case.first and case.code in ran.codes
                else "noticed" if ran.exit_code else "silent"
            )  # fmt: skip
            seconds["gte-ops doctor"] = ran.seconds
            for peer in ALL:
                said = peer.run(stack)
                verdicts[peer.name] = peer.verdict(said, usual[peer.name], case.code)
                seconds[peer.name] = said.seconds
                if keep:
                    (keep / f"{case.code}-{case.name}-{peer.name}.txt").write_text(
                        f"{said.exit_codes} {verdicts[peer.name]}\n" + "\n".join(said.lines), encoding="utf-8"
                    )
    except NotHereError as reason:
        return Row(case, {}, {}, str(reason))
    except (AssertionError, OSError) as error:
        return Row(case, {}, {}, f"not caused: {type(error).__name__}: {error}"[:160])
    return Row(case, verdicts, seconds)


HEADINGS: dict[str, tuple[str, str]] = {
    "tool": ("tool", "工具"),
    "tried": ("faults tried", "试过的故障"),
    "named": ("cause named", "指出原因"),
    "noticed": ("noticed only", "仅察觉"),
    "silent": ("silent", "未察觉"),
    "median": ("median s", "中位数（秒）"),
    "slowest": ("slowest s", "最慢（秒）"),
    "cause": ("cause", "原因"),
    "fault": ("fault of the lab", "实验环境中的故障"),
    "untried": ("Not tried, because this machine does not let it be caused:", "本机无法造成，因此未试："),
}
VERDICTS = {"named": ("**named**", "**指出**"), "noticed": ("noticed", "察觉"), "silent": ("–", "–")}


def tables(rows: Sequence[Row], language: Language, versions: dict[str, str]) -> str:
    """The document: what each tool came to, then every fault."""
    which = int(language == "zh")

    def told(name: str) -> str:
        return HEADINGS[name][which]

    ran = [row for row in rows if not row.why]
    tools = ["gte-ops doctor", *(peer.name for peer in ALL)]
    headings = ("tool", "tried", "named", "noticed", "silent", "median", "slowest")
    lines = [f"| {' | '.join(map(told, headings))} |", "|---" * len(headings) + "|"]
    for tool in tools:
        counts = Counter(row.verdicts[tool] for row in ran)
        took = [row.seconds[tool] for row in ran]
        shares = [
            f"{counts[name]} ({counts[name] / len(ran):.0%})" for name in ("named", "noticed", "silent")
        ]
        lines.append(
            f"| {tool} {versions[tool]} | {len(ran)} | {' | '.join(shares)}"
            f" | {statistics.median(took):.2f} | {max(took):.2f} |"
        )
    lines += [
        "",
        f"| {told('cause')} | {told('fault')} | {' | '.join(tools)} |",
        "|---" * (len(tools) + 2) + "|",
    ]
    for row in ran:
        title = catalogue().entry(row.case.code).title.to(language)
        cells = [f"{VERDICTS[row.verdicts[tool]][which]} {row.seconds[tool]:.1f}" for tool in tools]
        lines.append(f"| {row.case.code} {title} | {row.case.name.replace('_', ' ')} | {' | '.join(cells)} |")
    untried = [row for row in rows if row.why]
    if untried:
        lines += ["", told("untried"), ""]
        lines += [f"- {row.case.code} {row.case.name}: {row.why.splitlines()[0]}" for row in untried]
    return "\n".join(lines)


def install() -> dict[str, str]:
    """Install the peers, and return every tool's version."""
    import venv
    from importlib.metadata import version

    if os.geteuid() != 0:
        sys.exit(
            "run it as root: the tools are shown a host of their own (mount namespace, ports 443, 80, 53)"
        )
    if not Path(CHECK_HTTP).exists():
        sys.exit("check_http is missing: apt-get install monitoring-plugins-basic")
    python = PEERS_DIRECTORY / "bin" / "python"
    if not python.exists():
        venv.create(PEERS_DIRECTORY, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
    told = subprocess.run([CHECK_HTTP, "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "gte-ops doctor": version("gte-ops"),
        **dict(peer.split("==") for peer in PEERS),
        "check_http": told.split()[1].lstrip("v"),
    }


def main() -> None:
    """Compare, and print the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", action="store_true", help="the first fault of each cause alone")
    parser.add_argument("--every", type=int, default=1, help="of these every Nth alone, for a sample")
    parser.add_argument("--only", default="", help="faults whose code or name holds this")
    parser.add_argument("--keep", type=Path, help="keep what the peers said in this directory")
    parser.add_argument("--write", type=Path, help="put the tables into comparison.md and .zh-CN.md there")
    options = parser.parse_args()
    versions = install()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    first: dict[str, Case] = {case.code: case for case in reversed(CASES)}
    chosen = [
        case for case in CASES
        if options.only in f"{case.code}-{case.name}" and (not options.first or first[case.code] is case)
    ][:: options.every]  # fmt: skip
    rows: list[Row] = []
    for case in chosen:
        rows.append(compare(case, options.keep))
        print(f"{case.code} {case.name}: {rows[-1].verdicts or rows[-1].why}", file=sys.stderr, flush=True)
    cores, load = os.cpu_count(), os.getloadavg()[0]
    python, today = sys.version.split()[0], f"{datetime.now(UTC):%Y-%m-%d}"
    share = f"{len(chosen)}/{len(CASES)}"
    made = {
        "en": f"{share} of the lab's faults, Python {python}, {today}, {cores} cores, load {load:.1f} at the end.",
        "zh": f"实验环境故障的 {share}，Python {python}，{today}，{cores} 核，结束时负载 {load:.1f}。",
    }
    documents: dict[Any, str] = {
        language: f"{made[language]}\n\n{tables(rows, language, versions)}\n" for language in ("en", "zh")
    }
    print(documents["en"])
    for language, name in (("en", "comparison.md"), ("zh", "comparison.zh-CN.md")):
        if options.write:
            begin, end = "<!-- measured -->\n", "<!-- /measured -->"
            file = options.write / name
            words = file.read_text(encoding="utf-8")
            head, tail = words.partition(begin)[0], words.partition(end)[2]
            file.write_text(f"{head}{begin}{documents[language]}{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
