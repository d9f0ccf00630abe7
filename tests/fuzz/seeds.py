"""What a target's input is made of: whole examples, and the pieces its language has."""

# ruff: noqa: E501  the examples are as long as they are

from __future__ import annotations

import gzip
import io
import tarfile
from functools import cache

import msgspec

from ops.archive import manifest as manifests
from tests.unit.archive.made_archive import directory, file, link, manifest
from tests.unit.made_snapshot import HEALTHY, SITE

KEY = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAB\n-----END PRIVATE KEY-----\n"
NGINX = b"events {}\nhttp {\n" + SITE.encode() + b"\n}\n"
GUNICORN = b"""import multiprocessing
bind = "127.0.0.1:8000"
workers = multiprocessing.cpu_count() * 2 + 1
if workers > 4:
    workers = 4
elif x:
    pass
accesslog = f"/var/log/{name}.log"
"""
LOG = rb"""2026/11/22 10:59:00 [error] 7#7: *1 connect() failed (111: Connection refused) while connecting to upstream, client: 1.2.3.4, server: gte-api.example.com, request: "POST /predict HTTP/1.1", upstream: "http://127.0.0.1:8000/predict"
[2026-11-22 10:59:00 +0000] [7] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/root/build/app.py", line 3, in <module>
ModuleNotFoundError: No module named 'torch'
1.2.3.4 - - [22/Nov/2026:10:59:00 +0000] "GET /a?token=x HTTP/1.1" 502 157 "-" "curl/8"
{"time": 1795344000, "level": "error", "message": "x", "status": 502, "pid": 7}
password=x Authorization: Bearer abcdefghij cookie: a=b
"""
ANSWER = b"""HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json; charset="utf-8"\r\nLocation: /x\r\nSet-Cookie: a=b
Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\n{"a":\r\n0\r\n\r\n"""
SCHEDULES = b"""*/5 * * * * root cd /x && certbot renew -q
[Timer]\nOnCalendar=daily\n[Service]\nExecStart=/x \\\n  y
/var/log/nginx/*.log { daily\nrotate 7\npostrotate\nkill -USR1 1\nendscript\n}
archive_dir = /etc/letsencrypt/archive/a\n[renewalparams]\nautorenew = True
2026-11-22 10:00:00,123:DEBUG:certbot._internal.renewal:Processing /etc/letsencrypt/renewal/a.conf
Failed to renew certificate a with error: x
Detail: y
  /etc/letsencrypt/live/a/fullchain.pem (failure)
"""


@cache
def _manifest() -> bytes:
    entries = (directory("etc"), file("etc/a", b"a"), link("etc/b", "a"), link("etc/c", "/etc/b/../c"))
    return manifests.encode(manifest(*entries))


@cache
def _archive() -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        head = tarfile.TarInfo(manifests.MANIFEST_NAME)
        head.size = len(_manifest())
        tar.addfile(head, io.BytesIO(_manifest()))
    return gzip.compress(plain.getvalue(), mtime=0)


def _bundle() -> bytes:
    return msgspec.json.encode({"bundle_version": 2, "made_by": "x", "snapshot": HEALTHY})


@cache
def examples(target: str) -> tuple[bytes, ...]:
    """Whole inputs, each of its own kind."""
    return {
        "nginx_configuration": (NGINX,),
        "nginx_build": (
            b"nginx version: nginx/1.22.1\nconfigure arguments: --prefix=/x --with-cc-opt='-g' --a=\"b\n",
        ),
        "logs": (LOG,),
        "recent_log_lines": (LOG,),
        "gunicorn_configuration": (GUNICORN,),
        "progress_record": (
            b'{"pid": 1, "start_ticks": 1, "phase": "x", "completed": 1, "in_flight": [{"path": "/", "since": 1}]}',
            b"123\n",
        ),
        "pem": (KEY, b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        "http_answer": (
            ANSWER,
            b"HTTP/1.1 301 M\r\nLocation: //x\r\n\r\n",
            b'HTTP/1.0 200 \r\n\r\n{"result": [1]}',
        ),
        "bundle": (_bundle(),),
        "changed_bundle": (b"\0\1\2\3" * 3, b"\1\0\x90\3"),
        "manifest": (_manifest(),),
        "archive": (_archive(),),
        "archive_name": (b"gte-ops-host-20261122T224500Z-2.tar.zst.age",),
        "schedules": (SCHEDULES,),
    }[target]


PIECES: dict[str, tuple[bytes, ...]] = {
    "nginx_configuration": tuple(
        b"http {,server {,location / {,location ~ (a+)+$ {,},;,include nginx.conf;,include *;,include /dev/zero;,"
        b"upstream a {,proxy_pass http://$x;,proxy_pass http://[::1]:8;,listen [::]:443 ssl;,map $http_a $x {,set $x ,"
        b"server_name ~^(a|a)+$;,if ($a ~ \",ssl_certificate data:;,error_log syslog:;,${,\\,\",',#,\n,\xff,\0,a".split(b",")
    ),
    "gunicorn_configuration": tuple(
        b"x=[x,x]\n|x=x+x\n|x=f'{x}{x}'\n|x=|[|(|elif x: pass\n|if x: pass\n|-|'|\"\"\"|1,|x,|lambda:|\\|\0|\xff|{|:".split(b"|")
    ),
    "logs": (b"a-", b"a_", b"[", b'"', b'\\"', b'{"a":', b"password", b"://a:", b"\x1b]", b"-----BEGIN PRIVATE KEY-----",
             b'File "', b"Traceback (most recent call last)\n", b" ", b"\n", b"\xff", b"9", b"cookie: ", b"?a"),
    "pem": (b"-----BEGIN PRIVATE KEY-----\n", b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n",
            b"-----BEGIN ", b"-----END PRIVATE KEY-----", b"-----", b"MIIB", b"=", b" ", b"A "),
    "http_answer": (b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", b" b\r\n", b"Content-Type: a;", b'";', b"\r\n",
                    b"1\r\n", b"ffffffff\r\n", b"{", b"[", b"xn--", b"\xff", b"Transfer-Encoding: chunked\r\n",
                    b"Content-Type: text/html; charset=punycode\r\n", b"Content-Length: ", b"9"),
    "bundle": (b"{", b"[", b'"', b"}", b"1e999", b"9", b'"bundle_version": 1', b",", b"\x1f\x8b"),
    "manifest": (b"{", b"[", b'"', b"../", b"a/", b"9", b",", b"null"),
    "schedules": (b" ", b"a=", b"\\\n", b"{", b"}", b"Processing /renewal/", b"/renewal/", b"run-parts ", b"-a ", b"\t", b"%", b"[",
                  b"Failed to renew certificate ", b"/live/", b"'", b'"', b"\n", b"*"),
}  # fmt: skip
PIECES["recent_log_lines"] = PIECES["logs"]


def pieces(target: str) -> tuple[bytes, ...]:
    """What the input's language is made of, and what is known to hurt."""
    return PIECES.get(target, (b"\0", b"\xff", b"9", b"-", b"a"))
