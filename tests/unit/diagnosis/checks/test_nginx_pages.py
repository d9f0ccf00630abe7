"""Pages that browsers are sent, and what nginx's configuration does to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops.collect.services.nginx import parse_config
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, PageResource, ShellPage, SourceRoute, Spread
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.diagnosis.checks.test_eighth_front import beside
from tests.unit.made_snapshot import GUNICORN_ACCESS_LOG, NGINX_ACCESS_LOG, SITE_FILE, answered, but

DOMAIN = "gte-api.example.com"


def asked(path: str, status: str = "200", count: int = 9, **changes: Any) -> Answers:
    return answered(status, count, path=path, method="GET", **changes)


# --- addresses that a page made up

SHELL = ShellPage(prefix="/shop/", path="/srv/public/shop/index.html")
FILES = "location /shop/ { root /srv/public; try_files $uri $uri/ =404; }"


def line(referrer: str, path: str = "/shop/orders/7") -> str:
    return (
        f'192.0.2.7 - - [22/Nov/2026:00:59:00 +0000] "GET {path} HTTP/1.1" 404 153 "{referrer}" "Mozilla/5.0"'
    )


LED = f"https://{DOMAIN}/shop/"


def lost(*answers: Answers, location: str = FILES, shells: tuple[ShellPage, ...] = (SHELL,)) -> Snapshot:
    return beside(location, logs__shell_pages=shells, logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers))


def not_found(path: str = "/shop/orders/*", referrer: str = LED, count: int = 6, **changes: Any) -> Answers:
    return asked(path, "404", count, newest=(line(referrer),), **changes)


# --- words that are to be replaced

WORDS = "sub_filter intranet.lan shop.example;"
REPLACED = f"location /page {{ proxy_pass http://gte_backend; {WORDS} }}"
GZIP = SourceRoute(pattern="", where="/srv/shop/app.py:4", written="Compress(app)")


def of(length: float) -> Spread:
    return Spread(least=length, median=length, most=length)


def replaced(
    sent: float = 1012,
    own: float = 1000,
    *,
    location: str = REPLACED,
    packed: tuple[SourceRoute, ...] = (GZIP,),
) -> Snapshot:
    return beside(
        location,
        logs__packed_bodies=packed,
        logs__nginx_access=logged(NGINX_ACCESS_LOG, asked("/page", sent=of(sent))),
        logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, asked("/page", sent=of(own))),
    )


# --- scripts that a policy forbids


def policy(
    written: str,
    *answers: Answers,
    origin: str = "https://cdn.example",
    header: str = "Content-Security-Policy",
) -> Snapshot:
    resource = PageResource(request_path="/docs", kind="script", origin=origin, where="/srv/shop/app.py:3")
    return beside(
        f'add_header {header} "{written}" always;',
        logs__page_resources=(resource,),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *(answers or (asked("/docs"),))),
    )


CASES = [
    fires(
        "NGX100",
        "a page's own address is reloaded",
        lost(not_found()),
        "/shop/orders/* 404",
        "try_files $uri $uri/ =404",
        SHELL.path,
        severity="warn",
    ),
    fires(
        "NGX100",
        "nothing but files",
        lost(not_found(), location="location /shop/ { alias /srv/public/shop/; }"),
    ),
    quiet("NGX100", "no page draws them", lost(not_found(), shells=())),
    quiet("NGX100", "a scanner", lost(not_found(referrer="-"))),
    quiet("NGX100", "another site's link", lost(not_found(referrer="https://news.example/shop/"))),
    quiet("NGX100", "a page elsewhere on the site", lost(not_found(referrer=f"https://{DOMAIN}/blog/"))),
    quiet("NGX100", "a script's question", lost(not_found(path="/shop/api/orders"))),
    *(
        quiet(
            "NGX100",
            f"the location says {words}",
            lost(not_found(), location=FILES.replace("root", f"{words}; root")),
        )
        for words in (
            "return 404",
            "internal",
            "deny all",
            "uwsgi_pass unix:/run/shop.sock",
            "fastcgi_pass 127.0.0.1:9",
        )
    ),
    quiet(
        "NGX100",
        "a condition answers",
        lost(not_found(), location=FILES.replace("root", "if ($arg_x) { return 404; } root")),
    ),
    quiet("NGX100", "pictures that the page loads", lost(not_found(path="/shop/avatars/*"))),
    quiet("NGX100", "a file that is missing", lost(not_found(path="/shop/logo.png"))),
    quiet("NGX100", "one client", lost(not_found(count=2))),
    quiet("NGX100", "the service's own answer", lost(not_found(upstreams={"127.0.0.1:8000": 6}))),
    quiet(
        "NGX100", "the page is sent", lost(not_found(), location=FILES.replace("=404", "/shop/index.html"))
    ),
    quiet(
        "NGX100",
        "an error page is the page",
        lost(not_found(), location=FILES.replace("root", "error_page 404 /shop/index.html; root")),
    ),
    fires("NGX101", "packed bodies pass", replaced(), WORDS.rstrip(";"), "Compress(app)", severity="warn"),
    fires("NGX101", "the same bytes, with a length", replaced(sent=1000)),
    fires("NGX101", "of a large page", replaced(sent=40_000 + 5 + 10 * 8, own=40_000)),
    quiet("NGX101", "words were replaced", replaced(sent=1030)),
    quiet("NGX101", "nginx packs them itself", replaced(sent=400)),
    quiet("NGX101", "the source packs nothing", replaced(packed=())),
    quiet(
        "NGX101",
        "the source packs another path",
        replaced(packed=(SourceRoute(pattern="/export", where="a.py:1", written="x"),)),
    ),
    quiet(
        "NGX101",
        "nginx asks for what is not packed",
        replaced(location=REPLACED.replace(WORDS, f'{WORDS} proxy_set_header Accept-Encoding "";')),
    ),
    quiet("NGX101", "no words", replaced(location=REPLACED.replace(WORDS, ""))),
    quiet(
        "NGX101",
        "words of the files' location",
        replaced(location=f"location /page {{ proxy_pass http://gte_backend; }} {WORDS}"),
    ),
    fires(
        "NGX102",
        "the script is on another host",
        policy("default-src 'self'"),
        "default-src 'self'",
        "https://cdn.example",
        "/docs",
        severity="warn",
    ),
    fires("NGX102", "the script is in the page", policy("script-src 'self'", origin="")),
    quiet("NGX102", "the policy lists it", policy("script-src 'self' cdn.example")),
    quiet("NGX102", "nobody asks for the page", policy("default-src 'self'", asked("/"))),
    quiet("NGX102", "one client", policy("default-src 'self'", asked("/docs", count=2))),
    quiet("NGX102", "the page is not there", policy("default-src 'self'", asked("/docs", "404"))),
    quiet(
        "NGX102",
        "it is only reported",
        policy("default-src 'self'", header="Content-Security-Policy-Report-Only"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_judge_is_right(case: Case) -> None:
    hold(case)


def step_of_words(location: str, **changes: Any) -> str:
    fix = found(replaced(location=location, **changes))["NGX101"].fix or ()
    return " | ".join(step for step in fix if isinstance(step, str) and step.startswith("sed"))


def test_the_header_is_written_beside_the_words_and_inherited_ones_stay() -> None:
    inherited = f'proxy_set_header Host "$host"; proxy_set_header X-Name "a b"; {REPLACED}'
    plain = 'proxy_set_header Accept-Encoding ""; sub_filter '
    written = f'proxy_set_header Host $host; proxy_set_header X-Name "a b"; {plain}#'
    assert written in step_of_words(inherited)
    own = REPLACED.replace(WORDS, f"proxy_set_header Host $host; {WORDS}")
    assert f"#{plain}#" in step_of_words(own)


def test_a_file_that_others_include_is_not_edited(tmp_path: Path) -> None:
    (tmp_path / "words.conf").write_text(f"{WORDS}\n")
    (tmp_path / "proxy_params").write_text("proxy_set_header Host $http_host;\n")
    main, location = (
        tmp_path / "nginx.conf",
        "location /page {\nproxy_pass http://gte_backend;\ninclude proxy_params;\n",
    )
    server = f"http {{\nupstream gte_backend {{ server 127.0.0.1:8000; }}\nserver {{\nserver_name {DOMAIN};\n{location}"
    for words, edits in ((f"{WORDS}\n", str(main)), ("include words.conf;\n", "")):
        main.write_text(f"{server}{words}}}\n}}\n}}\n")
        config = parse_config(str(main), str(tmp_path), None, None)
        finding = found(but(replaced(), nginx_config=config))["NGX101"]
        commands = [step for step in finding.fix or () if isinstance(step, str) and step.startswith("sed")]
        assert [command.split()[-1] for command in commands] == [edits] * bool(edits)


def test_the_page_is_written_where_try_files_is() -> None:
    fix = found(lost(not_found()))["NGX100"].fix or ()
    (command,) = (step for step in fix if isinstance(step, str) and step.startswith("sed"))
    assert "try_files $uri $uri/ /shop/index.html;" in command
    assert command.endswith(SITE_FILE)
