"""A header that nginx sets for the service."""

from __future__ import annotations

from ops.interpret.sent_header import SentHeader, how_to_send, sent_header
from tests.unit.made_snapshot import SITE, SITE_FILE, TARGET, nginx_config

OF_SERVER = 'proxy_set_header Connection "";'
PROTO = "proxy_set_header X-Forwarded-Proto $scheme;"
PASS = "        proxy_pass http://gte_backend;\n    }\n    location = /health"


def found(site: str, path: str = "/predict") -> SentHeader:
    """What becomes of X-Forwarded-Proto there."""
    header = sent_header(nginx_config(site), TARGET, path, "X-Forwarded-Proto")
    assert header is not None
    return header


def test_a_header_of_the_server_block_is_inherited() -> None:
    header = found(SITE.replace(OF_SERVER, f"{OF_SERVER} {PROTO}"))
    assert header.sent is not None
    assert header.lost is None


def test_none_of_it_is_inherited_where_the_location_has_one_of_its_own() -> None:
    site = SITE.replace(OF_SERVER, f"{OF_SERVER} {PROTO}")
    header = found(site.replace(PASS, f"        proxy_set_header X-Real-IP $remote_addr;\n{PASS}"))
    assert header.sent is None
    assert header.lost is not None
    assert header.instead is not None
    assert (header.lost.args[0], header.instead.args[0]) == ("X-Forwarded-Proto", "X-Real-IP")
    assert header.where == f"{SITE_FILE}:{header.instead.line}"
    assert f"{SITE_FILE}:{header.lost.line} is not inherited" in how_to_send(header, PROTO).en


def test_nobody_sets_it() -> None:
    header = found(SITE)
    assert (header.sent, header.lost) == (None, None)
    assert how_to_send(header, PROTO).en == f"Beside {header.where} write: {PROTO}"


def test_a_path_that_nginx_answers_itself_has_none() -> None:
    site = SITE.replace(
        "    location = /health", "    location = /own { return 200; }\n    location = /health"
    )
    assert sent_header(nginx_config(site), TARGET, "/own", "X-Forwarded-Proto") is None
