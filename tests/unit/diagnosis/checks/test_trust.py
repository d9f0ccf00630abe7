"""What was refused is said: as a warning of its own, and only where it looks like an accident or an attack."""

from __future__ import annotations

import msgspec
import pytest

from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Process, Processes
from ops.facts.nginx import NginxConfig, Pidfile
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection
from ops.facts.snapshot import Snapshot
from ops.text.language import Text
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import BACKEND, HEALTHY, but, process

TITLE = "nginx: master process /usr/sbin/nginx"
POSER = process(666, 1, TITLE, user="bob", uid=1000, executable="/home/bob/nginx")
WHY = "/etc/nginx/sites-enabled/x belongs to user 1000"
NOT_RUN = NotSeen(reason=f"nginx -t was not run: {WHY}", is_refused=True)
REFUSED = NotSeen(reason="/etc/shadow: user 1000 names a file of user 0", is_refused=True)


def beside(*others: Process) -> Snapshot:
    assert isinstance(HEALTHY.processes, Processes)
    return but(
        processes=msgspec.structs.replace(
            HEALTHY.processes, processes=(*HEALTHY.processes.processes, *others)
        )
    )


def config(distrusted: str | None) -> NginxConfig:
    assert isinstance(HEALTHY.nginx_config, NginxConfig)
    return msgspec.structs.replace(HEALTHY.nginx_config, distrusted=distrusted)


CASES = [
    fires(
        "NGX021",
        "another user's",
        beside(POSER),
        "/home/bob/nginx",
        severity="warn",
        facts={"pid": "666", "user": "bob"},
    ),
    fires(
        "NGX021",
        "a set-user-ID program with that title",
        beside(process(666, 1, TITLE, uid=0, is_setuid=True)),
    ),
    fires(
        "NGX021",
        "root's, of another program",
        beside(process(666, 1, TITLE, uid=0, executable="/usr/bin/sudo")),
        "/usr/bin/sudo",
    ),
    quiet(
        "NGX021",
        "root's own second instance",
        beside(process(666, 1, TITLE, uid=0, executable="/usr/sbin/nginx")),
    ),
    quiet("NGX021", "a container's", beside(process(666, 1, TITLE, uid=0, is_nested=True))),
    quiet("NGX021", "its worker", beside(process(666, 1, "nginx: worker process", uid=33, user="www-data"))),
    quiet(
        "NGX021",
        "the nginx of the user whose configuration settings name",
        msgspec.structs.replace(
            beside(POSER), target=msgspec.structs.replace(HEALTHY.target, nginx_config_owner=1000)
        ),
    ),
    fires(
        "NGX022",
        "nginx was not run on it",
        but(nginx_config=config(WHY), nginx_test=NOT_RUN),
        WHY,
        severity="warn",
        facts={"why": WHY},
    ),
    quiet("NGX022", "nginx was run on it", but(nginx_config=config(None))),
    quiet("NGX022", "the test was too slow", but(nginx_test=NotSeen(reason="did not finish within 4.0 s"))),
    fires(
        "GUN018", "an error log of root's", but(logs__gunicorn_error=REFUSED), "/etc/shadow", severity="warn"
    ),
    fires("GUN018", "an access log of root's", but(logs__gunicorn_access=REFUSED), "/etc/shadow"),
    quiet("GUN018", "a log that is missing", but(logs__gunicorn_error=NotSeen(reason="no such file"))),
    fires(
        "OPS008",
        "a configuration that somebody else could have written",
        but(passed_over=("/srv/gte-ops.toml: not read: /srv belongs to user 1000",)),
        "belongs to user 1000",
        severity="warn",
        facts={"file": "/srv/gte-ops.toml"},
    ),
    quiet("OPS008", "none was passed over", HEALTHY),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize(
    ("code", "snapshot", "why"),
    [
        ("NGX022", but(nginx_config=config(WHY), nginx_test=NOT_RUN), "属于用户 1000"),
        (
            "OPS008",
            but(passed_over=("/srv/gte-ops.toml: not read: /srv belongs to user 1000",)),
            "属于用户 1000",
        ),
    ],
)
def test_the_reason_why_a_file_is_not_trusted_is_chinese_too(code: str, snapshot: Snapshot, why: str) -> None:
    finding = found(snapshot)[code]
    assert any(why in piece.detail.to("zh") for piece in finding.evidence)
    facts = [value.to("zh") for value in finding.facts.values() if isinstance(value, Text)]
    assert facts == [] or any(why in value for value in facts)


def test_a_pidfile_that_names_a_living_process_is_removed_before_the_start() -> None:
    def first_fix(*, is_alive: bool) -> tuple[str | Text, ...] | None:
        assert isinstance(HEALTHY.gunicorn, Gunicorn)
        pidfile = Pidfile(path="/run/gte api.pid", pid=4242, is_alive=is_alive)
        down = but(
            gunicorn__pidfile=pidfile,
            target__gunicorn_master=None,
            backend__connection=Connection(address=BACKEND, failure=ProbeFailure.REFUSED),
        )
        fix = found(down)["GUN001"].fix
        return fix and tuple(step.zh for step in fix)

    # gunicorn says 'Already running on PID 4242' and ends.
    assert first_fix(is_alive=True) == ("rm -- '/run/gte api.pid'", HEALTHY.target.start_command)
    assert first_fix(is_alive=False) is None
