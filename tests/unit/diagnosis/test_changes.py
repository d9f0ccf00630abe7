"""Which change is part of a cause's proof: by the place that can bring it about, and never by how recent it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.changes import can_bring_about, first_failure, read_changes
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.diagnosis.finding import Evidence, quote
from ops.diagnosis.model import Diagnosis
from ops.facts.base import NotSeen
from ops.facts.changes import Change, ChangedLines, ChangeKind, Changes, PlaceKind
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.snapshot import Snapshot, from_json, to_json
from ops.facts.traffic import Answers
from ops.interpret.redaction import redacted
from ops.text.language import verbatim
from tests.unit.made_snapshot import HEALTHY, NOW, but, exchange, without_gunicorn

SITE = "/etc/nginx/conf.d/gte-api.conf"
GUNICORN = "/root/build/gunicorn.conf.py"


def change(place: PlaceKind, what: str, kind: ChangeKind = ChangeKind.CONTENT, **facts: Any) -> Change:
    return Change(place=place, what=what, kind=kind, **{"time": NOW - 60, **facts})


def lines(line: int, before: str, after: str, *names: str) -> tuple[ChangedLines, ...]:
    return (ChangedLines(line=line, before=(before,), after=(after,), names=names),)


BIND = change(PlaceKind.GUNICORN, GUNICORN, lines=lines(1, "bind = 'a'", "bind = 'b'", "bind"))
ROTATION = change(
    PlaceKind.LOGROTATE, "/etc/logrotate.d/gte", lines=lines(1, "daily", "weekly"), time=NOW - 1
)
COMMENT = change(PlaceKind.GUNICORN, GUNICORN, lines=lines(9, "", "# new"), is_harmless=True, time=NOW - 1)
MODE = change(PlaceKind.NGINX, SITE, ChangeKind.ACCESS, before="0644 root:root", after="0600 root:root")
PACKAGE = change(PlaceKind.PACKAGE, "rich", ChangeKind.VALUE, before="13", after="14", time=None)


def with_changes(snapshot: Snapshot, *changes: Change) -> Snapshot:
    reading = Changes(taken_at=NOW - 7200, confirmed_at=NOW - 300, by="watchdog", changes=changes)
    return msgspec.structs.replace(snapshot, changes=reading)


def fitting(diagnosis: Diagnosis) -> dict[str, list[Change]]:
    by_code: dict[str, list[Change]] = {}
    for item in diagnosis.changes:
        for code in item.fits:
            by_code.setdefault(code, []).append(item.change)
    return by_code


def proof(diagnosis: Diagnosis, code: str) -> Sequence[str]:
    cause = next(cause for cause in diagnosis.causes if cause.code == code)
    return [f"{piece.source}: {piece.detail.en}" for piece in cause.evidence]


def test_the_guilty_change_is_part_of_the_proof_and_later_innocent_ones_are_not() -> None:
    diagnosis = diagnose(with_changes(without_gunicorn(), BIND, ROTATION, COMMENT, MODE, PACKAGE), CHECKS)
    assert diagnosis.causes[0].code == "GUN001"
    assert fitting(diagnosis) == {"GUN001": [BIND]}
    assert any(
        line.startswith(f"{GUNICORN}:1: changed ") and "became" in line for line in proof(diagnosis, "GUN001")
    )
    assert len(diagnosis.changes) == 5
    assert diagnosis.changes[0].change == BIND


def test_a_change_alone_is_never_a_cause() -> None:
    diagnosis = diagnose(with_changes(HEALTHY, BIND, MODE), CHECKS)
    assert diagnosis.causes == diagnose(HEALTHY, CHECKS).causes
    assert diagnosis.status == "ok"
    assert fitting(diagnosis) == {}


def test_without_a_baseline_nothing_is_said_of_changes() -> None:
    diagnosis = diagnose(without_gunicorn(), CHECKS)
    assert diagnosis.last_good is None
    assert diagnosis.changes == ()
    assert not any(place == "changes" for place, _ in diagnosis.unseen)


def test_what_nothing_explains_gets_the_changes_to_try_next_the_likely_ones_first() -> None:
    snapshot = but(HEALTHY, front__predict=exchange(status=405))
    before = diagnose(snapshot, CHECKS)
    assert [s.id for s in before.symptoms if not s.explained_by] == ["http.405"]
    limit = change(
        PlaceKind.NGINX, SITE, lines=lines(31, "", "limit_except GET { deny all; }", "limit_except")
    )
    diagnosis = diagnose(with_changes(snapshot, ROTATION, COMMENT, limit), CHECKS)
    (symptom,) = (s for s in diagnosis.symptoms if not s.explained_by)
    assert symptom.next[0].en == "gte-ops baseline diff"
    sources = [piece.source for piece in symptom.evidence]
    assert f"{SITE}:31" in sources
    assert GUNICORN not in " ".join(sources), "comments are nothing to try"


def test_of_several_files_that_fit_only_those_that_the_evidence_names_count() -> None:
    snapshot = but(HEALTHY, front__predict=exchange(status=413, kind="text/html", server="nginx"))
    evident = change(PlaceKind.NGINX, SITE, lines=lines(30, "a;", "b;", "client_max_body_size"))
    other = change(
        PlaceKind.NGINX, "/etc/nginx/conf.d/other.conf", lines=lines(3, "a;", "b;", "client_max_body_size")
    )
    diagnosis = diagnose(with_changes(snapshot, evident, other), CHECKS)
    for code, fits in fitting(diagnosis).items():
        text = " ".join(proof(diagnose(snapshot, CHECKS), code))
        assert fits == ([evident] if SITE in text else [evident, other])


@pytest.mark.parametrize(
    ("changed", "place", "expected"),
    [
        (BIND, "gunicorn", True),
        (BIND, "gunicorn:bind|workers", True),
        (BIND, "gunicorn:workers", False),
        (BIND, "gunicorn:access", False),
        (BIND, "nginx", False),
        (COMMENT, "gunicorn", False),
        (MODE, "nginx", False),
        (MODE, "nginx:access", True),
        (MODE, "nginx:access|listen", True),
        (PACKAGE, "package", True),
        (PACKAGE, "package:rich", True),
        (PACKAGE, "package:flask", False),
        # A file whose text was not kept: which directive changed is not known.
        (change(PlaceKind.NGINX, SITE), "nginx:listen", True),
    ],
)
def test_a_place_of_the_catalogue_is_a_kind_and_perhaps_names(
    changed: Change, place: str, expected: bool
) -> None:
    assert can_bring_about(changed, [place]) is expected


def test_every_place_of_the_catalogue_is_a_kind_that_there_is() -> None:
    all_causes = catalogue()
    places = [(code, place) for code in all_causes.codes for place in all_causes.entry(code).places]
    assert len(places) > 200
    kinds = {kind.value for kind in PlaceKind}
    assert [(code, place) for code, place in places if place.partition(":")[0] not in kinds] == []


def answers(status: str, first: float) -> Answers:
    return Answers(method="POST", path="/predict", status=status, count=3, first=first, last=NOW)


@pytest.mark.parametrize(
    ("failed_at", "changed_at", "expected"),
    [(NOW - 30, NOW - 60, NOW - 30), (NOW - 90, NOW - 60, None), (NOW - 60.5, NOW - 60, NOW - 60.5)],
)
def test_a_failure_is_told_after_a_change_only_where_none_came_before_it(
    failed_at: float, changed_at: float, expected: float | None
) -> None:
    snapshot = but(
        HEALTHY, logs__nginx_access__traffic__answers=(answers("200", NOW - 900), answers("502", failed_at))
    )
    assert first_failure(snapshot.logs, changed_at) == expected


def test_without_logs_no_failure_is_told() -> None:
    assert first_failure(NotSeen(reason="x"), NOW) is None


def test_the_changes_travel_and_are_diagnosed_the_same() -> None:
    snapshot = with_changes(without_gunicorn(), BIND, ROTATION, PACKAGE)
    here, there = diagnose(snapshot, CHECKS), diagnose(from_json(to_json(snapshot)), CHECKS)
    assert (here.causes, here.changes, here.last_good) == (there.causes, there.changes, there.last_good)


SECRET = "Tr0ub4dor"
UNIT = "/etc/systemd/system/a.service"
HEADER = f"    proxy_set_header X-Api {SECRET};"


@pytest.mark.parametrize(
    "secret",
    [
        change(PlaceKind.NGINX, SITE, lines=lines(3, "x;", f"    set $key {SECRET};", "set")),
        change(
            PlaceKind.NGINX,
            SITE,
            lines=lines(3, "x;", HEADER, "proxy_set_header"),
        ),
        change(
            PlaceKind.UNIT,
            "/etc/systemd/system/a.service",
            lines=lines(3, "", f"Environment=A={SECRET}", "Environment"),
        ),
        change(
            PlaceKind.ENVIRONMENT_FILE, "/etc/gte.env", lines=lines(3, "", f"GREETING={SECRET}", "GREETING")
        ),
        change(PlaceKind.APPLICATION, "/srv/app.py", lines=lines(3, "", f"connect('{SECRET}')")),
        change(PlaceKind.GUNICORN, GUNICORN, lines=lines(3, "", f"raw_env = ['A={SECRET}']", "raw_env")),
        change(
            PlaceKind.SETTINGS,
            "/etc/gte-ops.toml",
            lines=lines(3, "", f"urls = ['x://{SECRET}']", "notify.urls"),
        ),
    ],
)
def test_a_line_that_may_hold_a_secret_does_not_leave_the_host(secret: Change) -> None:
    assert SECRET.encode() not in to_json(redacted(with_changes(HEALTHY, secret)))


def test_what_is_judged_of_a_changed_line_leaves_the_host() -> None:
    listen = change(PlaceKind.NGINX, SITE, lines=lines(3, "listen 80;", "listen 81;", "listen"))
    clean = redacted(with_changes(HEALTHY, listen, BIND))
    assert isinstance(clean.changes, Changes)
    assert clean.changes.changes == (listen, BIND)


# --- of several that can, those that something points to --------------------------------------------------------------

NICE = change(
    PlaceKind.UNIT,
    "/etc/systemd/system/gte.service.d/nice.conf",
    ChangeKind.ADDED,
    lines=(ChangedLines(line=1, after=("[Service]", "Nice=5"), names=("Nice",)),),
)
LIMITS = change(PlaceKind.UNIT, UNIT, lines=lines(7, "", "LimitNOFILE=64", "LimitNOFILE"))
TOKEN = change(
    PlaceKind.ENVIRONMENT_FILE, "/etc/gte.env", lines=lines(3, "SHOP_TOKEN=x", "SHOP_KEY=x", "SHOP_TOKEN")
)
COLOUR = change(
    PlaceKind.ENVIRONMENT_FILE, "/etc/other.env", lines=lines(9, "", "LOG_COLOUR=1", "LOG_COLOUR")
)
CODE = change(
    PlaceKind.APPLICATION, "/srv/app.py", lines=lines(3, "", "LIMIT = int(os.environ['SHOP_LIMIT'])")
)
SHOP_LIMIT = change(
    PlaceKind.ENVIRONMENT_FILE, "/etc/gte.env", lines=lines(3, "", "SHOP_LIMIT=9x", "SHOP_LIMIT")
)
TEMPLATE = change(PlaceKind.APPLICATION, "/srv/templates/imprint.html", ChangeKind.CONTENT)
NEW_TEXT = change(PlaceKind.APPLICATION, "/srv/notes.txt", ChangeKind.ADDED)
PRICES = change(PlaceKind.APPLICATION, "/srv/prices.json", ChangeKind.CONTENT)


def fits_of(
    code: str, evidence: Sequence[Evidence], *changes: Change, usual: float | None = None
) -> list[Change]:
    """What `read_changes` makes part of the proof of ``code``."""
    cause = msgspec.structs.replace(diagnose(without_gunicorn(), CHECKS).causes[0], code=code)
    cause = msgspec.structs.replace(cause, evidence=tuple(evidence), summary=verbatim("it fails"))
    reading = Changes(
        taken_at=NOW - 7200,
        confirmed_at=NOW - 300,
        by="watchdog",
        changes=changes,
        usual_predict_s=usual,
    )
    ranked = read_changes([cause], [], reading, HEALTHY, 0, catalogue()).ranked
    return [item.change for item in ranked if item.fits]


def test_a_variable_that_the_evidence_has_excludes_what_it_does_not_name() -> None:
    evidence = [quote("/srv/app.py:3", "KeyError: 'SHOP_TOKEN'")]
    assert fits_of("GUN003", evidence, NICE, LIMITS, TOKEN, COLOUR, BIND) == [TOKEN]


@pytest.mark.parametrize(
    ("variable", "before", "after", "evidence"),
    [
        ("MAX_ITEMS", "500", "600", "POST 127.0.0.1:8000/predict answered 500"),
        ("LOG_LEVEL", "info", "error", "[2026-11-30 10:00:00] [error] it fails"),
        ("LOG_LEVEL", "warning", "info", "the warning came first"),
        ("RATE", "0.0.0.0", "1", "0.0.0.0 is in use"),
        ("SERVER", "gunicorn", "other", "gunicorn does not answer"),
    ],
)
def test_a_value_that_any_evidence_may_have_names_no_variable(
    variable: str, before: str, after: str, evidence: str
) -> None:
    innocent = change(
        PlaceKind.ENVIRONMENT_FILE,
        "/etc/gte.env",
        lines=lines(3, f"{variable}={before}", f"{variable}={after}", variable),
    )
    other = change(PlaceKind.ENVIRONMENT_FILE, "/etc/b.env", lines=lines(1, "A_KEY=1", "A_KEY=2", "A_KEY"))
    assert fits_of("GUN003", [quote("log", evidence)], innocent, other, TOKEN) == [innocent, other, TOKEN]


@pytest.mark.parametrize(
    "words", ["No module named 'shop.prices'", "cannot import name 'cut' from 'shop.prices'"]
)
@pytest.mark.parametrize("path", ["/srv/shop/prices.py", "/srv/shop/prices/__init__.py"])
def test_a_module_that_python_misses_is_named_though_its_file_is_in_no_traceback(
    words: str, path: str
) -> None:
    gone = change(PlaceKind.APPLICATION, path, ChangeKind.REMOVED)
    other = change(PlaceKind.APPLICATION, "/srv/prices.py", ChangeKind.REMOVED)
    evidence = [quote("/srv/app.py:3", words)]
    assert fits_of("GUN003", evidence, gone, other, BIND, COLOUR) == [gone]


@pytest.mark.parametrize(("usual", "is_guilty"), [(0.1, True), (1.5, False), (None, False)])
def test_slower_code_is_guilty_too_where_the_shorter_limit_would_have_been_enough_before(
    usual: float | None, *, is_guilty: bool
) -> None:
    limit = change(
        PlaceKind.NGINX,
        SITE,
        lines=lines(30, "proxy_read_timeout 60s;", "    proxy_read_timeout 1s;", "proxy_read_timeout"),
    )
    code = change(PlaceKind.APPLICATION, "/srv/prices.json")
    evidence = [quote("log", "upstream timed out")]
    assert fits_of("NGX007", evidence, limit, code, ROTATION, usual=usual) == [
        limit,
        *([code] if is_guilty else []),
    ]


def test_an_option_of_gunicorn_s_in_the_environment_is_that_setting() -> None:
    options = change(
        PlaceKind.ENVIRONMENT_FILE,
        "/etc/gte.env",
        lines=lines(3, "", "GUNICORN_CMD_ARGS='--timeout 2'", "GUNICORN_CMD_ARGS"),
    )
    code = change(PlaceKind.APPLICATION, "/srv/prices.json")
    evidence = [quote("/srv/prices.json", "WORKER TIMEOUT")]
    assert fits_of("GUN004", evidence, options, COLOUR, code) == [options, code]


def test_a_value_that_the_evidence_has_excludes_less_than_a_name() -> None:
    place = change(
        PlaceKind.ENVIRONMENT_FILE, "/etc/gte.env", lines=lines(3, "", "STORE=/srv/items.db", "STORE")
    )
    evidence = [quote("/srv/app.py:3", "FileNotFoundError: /srv/items.db")]
    assert fits_of("GUN003", evidence, place, NICE, COLOUR) == [place]
    assert fits_of("NGX005", evidence, place, NICE, COLOUR, BIND) == [place, BIND]
    assert fits_of("GUN003", [*evidence, quote("env", "SHOP_TOKEN")], place, TOKEN) == [TOKEN]


def test_a_variable_beside_the_changed_one_is_not_named() -> None:
    unit = change(
        PlaceKind.UNIT,
        UNIT,
        lines=lines(7, "Environment=SHOP_TOKEN=x LOG_COLOUR=1", "Environment=SHOP_TOKEN=x LOG_COLOUR=2"),
    )
    evidence = [quote("/srv/app.py:3", "KeyError: 'SHOP_TOKEN'")]
    assert fits_of("GUN003", evidence, unit, TOKEN) == [TOKEN]


def test_a_variable_that_the_named_code_reads_is_part_of_the_proof_with_it() -> None:
    evidence = [quote("/srv/app.py:3", "ValueError: invalid literal")]
    assert fits_of("GUN003", evidence, COLOUR, CODE, SHOP_LIMIT) == [CODE, SHOP_LIMIT]


def test_a_setting_that_the_catalogue_lists_excludes_other_kinds_that_nothing_points_to() -> None:
    assert fits_of("NGX005", [quote("tcp 127.0.0.1:8000", "refused")], NICE, LIMITS, COLOUR, BIND) == [BIND]


def test_where_nothing_points_to_one_every_change_that_decides_how_the_service_runs_counts() -> None:
    assert fits_of("NGX005", [quote("tcp 127.0.0.1:8000", "refused")], NICE, LIMITS) == [LIMITS]


def test_a_template_and_a_new_file_that_no_evidence_names_are_not_blamed() -> None:
    evidence = [quote("POST 127.0.0.1:8000/predict", "500")]
    assert fits_of("APP004", evidence, TEMPLATE, NEW_TEXT, PRICES) == [PRICES]
    named = [quote("/srv/templates/imprint.html:7", "TemplateSyntaxError")]
    assert fits_of("APP004", named, TEMPLATE, NEW_TEXT, PRICES) == [TEMPLATE]


def test_the_package_that_the_traceback_names_is_the_guilty_one() -> None:
    toolbox = change(PlaceKind.PACKAGE, "toolbox", ChangeKind.VALUE, before="1", after="2", time=None)
    evidence = [quote("/srv/venv/lib/python3.11/site-packages/toolbox.py:2", "called by this line")]
    assert fits_of("APP004", evidence, PACKAGE, toolbox, TEMPLATE) == [toolbox]


def test_what_the_service_has_run_with_since_did_not_bring_its_end_about() -> None:
    snapshot = without_gunicorn()
    logs = snapshot.logs
    assert isinstance(logs, Logs)
    assert isinstance(logs.gunicorn_error, Log)
    entry = LogEntry(time=NOW - 50, level="info", pid=7, text="Booting worker with pid: 7")
    log = msgspec.structs.replace(logs.gunicorn_error, entries=(entry,))
    served = but(snapshot, logs__nginx_access__traffic__answers=(answers("200", NOW - 900),))
    assert isinstance(served.logs, Logs)
    served = msgspec.structs.replace(served, logs=msgspec.structs.replace(served.logs, gunicorn_error=log))
    (cause,) = (cause for cause in diagnose(served, CHECKS).causes if cause.code == "GUN001")
    later = change(PlaceKind.UNIT, UNIT, time=NOW - 20, lines=lines(7, "", "LimitNOFILE=64", "LimitNOFILE"))

    def blamed(snapshot: Snapshot) -> list[Change]:
        reading = Changes(taken_at=0.0, confirmed_at=0.0, by="watchdog", changes=(LIMITS, later))
        ranked = read_changes([cause], [], reading, snapshot, 0, catalogue()).ranked
        return [item.change for item in ranked if item.fits]

    assert blamed(served) == [later]
    unserved = but(served, logs__nginx_access__traffic__answers=(answers("502", NOW - 40),))
    assert blamed(unserved) == [LIMITS, later]
