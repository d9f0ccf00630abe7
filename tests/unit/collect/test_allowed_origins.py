"""The origins that the application's source lets browsers' pages ask from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ops.collect.logs.allowed_origins import allowed_origins
from ops.collect.logs.application_source import ApplicationSource
from ops.collect.logs.forwarded_reads import forwarded_reads
from ops.facts.logs import AccessLog
from ops.facts.traffic import Answers
from tests.unit.made_snapshot import NGINX_ACCESS_LOG, NOW, access_log, traffic


def log(method: str, status: str) -> AccessLog:
    answers = Answers(method=method, path="/x", status=status, count=6, first=NOW - 60, last=NOW - 2)
    return msgspec.structs.replace(access_log(NGINX_ACCESS_LOG, {}), traffic=traffic(answers))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('allow_origins = ["https://shop.example/"]', [("https://shop.example/", False)]),
        ('allow_origins = ["shop.example:3000"]', [("shop.example:3000", False)]),
        ('allow_origins = ["https://shop.example", "*"]', [("https://shop.example", True), ("*", True)]),
        ('origins = ["app://obsidian.md", "capacitor://localhost"]',
         [("app://obsidian.md", True), ("capacitor://localhost", True)]),
        ('origins = ["http://[2001:db8::1]:3000", "shop.example"]',
         [("http://[2001:db8::1]:3000", True), ("shop.example", False)]),
        ('origins = ["https://shop.example"] + others("not.example")', [("https://shop.example", True)]),
        (r'origins = [r"https://.*\.example\.com"]', []),
        (r'origins = ["https://[a-z]+.example.com"]', []),
        (r'origins = [r"^https://shop.example$"]', []),
    ],
)  # fmt: skip
def test_an_origin_is_scheme_host_and_port(tmp_path: Path, line: str, found: list[tuple[str, bool]]) -> None:
    (tmp_path / "app.py").write_text(f"{line}\n")
    origins = allowed_origins(ApplicationSource(str(tmp_path)), (log("OPTIONS", "400"),))
    assert [(each.origin, each.is_well_formed) for each in origins] == found


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ('who = request.headers.get("X-Forwarded-For", request.remote_addr)', True),
        ('who = request.META["HTTP_X_FORWARDED_FOR"]', True),
        ("app.wsgi_app = ProxyFix(app.wsgi_app)", True),
        ("who = request.access_route[0]", True),
        ("who = request.remote_addr", False),
    ],
)
def test_where_the_source_reads_what_a_proxy_hands_on(tmp_path: Path, line: str, reads: bool) -> None:
    (tmp_path / "app.py").write_text(f"\n{line}\n")
    assert forwarded_reads(ApplicationSource(str(tmp_path)), log("GET", "429")) == (
        (f"{tmp_path}/app.py:2",) if reads else ()
    )
    assert forwarded_reads(ApplicationSource(str(tmp_path)), log("GET", "200")) == ()
