"""Lines of the application's source that say what is to be made of its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.collect.logs.application_source import ApplicationSource
from ops.collect.logs.source_lines import cookie_domains, handed_over_files
from ops.facts.logs import AccessLog
from ops.facts.traffic import Answers, Spread, Traffic

DEFAULT = 'class Config:\n    SESSION_COOKIE_DOMAIN = "shop.example"\n'
EMPTY = Spread(least=0, median=0, most=0)


def log(status: str, **changes: Spread) -> AccessLog:
    answers = Answers(method="GET", path="/me", status=status, count=3, first=1.0, last=2.0, **changes)  # type: ignore[arg-type]
    return AccessLog(
        path="access.log",
        size=1,
        modified=1.0,
        requests=3,
        statuses={},
        traffic=Traffic(since=0.0, answers=(answers,)),
    )


@pytest.mark.parametrize(
    ("line", "domain"),
    [
        ('SESSION_COOKIE_DOMAIN = ".shop.example"', "shop.example"),
        ('app.config["SESSION_COOKIE_DOMAIN"] = "shop.example"', "shop.example"),
        ("app.config.update(\n    CSRF_COOKIE_DOMAIN='shop.example',  # since the move\n)", "shop.example"),
        ('SETTINGS = {\n    "REMEMBER_COOKIE_DOMAIN": "shop.example",\n}', "shop.example"),
        ('class Config:\n    SESSION_COOKIE_DOMAIN: str = "shop.example"', "shop.example"),
        ('"""Write:\n\nSESSION_COOKIE_DOMAIN = "shop.example"\n"""', None),
        (f"{DEFAULT}class Production(Config):\n    SESSION_COOKIE_DOMAIN = os.environ['DOMAIN']", None),
        (f"{DEFAULT}class Production(Config):\n    SESSION_COOKIE_DOMAIN = None", None),
        (f"{DEFAULT}app.config['SESSION_COOKIE_DOMAIN'] = domain", None),
        (f"{DEFAULT}setattr(Config, 'SESSION_COOKIE_DOMAIN', domain)", None),
        (f"{DEFAULT}domain = os.environ.get('SESSION_COOKIE_DOMAIN')", None),
        (f"{DEFAULT}domain = os.environ['SESSION_COOKIE_DOMAIN']", None),
        (
            f"{DEFAULT}print(app.config['SESSION_COOKIE_DOMAIN'], app.config.get('SESSION_COOKIE_DOMAIN'))",
            "shop.example",
        ),
        ('SESSION_COOKIE_DOMAIN = "shop.example"\nthis is no Python', None),
        ("SESSION_COOKIE_DOMAIN = None", None),
        ('SESSION_COOKIE_DOMAIN = os.environ.get("DOMAIN", "shop.example")', None),
        ('# SESSION_COOKIE_DOMAIN = "shop.example"', None),
        ('SESSION_COOKIE_DOMAIN = "shop.example" if LIVE else None', None),
    ],
)
def test_a_cookie_s_domain_is_read_where_it_is_written_out(
    tmp_path: Path, line: str, domain: str | None
) -> None:
    (tmp_path / "settings.py").write_text(f"{line}\n")
    found = cookie_domains(ApplicationSource(str(tmp_path)), log("401"))
    assert [item.domain for item in found] == ([domain] if domain else [])
    assert not cookie_domains(ApplicationSource(str(tmp_path)), log("200"))


def test_settings_of_another_host_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "dev.py").write_text('SESSION_COOKIE_DOMAIN = "dev.example"\n')
    assert not cookie_domains(ApplicationSource(str(tmp_path)), log("401"))


ROUTE = """
@app.get("/bills/<number>")
def bill(number):
    return send_file(number)
"""


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ('app.config["USE_X_SENDFILE"] = True', True),
        ("SENDFILE_BACKEND = 'django_sendfile.backends.xsendfile'", True),
        ('response.headers["X-Sendfile"] = path', True),
        ('app.config["USE_X_SENDFILE"] = False', False),
        ('response.headers["X-Accel-Redirect"] = path', False),
        ('# response.headers["X-Sendfile"] = path', False),
        ('response.headers.set("X-Sendfile", path)', True),
        ('answer = "", 200, {"X-Sendfile": path}', True),
        ('"""USE_X_SENDFILE = True"""', False),
        ("class Apache:\n    USE_X_SENDFILE = True\nclass Nginx:\n    USE_X_SENDFILE = False", False),
        (
            "USE_X_SENDFILE = True\nresponse.headers['X-Accel-Redirect'] = response.headers['X-Sendfile']",
            False,
        ),
    ],
)
def test_apache_s_words_are_found_with_the_routes_that_send_files(
    tmp_path: Path, line: str, *, is_found: bool
) -> None:
    (tmp_path / "app.py").write_text(f"{line}\n{ROUTE}")
    found = handed_over_files(ApplicationSource(str(tmp_path)), log("200", sent=EMPTY))
    assert [item.pattern for item in found] == (["/bills/[^/]+", ""] if is_found else [])
    assert not handed_over_files(
        ApplicationSource(str(tmp_path)), log("200", sent=Spread(least=1, median=9, most=9))
    )


@pytest.mark.parametrize(
    "otherwise", ['Response("", 200)', '""', "('', 204)", "make_response()", "HttpResponse(status=200)"]
)
def test_a_route_that_sends_nothing_in_another_case_is_none_that_sends_files(
    tmp_path: Path, otherwise: str
) -> None:
    branch = f"    if number == 'x':\n        return {otherwise}\n"
    route = ROUTE.replace("    return", f"{branch}    return")
    (tmp_path / "app.py").write_text(f"USE_X_SENDFILE = True\n{route}")
    found = handed_over_files(ApplicationSource(str(tmp_path)), log("200", sent=EMPTY))
    assert [item.pattern for item in found] == [""], "nginx's own words alone say that a body is missed"
