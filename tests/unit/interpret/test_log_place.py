"""Where a program's lines go that are in no log file of its own."""

from __future__ import annotations

import pytest

from ops.facts.base import NotSeen
from ops.facts.nginx import Directive
from ops.interpret.log_place import LogLocation, LogPlaceKind, nginx_log_place, stream_place
from tests.unit.made_snapshot import process

MASTER = process(900, 1, "gunicorn", uid=990)
UNIT = "shop.service"
OUTPUT = "/var/log/supervisor/shop-stdout.log"


@pytest.mark.parametrize(
    ("link", "unit", "outputs", "place"),
    [
        ("socket:[653020]", UNIT, (), LogLocation(LogPlaceKind.JOURNAL, UNIT)),
        ("/home/app/nohup.out", UNIT, (), LogLocation(LogPlaceKind.FILE, "/home/app/nohup.out", namer=990)),
        ("pipe:[12]", None, (OUTPUT,), LogLocation(LogPlaceKind.FILE, OUTPUT)),
        ("pipe:[12]", None, (), "another program"),
        ("socket:[12]", None, (), "another program"),
        ("/dev/null", UNIT, (), "thrown away"),
        ("/dev/pts/3", UNIT, (), "terminal"),
        ("/var/log/x.log (deleted)", UNIT, (), "deleted"),
    ],
)
def test_of_a_running_master(
    link: str, unit: str | None, outputs: tuple[str, ...], place: LogLocation | str
) -> None:
    answer = stream_place(link, MASTER, unit, outputs)
    if isinstance(place, LogLocation):
        assert answer == place
    else:
        assert isinstance(answer, NotSeen)
        assert place in answer.reason


def test_of_a_service_that_does_not_run() -> None:
    assert stream_place(None, None, UNIT, ()) == LogLocation(LogPlaceKind.JOURNAL, UNIT)
    assert stream_place(None, None, UNIT, (OUTPUT,)) == LogLocation(LogPlaceKind.FILE, OUTPUT)
    assert isinstance(stream_place(None, None, None, ()), NotSeen)


def test_of_a_process_that_may_not_be_looked_at() -> None:
    assert stream_place(None, MASTER, UNIT, ()) == LogLocation(LogPlaceKind.JOURNAL, UNIT)
    unseen = stream_place(None, MASTER, None, ())
    assert isinstance(unseen, NotSeen)
    assert unseen.needs_root


def directive(*args: str) -> Directive:
    return Directive(name="access_log", args=args, file="/etc/nginx/nginx.conf", line=1)


@pytest.mark.parametrize(
    ("args", "unit", "file", "place"),
    [
        (
            ("syslog:server=unix:/dev/log,tag=shop", "combined"),
            "nginx.service",
            None,
            LogLocation(LogPlaceKind.JOURNAL, "nginx.service"),
        ),
        (
            ("syslog:server=unix:/dev/log,tag=shop",),
            None,
            "/var/log/messages",
            LogLocation(LogPlaceKind.SYSLOG, "/var/log/messages", tags=("shop",)),
        ),
        (
            ("syslog:server=unix:/dev/log",),
            None,
            "/var/log/syslog",
            LogLocation(LogPlaceKind.SYSLOG, "/var/log/syslog", tags=("nginx",)),
        ),
        (("syslog:server=10.0.0.9:514",), "nginx.service", "/var/log/syslog", "another host"),
        (("syslog:server=unix:/dev/log",), None, None, "no file"),
        (("/var/log/nginx/access.log",), "nginx.service", None, None),
        ((), None, None, None),
    ],
)
def test_of_nginx(
    args: tuple[str, ...], unit: str | None, file: str | None, place: LogLocation | str | None
) -> None:
    answer = nginx_log_place(directive(*args), unit, file)
    if isinstance(place, str):
        assert isinstance(answer, NotSeen)
        assert place in answer.reason
    else:
        assert answer == place
