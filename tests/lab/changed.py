"""A stack with a baseline, five innocent changes, and a fault: what the doctor says of the changes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.faults.case import Case
from tests.lab.stack import Report, Stack
from tests.lab.waiting import wait_for

# The fault, and what its change is called; a part of a path in the stack's directory.
GUILTY = {
    "proxy_pass_names_the_wrong_port": "nginx/conf.d/gte-api.conf",
    "gunicorn_was_moved_to_another_port": "build/gunicorn.conf.py",
    "configuration_has_a_typing_error": "nginx/conf.d/gte-api.conf",
    "nginx_listens_on_another_port": "nginx/conf.d/gte-api.conf",
    "intermediate_is_not_sent": "nginx/conf.d/gte-api.conf",
    "tls_1_0_is_accepted": "nginx/conf.d/gte-api.conf",
    "certificate_expired": "fullchain.pem",
    "certificate_is_for_another_name": "fullchain.pem",
    "intermediate_is_indented": "fullchain.pem",
    "links_stayed_at_the_old_version": "fullchain.pem",
    "key_was_exchanged_under_a_running_nginx": "privkey.pem",
    "key_is_readable_by_everybody": "privkey.pem",
    "nothing_is_scheduled": "cron.d/certbot",
    "name_leads_elsewhere": "gte.lab.example",
    "application_does_not_import": "build/broken.py",
    "a_module_changed_since": "build/other.py",
}


@dataclass(frozen=True)
class ChangeReport:
    """What the doctor said: its report, what it lists as changed, and which of that belongs to which cause."""

    ran: Report
    innocent: frozenset[str]

    @property
    def items(self) -> list[dict[str, Any]]:
        """Every change."""
        return list((self.ran.report["changes"] or {}).get("items", []))

    @property
    def guilty(self) -> set[str]:
        """What the fault itself changed."""
        return {item["what"] for item in self.items} - self.innocent

    def fitting(self, code: str) -> set[str]:
        """What belongs to the proof of ``code``."""
        return {item["what"] for item in self.items if code in item["fits"]}

    @property
    def blamed(self) -> set[str]:
        """What belongs to the proof of any cause."""
        return {item["what"] for item in self.items if item["fits"]}

    def evidence(self, code: str) -> str:
        """The proof of ``code``, in lines."""
        cause = next(cause for cause in self.ran.report["causes"] if cause["code"] == code)
        return "\n".join(f"{piece['source']}: {piece['detail']}" for piece in cause["evidence"])


def keep_baseline(stack: Stack) -> None:
    """`gte-ops baseline accept` on the healthy stack."""
    ran = stack.gte_ops("baseline", "accept", "--force", "--config", str(stack.config_file))
    assert ran.exit_code == 0, f"{ran.stdout}{ran.stderr}"


def loaded_innocents(stack: Stack) -> list[Path]:
    """Changes that mean nothing to any fault, in files that nginx and gunicorn load."""
    other = stack.nginx_dir / "conf.d" / "zz-other.conf"
    other.write_text(
        "server {\n"
        f"    listen {stack.address}:{stack.free_port()};\n"
        "    server_name other.example;\n"
        "    return 204;\n"
        "}\n"
    )
    script = stack.app_dir / "tools" / "report.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text("print('weekly report')\n")
    stack.reload_nginx()
    return [other, script]


def later_innocents(stack: Stack) -> list[Path]:
    """The same in files that are read when they are used, made after the fault."""
    rotation, cron = stack.logrotate / "gte-api", stack.cron / "gte-ops"
    rotation.write_text(rotation.read_text().replace("rotate 14", "rotate 30"))
    cron.write_text(cron.read_text().replace("* * * * *", "*/2 * * * *"))
    stack.config_file.write_text(stack.config_file.read_text() + '\n[doctor]\nsince = "20m"\n')
    return [rotation, cron, stack.config_file]


@contextlib.contextmanager
def changed(case: Case) -> Iterator[tuple[Stack, frozenset[str]]]:
    """A stack with a baseline, then the fault among five innocent changes; the paths of these. Raises NotHereError."""
    with Stack(**case.stack) as stack:
        keep_baseline(stack)
        innocent = loaded_innocents(stack)
        case.inject(stack)
        wait_for(lambda: case.sees(stack), f"a client to meet {case.name}", within=15, every=0.05)
        innocent += later_innocents(stack)
        yield stack, frozenset(map(str, innocent))


def told_of(case: Case) -> ChangeReport:
    """What the doctor says of the changes around ``case``."""
    with changed(case) as (stack, innocent):
        return ChangeReport(stack.doctor(), innocent)


def touch(path: Path) -> None:
    """Another time, the same content."""
    os.utime(path, (time.time(), time.time()))
