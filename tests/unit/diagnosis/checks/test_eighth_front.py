"""The kinds behind the front's part of the eighth collection of reports, and the near misses, which are quiet."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.collect.logs.packed_files import PackedPlace
from ops.collect.logs.served_files import asked_files, held_files, text_files
from ops.diagnosis.finding import Finding
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, HeldFile, TextFile
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    GUNICORN_ACCESS_LOG,
    NGINX_ACCESS_LOG,
    SITE,
    access_log,
    answered,
    but,
    entry,
    nginx_config,
    nginx_logs,
)

PLACE = "    location / {\n"
WITHOUT_LIMIT = SITE.replace("limit_req zone=gte_api burst=20 nodelay;", "")


def beside(lines: str, *, site: str = SITE, before: str = "", **changes: Any) -> Snapshot:
    """``lines`` in the site's server block, ``before`` in front of it."""
    head, tail = site.rsplit(PLACE, 1)
    text = f"{before}{head}    {lines}\n{PLACE}{tail}"
    return but(nginx_config=nginx_config(text), **changes)


# --- whose word is believed

EVERYBODY = "set_real_ip_from 0.0.0.0/0; real_ip_header X-Forwarded-For;"
INSIDE = "location /internal/ { allow 10.0.0.0/8; deny all; proxy_pass http://gte_backend; }"
BY_CONDITION = (
    "location /in/ { if ($remote_addr != 10.0.0.7) { return 403; } proxy_pass http://gte_backend; }"
)
BY_GEO = "location /in/ { if ($office = 0) { return 403; } proxy_pass http://gte_backend; }"
GEO = "geo $office { default 0; 10.0.0.0/8 1; }\n"
TUNNELLED = SITE.replace("listen 443 ssl", "listen 127.0.0.1:443 ssl").replace(
    "listen 80", "listen 127.0.0.1:80"
)


def believed(lines: str, *, site: str = WITHOUT_LIMIT, before: str = "") -> Snapshot:
    return beside(lines, site=site, before=before)


# --- what lies beside the files


def files(location: str) -> Snapshot:
    return beside(location)


# --- sent again

TIMED_OUT = "upstream timed out (110: Connection timed out) while reading response header from upstream"
AGAIN = (
    "location /orders { proxy_pass http://gte_backend; proxy_next_upstream error timeout non_idempotent; }"
)


def again(
    *answers: Answers,
    lines: str = AGAIN,
    said: str = TIMED_OUT,
    method: str = "POST",
    times: int = 2,
    own: int = 4,
) -> Snapshot:
    line = (
        f"*7 {said}, client: 192.0.2.7, server: gte-api.example.com,"
        f' request: "{method} /orders HTTP/1.1", upstream: "http://127.0.0.1:8000/orders", host: "gte-api.example.com"'
    )
    return beside(
        lines,
        logs__nginx_errors=nginx_logs(*(entry(line, ago=5 + number) for number in range(times))),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers),
        logs__gunicorn_access=logged(
            GUNICORN_ACCESS_LOG, answered("200", own, path="/orders", method=method)
        ),
    )


def in_part(first: float) -> Snapshot:
    """The users' log begins so many seconds ago; the service's own has more of an earlier time."""
    answers = (answered("200", 9, path="/orders", method="POST", ago=(first, 1)),)
    snapshot = again(*answers, own=90, times=4)
    access = snapshot.logs.nginx_access
    logs = msgspec.structs.replace(
        snapshot.logs,
        nginx_access=msgspec.structs.replace(access, complete=False),
    )
    return msgspec.structs.replace(snapshot, logs=logs)


ORDERED = answered("200", 2, path="/orders", method="POST")
REFUSED = answered("504", 2, path="/orders", method="POST")


# --- a limit for all

BY_SITE = SITE.replace("$binary_remote_addr zone=gte_api", "$server_name zone=gte_api")
CONSTANT = SITE.replace("$binary_remote_addr zone=gte_api", "everybody zone=gte_api")
BY_MAP = 'map $request_method $counted { default all; GET ""; }\n' + SITE.replace(
    "$binary_remote_addr zone=gte_api", "$counted zone=gte_api"
)
BY_TOKEN = SITE.replace("$binary_remote_addr zone=gte_api", "$http_authorization zone=gte_api")
BY_BOTH = SITE.replace("$binary_remote_addr zone=gte_api", "$server_name$binary_remote_addr zone=gte_api")


