"""The doctor looks, and the host is as it was before: owners, permissions, times and contents of its whole tree."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from tests.lab.faults import CASES
from tests.lab.faults.case import Case, NotHereError
from tests.lab.stack import Stack
from tests.lab.trial import broken

# Every so many cases one runs in CI; all of them with scripts/test --long.
EVERY = 32
# Bytes. A model of many gigabytes, sparse in the lab, is compared by its size and time alone.
LARGEST = 64 << 20
# Logs grow while the servers are asked, root-only through a log that is a link to it: whose they are may not change.
LOGS = ("log/", "root-only", "run/old/error.log")
# What the servers make and remove themselves.
WRITTEN_BY_SERVERS = ("run/progress/", "run/metrics/", "dns", "build/__pycache__")

Facts = dict[str, tuple[object, ...]]


def tree(stack: Stack) -> Facts:
    """Everything in the stack's directory: kind, permissions, owner, and of what no server writes time and content."""
    found: Facts = {}
    for path in sorted(stack.directory.rglob("*")):
        name = str(path.relative_to(stack.directory))
        try:
            facts = path.lstat()
        except FileNotFoundError:  # a server's own, gone meanwhile
            continue
        kept: tuple[object, ...] = (stat.filemode(facts.st_mode), facts.st_uid, facts.st_gid)
        if not name.startswith(LOGS + WRITTEN_BY_SERVERS):
            kept += (content(path, facts),)
            if not any(place.startswith(f"{name}/") for place in LOGS + WRITTEN_BY_SERVERS):
                kept += (facts.st_mtime_ns,)
        found[name] = kept
    return {name: kept for name, kept in found.items() if not name.startswith(WRITTEN_BY_SERVERS)}


def content(path: Path, facts: os.stat_result) -> str:
    if stat.S_ISLNK(facts.st_mode):
        return os.readlink(path)  # noqa: PTH115
    if not stat.S_ISREG(facts.st_mode):
        return ""
    if facts.st_size > LARGEST:
        return str(facts.st_size)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def changes(before: Facts, after: Facts) -> dict[str, object]:
    """What differs, by its path."""
    return {
        name: (before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }


def _each(number: int, case: Case) -> object:
    marks = () if number % EVERY == 0 else (pytest.mark.long,)
    return pytest.param(case, id=f"{case.code}-{case.name}", marks=marks)


@pytest.mark.parametrize("case", [_each(number, case) for number, case in enumerate(CASES)])
def test_a_broken_host_is_left_as_it_was(case: Case) -> None:
    if reason := case.impossible():
        pytest.skip(reason)
    try:
        with broken(case) as stack:
            before = tree(stack)
            stack.doctor()
            assert changes(before, tree(stack)) == {}
    except NotHereError as reason:
        pytest.skip(str(reason))


def test_a_healthy_host_is_left_as_it_was() -> None:
    with Stack() as stack:
        before = tree(stack)
        assert stack.doctor().exit_code == 0
        assert changes(before, tree(stack)) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's nginx -t changes owners")
def test_the_fault_that_is_looked_at_is_not_mended_by_looking() -> None:
    """nginx -t as root gives its temporary directories to its user, and so hid why large requests failed."""
    with Stack() as stack:
        body = stack.nginx_dir / "tmp" / "client_body"
        os.chown(body, 0, 0)
        body.chmod(0o500)
        before = tree(stack)
        stack.doctor()
        assert changes(before, tree(stack)) == {}
        assert stat.S_IMODE(body.stat().st_mode) == 0o500


def test_what_nginx_refuses_is_not_written_into_its_log() -> None:
    with Stack() as stack:
        stack.edit(stack.site_file, "proxy_read_timeout", "proxy_read_timeouts", apply=False)
        before = stack.nginx_main_error_log.read_bytes()
        assert stack.doctor().first == "NGX003"
        assert stack.nginx_main_error_log.read_bytes() == before
