"""Files that nginx is to send by itself."""

from __future__ import annotations

from typing import Any

import pytest

from ops.facts.files import AccessStep, Reader
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import UnservedFile
from ops.text.language import Text
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    NGINX_ACCESS_LOG,
    NGINX_ERROR_LOG,
    NOW,
    SITE,
    answered,
    but,
    entry,
    nginx_config,
    nginx_logs,
)

WORKER = Reader(pid=701, user="www-data", uid=33, gids=(33,))


def step(path: str, mode: int, *, is_file: bool = False) -> AccessStep:
    return AccessStep(path=path, is_directory=not is_file, uid=1000, gid=1000, mode=mode)


def unserved(path: str, served: str = "", *, ago: float = 60.0, **changes: Any) -> Snapshot:
    """nginx could not open ``path``; ``served``: a location of the site."""
    error = changes.get("error", 2)
    line = (
        f'*1 open() "{path}" failed ({error}: x), client: 10.0.0.7, server: gte-api.example.com,'
        ' request: "GET /static/app.css HTTP/1.1"'
    )
    made: dict[str, Any] = {
        "path": path,
        "error": error,
        "request": "GET /static/app.css",
        "entry": line,
        "log": NGINX_ERROR_LOG,
        "count": 3,
        "last": NOW - ago,
        "reader": WORKER,
        **changes,
    }
    return but(
        logs__unserved_files=(UnservedFile(**made),),
        logs__nginx_errors=nginx_logs(entry(line, ago=ago)),
        nginx_config=nginx_config(SITE.replace("    location / {", f"    {served}\n    location / {{")),
    )


ALIAS = "location /static/ { alias /srv/static; }"
FILE = "/srv/static/app.css"
HOME = (step("/home", 0o755), step("/home/shop", 0o750), step("/home/shop/app.css", 0o644, is_file=True))

CASES: list[Case] = [
    fires(
        "NGX046",
        "alias without its slash",
        unserved("/srv/staticapp.css", ALIAS, lies_at=FILE),
        "/srv/static;",
    ),
    fires(
        "NGX046",
        "root where alias was meant",
        unserved("/srv/static/static/app.css", "location /static/ { root /srv/static; }", lies_at=FILE),
    ),
    fires(
        "NGX046",
        "alias where root was meant",
        unserved("/srv/app.css", "location /static/ { alias /srv/; }", lies_at=FILE),
    ),
    quiet("NGX046", "it is nowhere", unserved("/srv/static/x.css", "location /static/ { root /srv; }")),
    quiet(
        "NGX046",
        "another file of its name is elsewhere, and neither root nor alias explains it",
        unserved("/srv/dist/app.css", "location /static/ { alias /srv/dist/; }", lies_at="/srv/app.css"),
    ),
    quiet(
        "NGX046",
        "users are sent the files that lie there",
        but(
            unserved("/srv/static/static/app.css", "location /static/ { root /srv/static; }", lies_at=FILE),
            logs__nginx_access=logged(
                NGINX_ACCESS_LOG, answered("200", 9, path="/static/site.css", method="GET")
            ),
        ),
    ),
    quiet("NGX046", "of before the reload", unserved("/srv/staticapp.css", ALIAS, lies_at=FILE, ago=7200)),
    fires(
        "NGX046",
        "a home directory is closed to nginx",
        unserved("/home/shop/app.css", error=13, steps=HOME),
        "stat /home/shop 0750",
        severity="fail",
    ),
    fires(
        "NGX046",
        "once",
        unserved("/home/shop/app.css", error=13, steps=HOME, count=1),
        severity="warn",
    ),
    quiet(
        "NGX046",
        "it was opened since",
        unserved("/home/shop/app.css", error=13, steps=(step("/home/shop", 0o711),)),
    ),
    quiet(
        "NGX046", "nobody knows as whom nginx reads", unserved("/home/x", error=13, steps=HOME, reader=None)
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def commands(snapshot: Snapshot) -> list[str]:
    return [step for step in found(snapshot)["NGX046"].fix or () if not isinstance(step, Text)]


def test_the_fix_is_of_the_kind_of_the_mistake() -> None:
    assert commands(CASES[0].snapshot)[0].startswith("sed ")
    assert "alias /srv/static/;" in commands(CASES[0].snapshot)[0]
    assert "alias /srv/static/;" in commands(CASES[1].snapshot)[0]
    assert "root /srv;" in commands(CASES[2].snapshot)[0]
    of_srv = (step("/srv", 0o755), step("/srv/shop", 0o750), step("/srv/shop/app.css", 0o644, is_file=True))
    assert commands(unserved("/srv/shop/app.css", error=13, steps=of_srv)) == ["chmod o+x /srv/shop"]


def test_no_command_opens_a_home_to_every_user_of_the_host() -> None:
    closed = unserved("/home/shop/app.css", error=13, steps=HOME)
    assert commands(closed) == []
    assert "setfacl -m u:www-data:x /home/shop" in str(found(closed)["NGX046"].fix)