# All visitors together on purpose, and each by himself.
BOUND = BY_SITE.replace(
    "limit_req_zone $server_name",
    "limit_req_zone $binary_remote_addr zone=gte_api_ip:10m rate=5r/s;\nlimit_req_zone $server_name",
).replace("limit_req zone=gte_api ", "limit_req zone=gte_api_ip burst=9; limit_req zone=gte_api ")


def refused(site: str, visitors: int = 9) -> Snapshot:
    line = (
        '*7 limiting requests, excess: 9.1 by zone "gte_api", client: 192.0.2.{}, server: gte-api.example.com,'
        ' request: "POST /predict HTTP/1.1", host: "gte-api.example.com"'
    )
    return but(
        nginx_config=nginx_config(site),
        logs__nginx_errors=nginx_logs(*(entry(line.format(n % visitors), ago=5 + n) for n in range(30))),
        logs__nginx_access=access_log(NGINX_ACCESS_LOG, {"200": 70, "429": 30}),
    )


# --- kept by browsers

MONTH = "location /cart { proxy_pass http://gte_backend; %s }"
BOUGHT = (answered("200", 9, path="/cart", method="GET"), answered("201", 2, path="/cart", method="POST"))


def kept(lines: str, *answers: Answers, told: str = "", own: str = "") -> Snapshot:
    """What users got and sent; what the health answer says to caches, at nginx and of the service."""
    headers: dict[str, Any] = {
        f"{name}__health__headers": (
            ("Content-Type", "application/json"),
            *((("Cache-Control", age),) if age else ()),
        )
        for name, age in (("front", told), ("backend", own))
    }
    return beside(lines, logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers), **headers)


# --- another file's content, or another charset's

SCRIPT = answered("200", 9, path="/static/app.js", method="GET")
STATIC = "location /static/ { alias /srv/static/; %s }"
REMEMBERED = "open_file_cache max=100; open_file_cache_valid 1d;"
OLD = HeldFile(request_path="/static/app.js", path="/srv/static/app.js", pid=11, age=40.0)


def sent_as(lines: str, held: HeldFile | None = None, encoding: str = "") -> Snapshot:
    text = TextFile(request_path="/static/app.js", path="/srv/static/app.js", encoding=encoding)
    return beside(
        STATIC % lines,
        logs__nginx_access=logged(NGINX_ACCESS_LOG, SCRIPT),
        logs__held_files=(held,) if held else (),
        logs__text_files=(text,) if encoding else (),
    )


