"""On whose word, as whom and as whose a log is rotated."""

from __future__ import annotations

import stat

import pytest

from ops.files.ownership import PathEntry
from ops.interpret.logrotate import LogPlace, LogTerms, RotationAccount, log_terms, name_refusal
from ops.text.language import Text

TRUSTED = frozenset({0})
ROOT = RotationAccount(0, 0, "root", "root")
SERVICE = RotationAccount(990, 990, "gte-api", "gte-api")
OTHER = RotationAccount(991, 991, "other", "other")
ADM = RotationAccount(990, 4, "gte-api", "adm")


def directory(path: str, uid: int = 0, mode: int = 0o755, *, shared: bool = True) -> PathEntry:
    return PathEntry(path, uid, stat.S_IFDIR | mode, shared)


def place(
    folder: PathEntry,
    owner: RotationAccount | None,
    *,
    mode: int = 0o640,
    group: RotationAccount = ROOT,
    kind: int = stat.S_IFREG,
    links: int = 1,
    above: tuple[PathEntry, ...] = (),
) -> LogPlace:
    holder = RotationAccount(
        folder.uid, group.gid, {0: "root", 990: "gte-api", 991: "other"}[folder.uid], group.group
    )
    path = f"{folder.path}/error.log"
    return LogPlace(
        path=path,
        directories=(directory("/"), *above, folder),
        directory_owner=holder,
        directory_mode=folder.mode,
        file=PathEntry(path, owner.uid, kind | mode) if owner else None,
        links=links,
        owner=owner,
    )


def terms(
    where: LogPlace, namer: int | None, writer: RotationAccount | None = None, **options: bool
) -> LogTerms | Text:
    holder = where.owner or writer
    groups = (RotationAccount(holder.uid, holder.uid, holder.user, holder.user),) if holder else ()
    return log_terms(where, namer, TRUSTED, writer, groups, **options)


VAR_LOG = directory("/var/log")
OWN = directory("/var/log/gte-api", 990, 0o750)


@pytest.mark.parametrize(
    ("where", "namer", "expected"),
    [
        pytest.param(
            place(VAR_LOG, SERVICE), 990, LogTerms(0o640, ("gte-api", "gte-api")), id="its own, among root's"
        ),
        pytest.param(
            place(OWN, SERVICE),
            990,
            LogTerms(0o640, ("gte-api", "gte-api"), ("gte-api", "gte-api")),
            id="its own, in its own directory",
        ),
        pytest.param(
            place(directory("/tmp", 0, 0o1777), SERVICE),
            990,
            LogTerms(0o640, ("gte-api", "gte-api"), ("gte-api", "gte-api")),
            id="its own, where everybody writes",
        ),
        pytest.param(place(VAR_LOG, ROOT), 0, LogTerms(0o640, ("root", "root")), id="root's gunicorn"),
        pytest.param(
            place(VAR_LOG, ROOT, mode=0o600), None, LogTerms(0o600, ("root", "root")), id="settings, root's"
        ),
        pytest.param(
            place(VAR_LOG, SERVICE), None, LogTerms(0o640, ("gte-api", "gte-api")), id="settings, a user's"
        ),
        pytest.param(
            place(VAR_LOG, SERVICE, mode=0o666), 990, LogTerms(0o660, ("gte-api", "gte-api")), id="mode"
        ),
        pytest.param(place(VAR_LOG, None), None, LogTerms(0o640), id="not there yet: as it will be"),
        pytest.param(
            place(directory("/var/log", 0, 0o775), SERVICE, group=RotationAccount(0, 104, "root", "syslog")),
            990,
            LogTerms(0o640, ("gte-api", "gte-api"), ("root", "syslog")),
            id="Ubuntu's /var/log",
        ),
    ],
)
def test_a_log_keeps_its_owner_and_is_rotated_as_who_could_do_it(
    where: LogPlace, namer: int | None, expected: LogTerms
) -> None:
    assert terms(where, namer) == expected


