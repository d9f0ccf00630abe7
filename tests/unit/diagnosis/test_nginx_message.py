"""What an error of `nginx -t` asks for: the place, what to do there, and no number of nginx's process."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from ops.collect.services import nginx
from ops.collect.services.nginx import parse_config
from ops.diagnosis.nginx_duplicates import first_declaration
from ops.diagnosis.nginx_message import advice, without_process
from ops.facts.nginx import NginxConfig, NginxTest
from ops.text.language import Text

MAIN = "/etc/nginx/nginx.conf"
SITE = "/etc/nginx/conf.d/gte-api.conf"


@pytest.mark.parametrize(
    ("message", "file", "en", "zh"),
    [
        (
            '22030#22030: "limit_req_zone" directive is not allowed here',
            SITE,
            f"Move {SITE}, line 31 (limit_req_zone …) out of server {{ }}, to the top of the file",
            f"把 {SITE} 第 31 行（limit_req_zone …）移出 server {{ }}，放到文件开头",
        ),
        ('"user" directive is not allowed here', SITE, "outside of every block", "所有块之外"),
        ('unknown directive "porxy_pass"', SITE, "porxy_pass: correct its spelling", "改正拼写"),
        ('directive "listen" is not terminated by ";"', SITE, "end the directive listen with ;", "结尾的 ;"),
        ('host not found in upstream "api.internal:80"', SITE, "does not resolve", "解析不了"),
        (
            'open() "/etc/nginx/mime.typ" failed (2: No such file or directory)',
            MAIN,
            "does not exist",
            "不存在",
        ),
        (
            "something that nobody has seen",
            SITE,
            f"Correct {SITE}, line 31: something",
            f"修改 {SITE} 第 31 行",
        ),
    ],
)
def test_the_sentence_says_what_to_do_and_where(message: str, file: str, en: str, zh: str) -> None:
    words = advice(message, file, "31", MAIN)
    assert en in words.en
    assert zh in words.zh
    assert not re.search(r"\d+#\d+", words.en + words.zh)


# A site's file by what is wrong with it, and what nginx itself says of it.
BROKEN = {
    "server { limit_req_zone $x zone=a:1m rate=1r/s; }": "out of server { }, to the top of the file",
    "server { worker_processes 2; }": "to the top of nginx.conf",
    "server { lissten 80; }": "this nginx knows no directive lissten",
    "server { listen 127.0.0.1:1 }": "is not expected there",
    "server { listen 127.0.0.1:1": "the file ends before",
    "server { listen 127.0.0.1:1;": "the file ends before its last block is closed",
    "server { } }": "is not expected there",
    "server { listen; }": "listen has too few or too many values",
    "server { root /a; root /b; }": "root is there twice in this block",
    "server { location /a { } location /a { } }": "location /a is there twice",
    "upstream a { server 127.0.0.1:1; } upstream a { server 127.0.0.1:1; }": "upstream a is defined twice",
    "server { location / { proxy_pass http://nowhere.invalid; } }": "nowhere.invalid does not resolve",
    "server { return 200 $nothing; }": "nginx has no variable $nothing: correct its name, or bring over the map",
    "server { access_log /tmp/x nosuch; }": "no log_format nosuch is defined",
    "server { include /nonexistent/x.conf; }": "/nonexistent/x.conf does not exist",
    "server { limit_req zone=absent; }": "the zone absent is used and defined nowhere",
    "server { listen 127.0.0.1:1 sll; }": "sll is no value that it takes",
    "log_format a x; log_format a y;": "log_format a is defined twice",
    "map $uri $x { a 1; a 2; }": "a is there twice in this block",
}


@pytest.mark.parametrize(("text", "expected"), BROKEN.items(), ids=BROKEN.values())
def test_what_the_real_nginx_says_is_understood(tmp_path: Path, text: str, expected: str) -> None:
    site, main = tmp_path / "site.conf", tmp_path / "nginx.conf"
    site.write_text(text + "\n")
    main.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log;\nevents {{ }}\nhttp {{ include {site}; }}\n"
    )
    output = subprocess.run(
        ["nginx", "-t", "-c", str(main)], capture_output=True, text=True, timeout=20, check=False
    ).stderr
    line = next(line for line in output.splitlines() if "[emerg]" in line).partition("] ")[2]
    where = re.search(r" in (\S+):(\d+)$", line)
    message, number = (line[: where.start()], where[2]) if where else (line, None)
    assert expected in advice(message, where[1] if where else str(main), number, str(main)).en, line


# A directive that is unknown for what is in the file, and what is said of it; the last: what must not be.
UNKNOWN = (
    ("\ufeffproxy_pass http://127.0.0.1:1;", "beside proxy_pass", r"s/\xEF\xBB\xBF//g", "PCRE"),
    ("\u200bserver { }", "a zero-width space", r"s/\xE2\x80\x8B//g", "BOM"),
    ("gzip\u00a0on;", "a no-break space", r"s/\xC2\xA0/ /g", "in quotes"),
    ("server\u3000{ }", "full-width", r"s/\xE3\x80\x80/ /g", "BOM"),
    ("\u2060tyypo on;", "beside tyypo", "U+2060", "BOM"),
    ('"gzip on";', "gzip on for one word", "in quotes", "not shown"),
    (
        "log_format a '$remote_addr'; '$status $body_bytes_sent \"$http_referer\"';",
        "$status $body",
        "too early",
        "not shown",
    ),
    ("'$status';", "the text $status", "too early", "not shown"),
    ("' gezip on ';", "the text gezip on", "begins", "not shown"),
    ("server { lissten 80; }", "lissten", "correct its spelling", "not shown"),
)


@pytest.mark.parametrize(("text", "said", "more", "never"), UNKNOWN, ids=lambda value: ascii(value)[:40])
def test_only_a_character_that_is_not_shown_is_called_one(
    tmp_path: Path, text: str, said: str, more: str, never: str
) -> None:
    site, main = tmp_path / "site.conf", tmp_path / "nginx.conf"
    site.write_text(text + "\n", "utf-8")
    main.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log;\nevents {{ }}\nhttp {{ include {site}; }}\n"
    )
    config = parse_config(str(main), str(tmp_path), None, None)
    assert isinstance(config, NginxConfig)
    config = msgspec.structs.replace(config, binary=shutil.which("nginx"), distrusted=None)
    tested = nginx.test_config(config, {}, 20)
    assert isinstance(tested, NginxTest)
    line = next(line for line in tested.lines if "[emerg]" in line).partition("] ")[2]
    where = re.search(r" in (\S+):(\d+)$", line)
    message = line[: where.start()] if where else line
    words = advice(message, str(site), "1", str(main))
    assert (said in words.en, more in words.en, never in words.en) == (True, True, False), (line, words.en)
    if " -i " in words.en:
        subprocess.run(["sh", "-c", words.zh.partition("：")[2].rpartition("：")[2]], check=True)
        assert site.read_text("utf-8").isascii()


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("rewrite", "rewrite"),
        ("ssl_certificate", "ssl"),
        ("gzip", "gzip"),
        ("allow", "access"),
        ("http2", "v2"),
    ],
)
def test_a_directive_of_a_module_that_the_build_lacks_is_said_as_that(name: str, module: str) -> None:
    words = advised(f'unknown directive "{name}"')
    assert f"ngx_http_{module}_module" in words.en
    assert f"ngx_http_{module}_module" in words.zh
    assert "not shown" not in words.en
    assert "load the module" in advised(f'unknown directive "{name}s"').en


# Each line by itself; the first and the second of the pair stand in the lines that are given.
TWICE = (
    (("server {{ listen {A} default_server; }}", "server {{ listen {A} default_server; }}"), 1),
    (("server {{ listen 8801 default_server; }}", "server {{ listen *:8801 default_server; }}"), 1),
    (
        (
            "server {{ listen [::1]:{P}; listen {A} default_server; }}",
            "server {{ listen [::1]:{P} default_server; server_name a; }}",
            "server {{ listen [::1]:{P} default_server; server_name b; }}",
        ),
        2,
    ),
    (
        (
            "server {{ listen unix:{D}/s default_server; }}",
            "server {{ listen unix:{D}/s default_server; }}",
        ),
        1,
    ),
    (("server {{ listen {A} backlog=9; }}", "server {{ listen {A} backlog=8; }}"), 1),
    (("server {{", "listen {A};", "server_name a;", "listen {A} ssl; }}"), 2),
    (("upstream a {{ server 127.0.0.1:1; }}", "upstream a {{ server 127.0.0.1:1; }}"), 1),
    (("log_format a x;", "", "log_format a y;"), 1),
    (
        (
            "limit_req_zone $binary_remote_addr zone=a:1m rate=1r/s;",
            "limit_req_zone $uri zone=a:1m rate=1r/s;",
        ),
        1,
    ),
    (
        ("proxy_cache_path {D}/a keys_zone=b:1m;", "", "proxy_cache_path {D}/b levels=1 keys_zone=b:1m;"),
        1,
    ),
    (("server {{ root /x; }}", "server {{", "root /a;", "location / {{ root /c; }}", "root /b; }}"), 3),
    (
        (
            "server {{ location /a {{ }} }}",
            "server {{",
            "location /a {{ }}",
            "location = /a {{ }}",
            "location /a {{",
            "return 204; }} }}",
        ),
        3,
    ),
    (("map $uri $y {{ a 1; }} map $uri $x {{", "a 1;", "b 2;", "a 3; }}"), 2),
    (("map $uri $x {{", "default 1;", "b 2;", "default 3; }}"), 2),
)


@pytest.mark.parametrize(("lines", "first"), TWICE, ids=lambda value: str(value)[:60])
def test_of_what_is_there_twice_the_first_is_named_too(
    tmp_path: Path, lines: tuple[str, ...], first: int
) -> None:
    """The real nginx names the second place alone."""
    site, main = tmp_path / "site.conf", tmp_path / "nginx.conf"
    names = {"A": "127.0.0.1:8802", "P": "8803", "D": str(tmp_path)}
    site.write_text("".join(f"{line.format(**names)}\n" for line in lines))
    main.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log;\nevents {{ }}\nhttp {{ include {site}; }}\n"
    )
    printed = subprocess.run(
        ["nginx", "-t", "-c", str(main)], capture_output=True, text=True, timeout=20, check=False
    ).stderr
    line = next(line for line in printed.splitlines() if "[emerg]" in line).partition("] ")[2]
    where = re.search(r" in (\S+):(\d+)$", line)
    assert where is not None
    config = parse_config(str(main), str(tmp_path), None, None)
    assert isinstance(config, NginxConfig)
    message = without_process(line[: where.start()])
    other = first_declaration(config, message, where[1], int(where[2]))
    assert other is not None, line
    assert (other.file, other.line) == (str(site), first), line


def test_the_number_of_a_connection_goes_with_the_process() -> None:
    assert without_process("12#12: *7 open() failed") == "open() failed"


def advised(message: str) -> Text:
    return advice(message, "/etc/nginx/site.conf", "3", "/etc/nginx/nginx.conf")


@pytest.mark.parametrize(
    ("name", "package"),
    [("brotli_static", "brotli"), ("more_set_headers", "headers-more"), ("content_by_lua_block", "http-lua")],
)
def test_a_directive_of_a_module_names_its_package(name: str, package: str) -> None:
    text = advised(f'unknown directive "{name}"')
    assert package in text.en
    assert "load_module" in text.en
    assert package in text.zh


def test_a_hash_that_is_too_small_is_doubled() -> None:
    one = advised("could not build server_names_hash, you should increase server_names_hash_bucket_size: 64")
    assert "server_names_hash_bucket_size 128;" in one.en
    two = advised(
        "could not build the types_hash, you should increase either types_hash_max_size: 1024 or"
        " types_hash_bucket_size: 32"
    )
    assert "types_hash_max_size 2048; types_hash_bucket_size 64;" in two.zh


@pytest.mark.parametrize(("reason", "words"), [("ee key too small", "2048"), ("ca md too weak", "SHA-1")])
def test_a_certificate_that_openssl_refuses_says_why(reason: str, words: str) -> None:
    text = advised(
        f'SSL_CTX_use_certificate("/c/full.pem") failed (SSL: error:0A00018F:SSL routines::{reason})'
    )
    assert "/c/full.pem" in text.en
    assert words in text.en
    assert words in text.zh
