"""The framework's defence against forged requests, by its own words in the service's logs."""

from __future__ import annotations

import pytest

from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import DOMAIN, SITE, SITE_FILE, but, entry, gunicorn_log, log, nginx_config

REFUSED = (
    f"Forbidden (Origin checking failed - https://{DOMAIN} does not match any trusted origins.): /predict"
)
FOREIGN = REFUSED.replace(DOMAIN, "evil.example.net")
TOLD = SITE.replace(
    'proxy_set_header Connection "";',
    'proxy_set_header Connection ""; proxy_set_header X-Forwarded-Proto $scheme;'
    " proxy_set_header Host $host;",
)


def said(*texts: str, site: str = SITE) -> Snapshot:
    """The service logged these."""
    return but(
        logs__gunicorn_error=gunicorn_log(*(entry(text) for text in texts)), nginx_config=nginx_config(site)
    )


def warned(name: str) -> str:
    """Flask's warning where it is told another name, in its own line below another entry."""
    return (
        "Booting worker with pid: 901\n/srv/werkzeug/routing/map.py:268: UserWarning: Current server name"
        f" '{name}' doesn't match configured server name 'shop.example'\n  return self.bind("
    )


CASES = [
    fires(
        "APP026", "Flask is told another name", said(warned(DOMAIN)), "'shop.example'", facts={"name": DOMAIN}
    ),
    fires("APP026", "with the port", said(warned(f"{DOMAIN}:443"))),
    quiet("APP026", "a stranger asks for another name", said(warned("203.0.113.9"))),
    fires(
        "APP025",
        "nginx does not say that the user spoke HTTPS",
        said(REFUSED),
        "Origin checking failed",
        f"{SITE_FILE}:",
        "no X-Forwarded-Proto for /predict",
        severity="fail",
        facts={"count": "1", "path": "/predict", "origin": f"https://{DOMAIN}"},
    ),
    fires(
        "APP025",
        "lines without a time stand below another entry",
        said(f"Booting worker with pid: 901\n{REFUSED}\n{REFUSED}"),
        "Origin checking failed",
        facts={"count": "2"},
    ),
    fires(
        "APP025",
        "the address of the form is compared where there is no Origin",
        said(
            f"Forbidden (Referer checking failed - https://{DOMAIN}/login does not match any trusted origins.): /x"
        ),
        facts={"path": "/x", "origin": f"https://{DOMAIN}"},
    ),
    fires(
        "APP025",
        "the site's port is not told",
        said(REFUSED.replace(DOMAIN, f"{DOMAIN}:8443"), site=TOLD),
        "proxy_set_header Host $host",
        facts={"origin": f"https://{DOMAIN}:8443"},
    ),
    fires(
        "APP025",
        "the upstream's name is told",
        said(REFUSED, site=TOLD.replace("Host $host", "Host $proxy_host")),
        "proxy_set_header Host $proxy_host",
    ),
    fires("APP025", "nginx says so, Django does not believe it", said(REFUSED, site=TOLD)),
    quiet("APP025", "another site's form is a forged one", said(FOREIGN)),
    quiet("APP025", "a form without its token", said("Forbidden (CSRF cookie not set.): /login")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_nginx_is_changed_only_where_it_does_not_say_so() -> None:
    before, after = (
        [str(step) for step in found(said(REFUSED, site=site))["APP025"].fix or ()] for site in (SITE, TOLD)
    )
    assert any("sed -i" in step for step in before)
    assert not any("sed -i" in step for step in after)
    assert "SECURE_PROXY_SSL_HEADER" in after[-1]


def test_django_s_log_without_a_time_is_read_from_the_application_s_own_log() -> None:
    own = log("/var/log/app/django.log", entry(REFUSED))
    evidence = found(but(logs__application=(own,)))["APP025"].evidence
    assert evidence[0].source == own.path
