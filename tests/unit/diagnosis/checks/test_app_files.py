"""A file that the application may not use: the step that is closed, what opens it, and when that is no more so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.files import AccessStep, Reader
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import RefusedFile
from ops.text.language import Text
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app import RAISED
from tests.unit.diagnosis.checks.test_app_traffic import SERVED, logged
from tests.unit.made_snapshot import (
    AT_BACKEND,
    GUNICORN_ACCESS_LOG,
    GUNICORN_ERROR_LOG,
    GUNICORN_WORKERS,
    NGINX_ACCESS_LOG,
    NOW,
    PREDICT,
    answered,
    but,
    entry,
    gunicorn_log,
    page,
)

UPLOAD = "PermissionError: [Errno 13] Permission denied: '/srv/media/a b.pdf'"
DATABASE = "sqlite3.OperationalError: attempt to write a readonly database"
READ_ONLY = "OSError: [Errno 30] Read-only file system: '/srv/media/a.pdf'"
MISSING = "FileNotFoundError: [Errno 2] No such file or directory: '/srv/media/2026/a.pdf'"
THIEF = "PermissionError: [Errno 13] Permission denied: '/etc/shadow'"
SHOP = Reader(pid=GUNICORN_WORKERS[0], user="shop", uid=1000, gids=(1000,))


def directory(path: str, uid: int = 0, mode: int = 0o755, changed: float = 0.0) -> AccessStep:
    return AccessStep(path=path, is_directory=True, uid=uid, gid=uid, mode=mode, changed=changed)


def file(path: str, uid: int = 0, mode: int = 0o644, changed: float = 0.0) -> AccessStep:
    return AccessStep(path=path, is_directory=False, uid=uid, gid=uid, mode=mode, changed=changed)


def refused(exception: str, path: str, *steps: AccessStep, error: int = 13, **changes: Any) -> RefusedFile:
    made = RefusedFile(
        path=path,
        error=error,
        entry=exception,
        log=GUNICORN_ERROR_LOG,
        count=3,
        last=NOW - 60,
        steps=(directory("/"), directory("/srv"), *steps),
        reader=SHOP,
    )
    return msgspec.structs.replace(made, **changes)


def host(*files: RefusedFile, exception: str | None = None, **changes: Any) -> Snapshot:
    raised = RAISED.replace("RuntimeError: 张量尺寸不符", exception or files[0].entry)
    return but(
        logs__gunicorn_access=logged(
            GUNICORN_ACCESS_LOG, answered("500", 3, newest=("POST /predict 500",)), SERVED
        ),
        logs__gunicorn_error=gunicorn_log(entry(raised)),
        logs__service_files=files,
        **changes,
    )


CLOSED = refused(UPLOAD, "/srv/media/a b.pdf", directory("/srv/media"), missing="/srv/media/a b.pdf")
LOCKED = refused(DATABASE, "/srv/shop/shop.db", directory("/srv/shop", 1000), file("/srv/shop/shop.db"))


CASES = [
    fires(
        "APP020",
        "the directory of uploads is another user's",
        host(CLOSED),
        "stat /srv/media 0755, uid 0, gid 0",
        severity="fail",
    ),
    fires(
        "APP024",
        "nginx's log alone has the failures, and the way is still closed",
        but(host(CLOSED), logs__nginx_access=logged(NGINX_ACCESS_LOG, answered("500", 3), SERVED)),
    ),
    quiet(
        "APP020",
        "its owner was changed since",
        host(refused(UPLOAD, "/srv/media/x", directory("/srv/media", 1000, changed=NOW - 30))),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize(
    ("snapshot", "summary", "step"),
    [
        (host(CLOSED), "/srv/media (0755, uid 0) is closed to it", "chown shop /srv/media"),
        (
            host(
                refused(
                    "FileNotFoundError: [Errno 2] No such file or directory: 'data/cities.csv'",
                    "/run/shop/data/cities.csv",
                    error=2,
                    missing="/run/shop/data",
                    working_directory="/run/shop",
                    lies_at="/srv/shop/data/cities.csv",
                )
            ),
            "the service's working directory is /run/shop, and the file lies at /srv/shop/data/cities.csv",
            "Path(__file__).parent",
        ),
        (
            host(refused(UPLOAD, "/srv/media/a b.pdf", directory("/srv/media", 1000), file("/srv/media/a b.pdf"))),
            "/srv/media/a b.pdf (0644, uid 0)",
            "chown shop '/srv/media/a b.pdf'",
        ),
        (
            host(refused(UPLOAD, "/srv/media/x", directory("/srv/media", 33, 0o700), missing="/srv/media/x")),
            "/srv/media (0700, uid 33)",
            "chown shop /srv/media",
        ),
        (
            host(refused(UPLOAD, "/srv/home/a/x", directory("/srv/home", 33, 0o700), directory("/srv/home/a", 1000))),
            "/srv/home (0700, uid 33)",
            "chmod o+x /srv/home",
        ),
        (host(LOCKED), "/srv/shop/shop.db (0644, uid 0)", "chown shop /srv/shop /srv/shop/shop.db"),
        (
            host(refused(DATABASE, "/srv/shop/shop.db", directory("/srv/shop"), file("/srv/shop/shop.db", 1000))),
            "/srv/shop (0755, uid 0)",
            "chown shop /srv/shop /srv/shop/shop.db",
        ),
        (
            host(refused(READ_ONLY, "/srv/media/a.pdf", directory("/srv/media", 1000), error=30)),
            "read-only file system",
            "ReadWritePaths=/srv/media",
        ),
        (
            host(refused(MISSING, "/srv/media/2026/a", directory("/srv/media"), error=2, missing="/srv/media/2026")),
            "/srv/media/2026 is not there",
            "mkdir -p /srv/media/2026 && chown shop /srv/media/2026",
        ),
    ],
    ids=range(9),
)  # fmt: skip
def test_the_step_that_is_closed_and_what_opens_it(snapshot: Snapshot, summary: str, step: str) -> None:
    finding = found(snapshot)["APP020"]
    assert finding.summary is not None
    assert summary in finding.summary.en
    assert any(step in (line.en if isinstance(line, Text) else line) for line in finding.fix or ()), (
        finding.fix
    )


def test_where_every_request_fails_the_same_is_said() -> None:
    broken = host(CLOSED, backend__predict=page(500, "Internal Server Error", **{**PREDICT, **AT_BACKEND}))
    summary = found(broken)["APP004"].summary
    assert summary is not None
    assert "/srv/media (0755, uid 0) is closed to it" in summary.en


def test_nobody_is_told_to_hand_the_system_s_files_over() -> None:
    """A user of the application chose the name in its exception."""
    shadow = refused(THIEF, "/etc/shadow", directory("/etc"), file("/etc/shadow", mode=0o640))
    fix = found(host(shadow))["APP020"].fix or ()
    steps = [step.en if isinstance(step, Text) else step for step in fix]
    assert not [step for step in steps if "chown" in step or "chmod" in step]


@pytest.mark.parametrize(
    ("files", "is_over"),
    [
        ((refused(UPLOAD, "/srv/media/x", directory("/srv/media", 1000, changed=NOW - 30)),), True),
        # Open, and nobody changed a thing: something else than modes denies it.
        ((refused(UPLOAD, "/srv/media/x", directory("/srv/media", 1000, changed=NOW - 3000)),), False),
        # Changed, and still closed.
        ((refused(UPLOAD, "/srv/media/x", directory("/srv/media", 33, 0o700, changed=NOW - 30)),), False),
        # Nobody knows which of the two databases it is.
        (
            (
                refused(DATABASE, "/srv/a.db", file("/srv/a.db", 1000, changed=NOW - 30)),
                refused(DATABASE, "/srv/b.db", file("/srv/b.db", 0, changed=NOW - 30)),
            ),
            False,
        ),
    ],
)
def test_a_way_that_was_opened_since_is_no_cause(files: tuple[RefusedFile, ...], is_over: bool) -> None:
    codes = found(host(*files))
    assert ("APP020" not in codes and "APP024" not in codes) is is_over


def test_an_exception_about_something_else_keeps_its_own_fix() -> None:
    finding = found(host(CLOSED, exception="KeyError: 'text'"))["APP020"]
    assert finding.fix is None