CASES: list[Case] = [
    fires(
        "NGX095",
        "a worker holds the file that was replaced",
        sent_as(REMEMBERED, OLD),
        "(deleted)",
        "open_file_cache",
    ),
    quiet("NGX095", "it is looked at again within a minute", sent_as("open_file_cache max=100;", OLD)),
    quiet("NGX095", "it is sent right now, and nothing is kept", sent_as("", OLD)),
    quiet(
        "NGX095",
        "it has been looked at since",
        sent_as(REMEMBERED.replace("1d", "10m"), msgspec.structs.replace(OLD, age=700.0)),
    ),
    fires("NGX095", "UTF-8 is called GBK", sent_as("charset gbk;", encoding="utf-8"), "charset gbk"),
    fires("NGX095", "GBK is called UTF-8", sent_as("charset utf-8;", encoding="gb18030"), "GBK"),
    quiet("NGX095", "UTF-8 is called so", sent_as("charset UTF-8;", encoding="utf-8")),
    quiet("NGX095", "GBK is called so", sent_as("charset gbk;", encoding="gb18030")),
    quiet("NGX095", "nothing is said", sent_as("charset off;", encoding="utf-8")),
    quiet("NGX095", "nginx converts it", sent_as("source_charset utf-8; charset gbk;", encoding="utf-8")),
    fires(
        "NGX099",
        "a cart is kept that users put things into",
        kept(MONTH % "expires 1M;", *BOUGHT),
        "POST /cart",
        severity="warn",
    ),
    fires(
        "NGX099",
        "by the header",
        kept(MONTH % 'add_header Cache-Control "public, max-age=3600";', *BOUGHT),
        "max-age=3600",
    ),
    fires("NGX099", "health is kept", kept("expires 30d;", told="max-age=2592000"), "expires 30d"),
    quiet("NGX099", "health says so itself", kept("expires 30d;", told="max-age=2592000", own="max-age=60")),
    quiet("NGX099", "nobody changes it", kept(MONTH % "expires 1M;", BOUGHT[0])),
    quiet("NGX099", "it is not to be kept", kept(MONTH % "expires -1;", *BOUGHT)),
    quiet(
        "NGX099",
        "it is asked about each time",
        kept(MONTH % 'add_header Cache-Control "no-cache, max-age=3600";', *BOUGHT),
    ),
    quiet(
        "NGX099",
        "only a shared cache keeps it",
        kept(MONTH % 'add_header Cache-Control "public, s-maxage=300, max-age=0, must-revalidate";', *BOUGHT),
    ),
    quiet(
        "NGX099",
        "a form, and predictions",
        kept(
            "location = /predict { proxy_pass http://gte_backend; expires 5m; }",
            answered("200", 9, method="GET"),
            answered("201", 9),
        ),
    ),
    quiet(
        "NGX099",
        "a POST that computes",
        kept(MONTH % "expires 1M;", BOUGHT[0], answered("200", 9, path="/cart", method="POST")),
    ),
    fires(
        "NGX099",
        "a PUT that changes",
        kept(MONTH % "expires 1M;", BOUGHT[0], answered("204", 2, path="/cart", method="PUT")),
        "PUT /cart",
    ),
    fires(
        "NGX099",
        "a form that leads back",
        kept(MONTH % "expires 1M;", BOUGHT[0], answered("303", 2, path="/cart", method="POST")),
        "POST /cart",
    ),
    quiet("NGX099", "for a moment", kept(MONTH % "expires 10s;", *BOUGHT)),
    quiet(
        "NGX099",
        "a file of the service's own",
        kept(
            "location ~ [.]js$ { proxy_pass http://gte_backend; expires 1y; }",
            answered("200", 9, path="/a.js", method="GET"),
        ),
    ),
    fires(
        "NGX072",
        "everybody is believed, and some are let in",
        believed(EVERYBODY + INSIDE),
        "allow 10.0.0.0/8",
    ),
    fires(
        "NGX072", "one half of everybody", believed(EVERYBODY.replace("0.0.0.0/0", "128.0.0.0/1") + INSIDE)
    ),
    fires("NGX072", "everybody with IPv6", believed(EVERYBODY.replace("0.0.0.0/0", "::/0") + INSIDE), "::/0"),
    fires("NGX072", "a limit counts what they say", beside(EVERYBODY), "limit_req zone=gte_api"),
    fires("NGX072", "a condition goes by it", believed(EVERYBODY + BY_CONDITION), "$remote_addr"),
    fires("NGX072", "a table of addresses does", believed(EVERYBODY + BY_GEO, before=GEO), "$office"),
    quiet("NGX072", "nothing goes by the address", believed(EVERYBODY)),
    quiet("NGX072", "a CDN's own range", believed(EVERYBODY.replace("0.0.0.0/0", "104.16.0.0/13") + INSIDE)),
    quiet("NGX072", "a private network", believed(EVERYBODY.replace("0.0.0.0/0", "10.0.0.0/8") + INSIDE)),
    quiet(
        "NGX072",
        "only a private network reaches it",
        beside(EVERYBODY, site=TUNNELLED.replace("127.0.0.1:", "10.0.0.5:")),
    ),
    fires(
        "NGX072",
        "another address of this host's own",
        beside(EVERYBODY, site=TUNNELLED.replace("127.0.0.1:", "127.9.0.5:")),
    ),
    fires(
        "NGX072",
        "a public address is listened on",
        beside(EVERYBODY, site=TUNNELLED.replace("127.0.0.1:", "203.0.113.5:")),
    ),
    quiet("NGX072", "only a tunnel reaches it", beside(EVERYBODY, site=TUNNELLED)),
    quiet(
        "NGX072",
        "a balancer sends the address by the PROXY protocol",
        believed(EVERYBODY.replace("X-Forwarded-For", "proxy_protocol") + INSIDE),
    ),
    fires(
        "NGX097",
        "only the alias ends with a slash",
        files("location /static { alias /srv/shop/static/; }"),
        "/static../",
        "/srv/shop/NAME",
        severity="warn",
    ),
    fires("NGX097", "before expressions, too", files("location ^~ /static { alias /srv/static/; }")),
    fires(
        "NGX097",
        "an expression takes all",
        files("location ~ ^/media(.*)$ { alias /srv/media/$1; }"),
        "/media../",
    ),
    fires("NGX097", "by a name", files("location ~ ^/media(?<rest>.*) { alias /srv/media/$rest; }")),
    quiet(
        "NGX097",
        "two dots are refused inside",
        files(
            'location /static { if ($request_uri ~ "[.][.]") { return 404; } alias /srv/static/; }',
        ),
    ),
    quiet(
        "NGX097",
        "two dots are refused on the whole site",
        files('if ($uri ~ "[.][.]") { return 404; } location /static { alias /srv/static/; }'),
    ),
    fires(
        "NGX097",
        "something else is refused inside",
        files('location /static { if ($request_uri ~ "[.]env") { return 404; } alias /srv/static/; }'),
    ),
    quiet("NGX097", "both end with one", files("location /static/ { alias /srv/static/; }")),
    quiet("NGX097", "neither does", files("location /static { alias /srv/static; }")),
    quiet("NGX097", "root keeps the prefix", files("location /static { root /srv/; }")),
    quiet("NGX097", "one path alone", files("location = /static { alias /srv/static/; }")),
    quiet("NGX097", "nobody is let in", files("location /static { internal; alias /srv/static/; }")),
    quiet(
        "NGX097", "the expression has its slash", files("location ~ ^/media/(.*)$ { alias /srv/media/$1; }")
    ),
    quiet(
        "NGX097",
        "the expression takes no dots",
        files(r"location ~ ^/media(/[a-z]+)$ { alias /srv/media/$1; }"),
    ),
    quiet(
        "NGX097",
        "two dots are refused before",
        files(r"location /static { alias /srv/static/; } location ~ \.\. { return 404; }"),
    ),
    fires(
        "NGX098",
        "orders that came late were sent again",
        again(ORDERED),
        "2 more POST /orders",
        severity="warn",
    ),
    fires(
        "NGX098",
        "many of them",
        again(answered("200", 3, path="/orders", method="POST"), times=3, own=6),
        severity="fail",
    ),
    fires(
        "NGX098",
        "the service lost the connection",
        again(ORDERED, said=TIMED_OUT.replace("timed out", "prematurely closed connection")),
    ),
    quiet(
        "NGX098",
        "the answer had begun, and its rest was lost",
        again(ORDERED, said="upstream timed out (110: Connection timed out) while reading upstream"),
    ),
    quiet(
        "NGX098",
        "it was not received as a whole",
        again(ORDERED, said=TIMED_OUT.replace("reading response header from", "sending request to")),
    ),
    quiet("NGX098", "their answers are in a log of before", in_part(first=3)),
    fires("NGX098", "the log has their answers", in_part(first=600), severity="warn"),
    quiet("NGX098", "the clients were told", again(REFUSED)),
    quiet("NGX098", "nginx does not try again", again(ORDERED, lines=AGAIN.replace(" non_idempotent", ""))),
    quiet("NGX098", "a question may be asked twice", again(ORDERED, method="GET")),
    quiet(
        "NGX098",
        "it was never sent",
        again(ORDERED, said=TIMED_OUT.replace("reading response header from", "connecting to")),
    ),
    fires("NGX008", "the site's name is the key, and nine are refused", refused(BY_SITE), "$server_name"),
    fires("NGX008", "a word is the key", refused(CONSTANT), "everybody"),
    fires("NGX008", "a map's only value is", refused(BY_MAP), "map $request_method"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize("site", [BY_SITE, CONSTANT, BY_MAP], ids=["site", "word", "map"])
def test_a_limit_for_all_is_called_so(site: str) -> None:
    finding = found(refused(site))["NGX008"]
    assert finding.summary is not None
    assert "same for all visitors" in finding.summary.en


@pytest.mark.parametrize("site", [BY_TOKEN, BY_BOTH, SITE], ids=["token", "site and address", "address"])
def test_a_limit_of_each_is_not(site: str) -> None:
    assert found(refused(site))["NGX008"].summary is None


def test_a_bound_of_the_whole_site_beside_a_limit_of_each_is_no_mistake() -> None:
    assert "zone=gte_api_ip burst=9; limit_req zone=gte_api burst" in BOUND
    finding = found(refused(BOUND))["NGX008"]
    assert finding.summary is None
    assert "$binary_remote_addr" not in str(finding.fix)


def _after(commands: list[str], text: str, number: int, file: Path) -> str:
    """Line ``number`` of a file with ``text`` there, once ``commands`` for it have run."""
    file.write_text("\n" * (number - 1) + text + "\n")
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["sed", "-i", "--follow-symlinks"]
        if words[3].startswith(f"{number}s"):
            subprocess.run([*words[:4], str(file)], check=True)
    return file.read_text().strip("\n")


def _sed(finding: Finding) -> list[str]:
    return [step for step in finding.fix or () if isinstance(step, str) and step.startswith("sed")]


def test_the_new_name_is_that_of_its_own_zone_alone(tmp_path: Path) -> None:
    commands = _sed(found(refused(BY_SITE))["NGX008"])
    number = next(n for n, line in enumerate(BY_SITE.splitlines(), 1) if "limit_req zone=gte_api " in line)
    zone = next(n for n, line in enumerate(BY_SITE.splitlines(), 1) if "limit_req_zone " in line)
    assert (
        _after(
            commands, 'limit_req zone=gte_api_ip; limit_req "zone=gte_api" burst=20;', number, tmp_path / "a"
        )
        == "limit_req zone=gte_api_ip; limit_req zone=gte_api_each burst=20;"
    )
    line = BY_SITE.splitlines()[zone - 1]
    made = _after(commands, line.replace("$server_name", '"$server_name"'), zone, tmp_path / "b")
    assert made == line.replace("$server_name", "$binary_remote_addr").replace("gte_api:", "gte_api_each:")


def test_a_limit_that_one_client_met_says_nothing_of_all() -> None:
    assert found(refused(BY_SITE, visitors=1))["NGX008"].summary is None


LOGIN = (
    "location = /check { internal; proxy_pass http://gte_backend; proxy_pass_request_body off;%s }"
    " location /reports { auth_request /check; proxy_pass http://gte_backend; }"
)
UNEXPECTED = (
    "*7 auth request unexpected status: 504 while sending to client, client: 192.0.2.7, server: gte-api.example.com,"
    ' request: "POST /reports HTTP/1.1", host: "gte-api.example.com"'
)


@pytest.mark.parametrize(
    ("more", "is_told"),
    [("", True), (' proxy_set_header Content-Length "";', False)],
    ids=["passed on", "emptied"],
)
def test_a_body_that_never_comes_is_told_of(more: str, is_told: bool) -> None:
    finding = found(beside(LOGIN % more, logs__nginx_errors=nginx_logs(entry(UNEXPECTED, ago=5))))["NGX060"]
    assert ("Content-Length" in str(finding.fix)) is is_told


OUTER = """proxy_set_header Host $host; proxy_set_header X-Name "a b; c"; proxy_set_header X-Empty "";"""


def test_headers_of_the_outer_level_are_repeated_as_nginx_reads_them(tmp_path: Path) -> None:
    snapshot = beside(f"{OUTER} {LOGIN % ''}", logs__nginx_errors=nginx_logs(entry(UNEXPECTED, ago=5)))
    commands = _sed(found(snapshot)["NGX060"])
    number = int(shlex.split(commands[0])[3].partition("s")[0])
    assert _after(commands, "proxy_pass_request_body off;", number, tmp_path / "a").endswith(
        f' {OUTER} proxy_set_header Content-Length "";'
    )


@pytest.mark.parametrize("value", ["***", "sk-***", r"a\b"], ids=["all", "a part", "a backslash"])
def test_no_command_writes_stars_over_a_secret(value: str) -> None:
    outer = f'proxy_set_header X-Api-Key "{value}";'
    snapshot = beside(f"{outer} {LOGIN % ''}", logs__nginx_errors=nginx_logs(entry(UNEXPECTED, ago=5)))
    finding = found(snapshot)["NGX060"]
    assert not _sed(finding)
    assert "as they are there" in str(finding.fix)


def test_files_are_found_by_what_users_asked_for() -> None:
    log = logged(
        NGINX_ACCESS_LOG,
        SCRIPT,
        answered("200", 1, path="/static/", method="GET"),
        answered("404", 1, path="/static/b.js", method="GET"),
    )
    place = PackedPlace("/static/", "/srv/static/", replaces=True)
    assert asked_files((place,), log) == {
        "/static/app.js": "/srv/static/app.js",
        "/static/": "/srv/static/index.html",
    }


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("订单".encode(), "utf-8"),
        ("订单已提交，请稍候".encode("gbk"), "gb18030"),
        ("订单已提交".encode() * 9 + b"\xb5\xa5", ""),
        ("ご注文ありがとうございます".encode("shift_jis") + b" ", "other or none"),
        ("ご注文ありがとうございます".encode("euc_jp"), "other"),
        ("訂單已經提交，請稍候".encode("big5"), "other or none"),
        ("주문이 접수되었습니다".encode("euc_kr"), "other"),
        (b"orders", ""),
        ("\ufeff订单".encode(), ""),
        (b"\xff\xff\xff", ""),
    ],
    ids=[
        "utf-8",
        "gbk",
        "damaged",
        "shift jis",
        "euc-jp",
        "big5",
        "euc-kr",
        "ascii",
        "byte order mark",
        "neither",
    ],
)
def test_the_encoding_is_told_by_the_bytes(tmp_path: Path, content: bytes, encoding: str) -> None:
    file = tmp_path / "index.html"
    file.write_bytes(content)
    found = [text.encoding for text in text_files({"/": str(file)})]
    assert found in ([[], ["other"]] if encoding == "other or none" else [[encoding] if encoding else []])


