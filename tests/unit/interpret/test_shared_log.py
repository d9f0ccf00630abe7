"""Whose request a line is, if several sites log to one file."""

from __future__ import annotations

import pytest

from ops.interpret.shared_log import SharedLog
from ops.interpret.traffic import nginx_access_logs
from tests.unit.made_snapshot import BACKEND, DOMAIN, SITE, TARGET, nginx_config

LOG = "access_log /var/log/nginx/gte-access.log;"
OTHER = f"server {{ listen 443 ssl; listen 8443 ssl; server_name shop.example; {LOG} location / {{ BODY }} }}"


def shared(body: str = "proxy_pass http://127.0.0.1:9;") -> SharedLog:
    first, _ = nginx_access_logs(nginx_config(f"{SITE}\n{OTHER.replace('BODY', body)}"), TARGET)
    assert first is not None
    assert first.shared is not None
    return first.shared


def whose(log: SharedLog, **fields: str) -> bool | None:
    values = dict.fromkeys(("host", "port", "upstream", "path", "status"), "") | fields
    return log.is_ours(**{name: value.encode() for name, value in values.items()})


@pytest.mark.parametrize(
    ("fields", "ours"),
    [
        ({"host": DOMAIN}, True),
        ({"host": DOMAIN.upper()}, True),
        ({"host": f"{DOMAIN}:443"}, True),
        ({"host": "shop.example", "upstream": BACKEND}, False),
        # Nobody's name: the default server's, which is the first that listens.
        ({"host": "198.51.100.7"}, True),
        ({"host": "-", "upstream": BACKEND}, True),
        ({"upstream": f"127.0.0.1:9, {BACKEND}"}, True),
        ({"upstream": "127.0.0.1:9"}, False),
        ({"upstream": "127.0.0.1:7"}, None),
        ({"port": "8443"}, False),
        ({"port": "443"}, None),
        ({"path": "/predict"}, None),
        ({"path": "/predict", "status": "421"}, True),
    ],
)
def test_a_line_belongs_to_the_site_that_it_names(fields: dict[str, str], ours: bool | None) -> None:
    assert whose(shared(), **fields) is ours


def test_a_path_tells_if_no_other_site_hands_it_to_an_application() -> None:
    log = shared("root /var/www; location /app/ { proxy_pass http://127.0.0.1:9; }")
    assert whose(log, path="/predict?x=1") is True
    assert whose(log, path="/app/predict") is None
    assert whose(log, path="*") is None