@pytest.mark.parametrize(
    ("where", "namer", "why"),
    [
        pytest.param(place(VAR_LOG, ROOT), 990, "user 990 names a file of user 0", id="root's"),
        pytest.param(
            place(VAR_LOG, ROOT, mode=0o666), 990, "names a file of user 0", id="root's, everybody writes"
        ),
        pytest.param(
            place(OWN, OTHER), 990, "names a file of user 991", id="another user's, in its own directory"
        ),
        pytest.param(place(VAR_LOG, None), 990, "cannot make it", id="not there, among root's"),
        pytest.param(place(VAR_LOG, SERVICE, links=2), 990, "several names", id="a hard link"),
        pytest.param(place(VAR_LOG, SERVICE, kind=stat.S_IFIFO), 990, "no regular file", id="a pipe"),
        pytest.param(
            place(OWN, ROOT), None, "/var/log/gte-api belongs to user 990", id="root's, in a user's directory"
        ),
        pytest.param(place(OWN, ROOT), 0, "work as root", id="root's word, root's log, a user's directory"),
        pytest.param(
            place(directory("/srv", 0, 0o1777), ROOT),
            None,
            "everybody may write /srv",
            id="root's, where all write",
        ),
        pytest.param(
            place(directory("/srv/log", 0, 0o775), ROOT, group=RotationAccount(0, 50, "root", "deploy")),
            None,
            "may be written by its group",
            id="root's, where a group writes",
        ),
        pytest.param(
            place(directory("/home/x/log", 0), SERVICE, above=(directory("/home/x", 991),)),
            990,
            "/home/x belongs to user 991",
            id="below another user's directory",
        ),
        pytest.param(
            place(VAR_LOG, SERVICE, above=(PathEntry("/l", 990, stat.S_IFLNK | 0o777),)),
            990,
            "made the link /l",
            id="through its own link",
        ),
    ],
)
def test_a_log_that_its_namer_could_not_rotate_is_left_out(
    where: LogPlace, namer: int | None, why: str
) -> None:
    reason = terms(where, namer)
    assert isinstance(reason, Text), reason
    assert why in reason.en
    assert reason.zh.startswith("不轮转 ")


def test_a_log_that_is_not_there_yet_is_its_writers_where_the_writer_could_make_it() -> None:
    expected = LogTerms(0o640, ("gte-api", "gte-api"), ("gte-api", "gte-api"))
    assert terms(place(OWN, None), 990, SERVICE) == expected
    assert terms(place(OWN, None), None, SERVICE) == expected


def test_nobody_gets_a_group_that_it_is_not_in() -> None:
    gift = terms(place(OWN, ADM), 990)
    assert gift == LogTerms(0o640, ("gte-api", "gte-api"), ("gte-api", "gte-api"))


def test_nginx_gives_a_log_of_roots_to_its_workers_anyway() -> None:
    www = RotationAccount(33, 4, "www-data", "adm")
    assert terms(place(VAR_LOG, ROOT), None, www, writer_is_given=True) == LogTerms(
        0o640, ("www-data", "adm")
    )
    # Not another user's.
    same_owner = terms(place(VAR_LOG, SERVICE), None, www, writer_is_given=True)
    assert same_owner == LogTerms(0o640, ("gte-api", "gte-api"))


@pytest.mark.parametrize(
    "name",
    [
        "/a b",
        "/a\tb",
        "/a\nb",
        "/a*",
        "/a?",
        "/[a]",
        "/{a,b}",
        '/"a"',
        "/'a'",
        "/a\\ b",
        "/a#b",
        "relative",
        "",
        "~/a",
        "/日志",
    ],
)
def test_a_name_that_logrotate_would_read_otherwise_is_refused(name: str) -> None:
    assert name_refusal(name) is not None


@pytest.mark.parametrize("name", ["/var/log/gte-error.log", "/srv/a_b/c+d@e:f=g,h~/x.1"])
def test_a_plain_name_is_taken(name: str) -> None:
    assert name_refusal(name) is None
