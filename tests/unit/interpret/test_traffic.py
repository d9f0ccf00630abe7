"""Which access logs tell of the service's requests, and since when they count."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ops.facts.gunicorn import ConfigValue, GunicornConfig
from ops.facts.nginx import Pidfile
from ops.interpret.log_format import COMBINED, GUNICORN_DEFAULT
from ops.interpret.traffic import (
    AccessLogSource,
    answering_since,
    general_path,
    gunicorn_access_format,
    nginx_access_logs,
)
from tests.unit.made_snapshot import (
    GUNICORN_PROCESSES,
    NGINX_ACCESS_LOG,
    NGINX_PROCESSES,
    NOW,
    SITE,
    TARGET,
    nginx_config,
    process,
    processes,
)

SITE_LOG = "access_log /var/log/nginx/gte-access.log;"


def sources(site: str) -> tuple[AccessLogSource | None, tuple[AccessLogSource, ...]]:
    return nginx_access_logs(nginx_config(site), TARGET)


def test_without_a_format_it_is_combined() -> None:
    assert sources(SITE) == (AccessLogSource(NGINX_ACCESS_LOG, COMBINED), ())


def test_a_format_in_several_strings_with_an_escape_and_a_condition() -> None:
    first, _ = sources(
        'log_format j escape=json \'{"s":$status,\' \'"t":"$msec"}\';\n'
        + SITE.replace(SITE_LOG, "access_log /var/log/nginx/gte-access.log j buffer=32k if=$loggable;")
    )
    assert first == AccessLogSource(
        NGINX_ACCESS_LOG, '{"s":$status,"t":"$msec"}', "json", is_conditional=True
    )


def test_a_format_that_is_nowhere_is_not_known() -> None:
    first, _ = sources(SITE.replace(SITE_LOG, "access_log /var/log/nginx/gte-access.log none_such;"))
    assert first == AccessLogSource(NGINX_ACCESS_LOG)


def test_the_logs_of_locations_are_read_too() -> None:
    site = SITE.replace(
        "location = /health {",
        "location /api { access_log /var/log/api.log; }\n location = /health { access_log off;",
    )
    first, more = sources(site)
    assert first is not None
    assert first.path == NGINX_ACCESS_LOG
    assert more == (AccessLogSource("/var/log/api.log", COMBINED),)


@pytest.mark.parametrize(
    ("block", "is_shared"),
    [
        ("server_name other.example; location / { proxy_pass http://127.0.0.1:9; }", True),
        ("server_name other.example; location / { root /var/www; }", False),
        ("server_name gte-api.example.com; location / { proxy_pass http://127.0.0.1:9; }", False),
    ],
)
def test_a_log_that_another_application_writes_to_is_shared(block: str, is_shared: bool) -> None:
    first, _ = sources(f"{SITE}\nserver {{ listen 81; {SITE_LOG} {block} }}")
    assert first is not None
    assert (first.shared is not None) is is_shared


def config(**assigned: str) -> GunicornConfig:
    values = {name: ConfigValue(line=1, known=True, value=value) for name, value in assigned.items()}
    return GunicornConfig(path="/x", assigned=values)


def test_gunicorns_format() -> None:
    master = process(9, 1, "gunicorn", "--access-logformat", "%(s)s")
    assert gunicorn_access_format(master, config(access_log_format="%(t)s")) == "%(s)s"
    assert gunicorn_access_format(None, config(access_log_format="%(t)s")) == "%(t)s"
    assert gunicorn_access_format(None, config()) == GUNICORN_DEFAULT
    assert gunicorn_access_format(None, GunicornConfig(path="/x", star_imports=("other",))) is None


def test_counted_is_what_the_oldest_worker_of_now_answered() -> None:
    pidfile = Pidfile(path="/run/nginx.pid", pid=NGINX_PROCESSES[0].pid)
    assert answering_since(TARGET, processes(), pidfile) == NOW - 3600
    young = tuple(process(p.pid, p.ppid, *p.command, started=NOW - 5) for p in GUNICORN_PROCESSES[:2])
    some = processes(NGINX_PROCESSES, young, GUNICORN_PROCESSES[2:])
    assert answering_since(TARGET, some, pidfile) == NOW - 3600, "the other worker's answers still count"
    every = tuple(process(p.pid, p.ppid, *p.command, started=NOW - 5) for p in GUNICORN_PROCESSES)
    assert answering_since(TARGET, processes(NGINX_PROCESSES, every), pidfile) == NOW - 5
    starting = replace(TARGET, gunicorn_master=every[0].pid, gunicorn_workers=())
    assert answering_since(starting, processes(NGINX_PROCESSES, every[:1]), pidfile) == NOW - 5, (
        "no worker yet"
    )
    reloaded = (NGINX_PROCESSES[0], process(702, 700, "nginx: worker process", started=NOW - 9))
    assert answering_since(TARGET, processes(reloaded, GUNICORN_PROCESSES), pidfile) == NOW - 9


@pytest.mark.parametrize(
    ("path", "general"),
    [
        ("/predict?text=secret", "/predict"),
        ("/v1/items/123/parts/9", "/v1/items/*/parts/*"),
        ("/jobs/0c9f4e1a-55aa-4a6b-8d35-1f2e3d4c5b6a", "/jobs/*"),
        ("/reset/" + "k" * 40, "/reset/*"),
        ("/decade/facade", "/decade/facade"),
        ("http://example.com/a", "/a"),
        ("/" + "a/" * 400, "/" + "a/" * 11),
        ("", ""),
    ],
)
def test_paths_of_one_route_are_one(path: str, general: str) -> None:
    assert general_path(path).rstrip("/") == general.rstrip("/")