@pytest.mark.parametrize(("encoding", "converts"), [("gb18030", True), ("other", False)])
def test_only_chinese_is_converted_from_gbk(encoding: str, *, converts: bool) -> None:
    finding = found(sent_as("charset utf-8;", encoding=encoding))["NGX095"]
    assert ("iconv" in str(finding.fix)) is converts


@pytest.mark.parametrize("written", ["/static", '"/static"'], ids=["bare", "quoted"])
def test_the_slash_is_put_behind_a_quoted_prefix_too(tmp_path: Path, written: str) -> None:
    finding = found(files(f"location {written} {{ alias /srv/static/; }}"))["NGX097"]
    commands = _sed(finding)
    number = int(shlex.split(commands[0])[3].partition("s")[0])
    assert _after(commands, f"location {written} {{", number, tmp_path / "a") == "location /static/ {"


def test_no_command_takes_a_trusted_proxy_away() -> None:
    assert not _sed(found(believed(EVERYBODY + INSIDE))["NGX072"])


@pytest.mark.parametrize("replaced", [True, False], ids=["another is there", "none is"])
def test_a_file_is_held_if_another_took_its_place(tmp_path: Path, *, replaced: bool) -> None:
    file = tmp_path / "app.js"
    file.write_text("old")
    with file.open():
        file.unlink()
        if replaced:
            file.write_text("new")
        held = held_files({"/app.js": str(file)}, (os.getpid(),))
    assert [item.path for item in held] == ([str(file)] if replaced else [])
