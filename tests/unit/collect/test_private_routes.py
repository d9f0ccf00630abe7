"""Routes of the application's source whose answers are one user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.collect.logs.application_source import ApplicationSource
from ops.collect.logs.private_routes import private_routes
from ops.facts.base import NotSeen
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import answered

FLASK = """
@app.get("/profile")
@login_required
def profile():
    answer = jsonify(user=1)
    answer.headers["Cache-Control"] = "private"
    # answer.set_cookie("other", "s")
    answer.set_cookie("session", "s")
    return answer

def log_in(answer):
    answer.set_cookie("session", "s")

@app.get("/models")
def models():
    return jsonify(models=[], headers={"Cache-Control": "public, max-age=60"})

@app.after_request
def add(answer):
    answer.headers["Cache-Control"] = "no-store"
"""
FASTAPI = """
def create_app():
    @app.get("/baskets/{number}")
    async def basket(
        number: int,
    ) -> Response:
        return JSONResponse({}, headers={"Cache-Control": "no-store"})

    def other(response):
        response.set_cookie("a", "b")
"""


def marks(directory: Path, source: str, path: str, status: str = "200") -> list[tuple[str, int]]:
    (directory / "app.py").write_text(source)
    log = logged("/var/log/nginx/access.log", answered(status, 3, path=path, method="GET"))
    return [
        (r.mark, int(r.where.rpartition(":")[2]))
        for r in private_routes(ApplicationSource(str(directory)), log)
    ]


@pytest.mark.parametrize(
    ("source", "path", "expected"),
    [
        (FLASK, "/profile", [("cache-control", 6), ("set-cookie", 8)]),
        (FLASK, "/models", []),
        (FASTAPI, "/baskets/*", [("cache-control", 7)]),
        (FASTAPI, "/baskets", []),
    ],
)
def test_a_mark_is_the_route_s_in_whose_function_it_stands(
    tmp_path: Path, source: str, path: str, expected: list[tuple[str, int]]
) -> None:
    assert marks(tmp_path, source, path) == expected


def test_nothing_is_read_where_nobody_was_answered(tmp_path: Path) -> None:
    assert marks(tmp_path, FLASK, "/profile", "404") == []
    assert private_routes(ApplicationSource(str(tmp_path)), NotSeen(reason="no log")) == ()
