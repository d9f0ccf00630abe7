"""A redirect that leaves HTTPS: which it is, and why the service does not know the scheme."""

from __future__ import annotations

import pytest

from ops.diagnosis.forwarded_scheme import leaves_https, lost_scheme
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.nginx import NginxConfig
from tests.unit.made_snapshot import (
    BACKEND,
    DOMAIN,
    GUNICORN_CONF,
    SITE,
    TARGET,
    gunicorn_config,
    nginx_config,
)

NOT_READ = NotSeen(reason="-")
TOLD = nginx_config(
    SITE.replace(
        "proxy_pass http://gte_backend;",
        "proxy_set_header X-Forwarded-Proto https; proxy_pass http://gte_backend;",
    )
)


def steps(
    config: NginxConfig | NotSeen, own: GunicornConfig | NotSeen = NOT_READ, backend: str = BACKEND
) -> str:
    import msgspec

    target = msgspec.structs.replace(TARGET, backend=backend)
    gunicorn = Gunicorn(config=own, pidfile=NOT_READ, progress=NOT_READ)
    lost = lost_scheme(target, "/predict", config, gunicorn)
    return "\n".join(step if isinstance(step, str) else step.en for step in lost.steps)


@pytest.mark.parametrize(
    ("location", "leaves"),
    [
        (f"http://{DOMAIN}/predict/", True),
        (f"http://{DOMAIN}:8080/predict/", True),
        (f"https://{DOMAIN}/predict/", False),
        ("http://login.example.com/", False),
        ("/predict/", False),
    ],
)
def test_only_plain_http_of_the_same_name_leaves_https(location: str, leaves: bool) -> None:
    assert leaves_https(location, TARGET) is leaves


def test_nginx_that_does_not_send_the_scheme_is_told_to() -> None:
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in steps(nginx_config())


def test_a_server_that_believes_others_is_told_to_believe_nginx() -> None:
    fix = steps(TOLD, gunicorn_config(forwarded_allow_ips="10.0.0.1"))
    assert f"1s#10\\.0\\.0\\.1#127.0.0.1#' {GUNICORN_CONF}" in fix


def test_a_backend_of_another_address_is_asked_from_that_address() -> None:
    assert "--forwarded-allow-ips=192.0.2.10" in steps(TOLD, backend="192.0.2.10:8000")
    assert "--forwarded-allow-ips=*" in steps(TOLD, backend="unix:/run/gte.sock")


def test_without_any_configuration_the_settings_of_all_servers_are_named() -> None:
    fix = steps(NOT_READ)
    for word in ("forwarded_allow_ips", "--proxy-headers", "SECURE_PROXY_SSL_HEADER", "ProxyFix"):
        assert word in fix
