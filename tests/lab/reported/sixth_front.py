"""A sixth collection, of what stands before the service: rebuilt from public reports before the doctor was asked about
any of it."""

from __future__ import annotations

import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta

import dns.message
import dns.query
from cryptography import x509

from tests.lab.applications import FASTAPI, UVICORN_WORKER
from tests.lab.authority import write_lineage
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import meets
from tests.lab.faults.tls import (
    demands_and_gets_nothing,
    in_days,
    member_is_refused,
    must_staple,
    want_listed_clients,
)
from tests.lab.reported.case import Kind, add_location, healthy, report
from tests.lab.reported.users import always
from tests.lab.stack import Stack

LOCATION = "    location / {\n        limit_req"
HOST = "proxy_set_header Host $host;"
ITEMS_APP = PLAIN_APP + (
    """
@app.get("/items")
def items():
    return jsonify(items=[])
"""
)


def _in_server(stack: Stack, lines: str) -> None:
    stack.edit(stack.site_file, LOCATION, f"    {lines}\n{LOCATION}")


def _context(stack: Stack) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(stack.ca_file))


# --- what nginx sends to the client -----------------------------------------------------------------------------------

TYPES = "    types { text/html html htm; }\n"


@report(
    Kind.PART,
    "hestiacp/hestiacp#2007",
    sees=lambda stack: (
        {stack.request(path="/static/app.css").content_type for _ in range(5)} == {"application/octet-stream"}
    ),
    repair=lambda stack: stack.edit(stack.site_file, TYPES, ""),
    codes=(),
    says=("app.css", "types", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def types_of_the_site_replace_all_others(stack: Stack) -> None:
    """vite-pwa/docs#12, owncloud/documentation#2053: browsers refuse a style sheet that is called something else."""
    static = stack.directory / "static"
    static.mkdir()
    (static / "app.css").write_text("body {}\n")
    _in_server(stack, f"location /static/ {{ alias {static}/; }}\n{TYPES}")


GZIP_APP = PLAIN_APP.replace(
    "from flask import Flask, jsonify", "import gzip\nfrom flask import Flask, jsonify, request"
) + (
    """
@app.after_request
def compress(answer):
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        answer.set_data(gzip.compress(answer.get_data()))
        answer.headers["Content-Encoding"] = "gzip"
    return answer
"""
)
WANTS_GZIP = "        proxy_set_header Accept-Encoding gzip;\n"


@report(
    Kind.PART,
    "openresty/lua-nginx-module#984",
    sees=lambda stack: stack.predict().headers.get("Content-Encoding") == "gzip",
    repair=lambda stack: stack.edit(stack.site_file, WANTS_GZIP, ""),
    codes=(),
    says=("Accept-Encoding", "gzip", "gte-api.conf:"),
    app=GZIP_APP,
    layout="guide",
)
def gzip_is_asked_for_in_the_client_s_name(stack: Stack) -> None:
    """esp-link#396: nginx asks for gzip whatever the client takes, and hands on what comes."""
    stack.edit(stack.site_file, f"        {HOST}", f"{WANTS_GZIP}        {HOST}")


ORIGIN = "add_header Access-Control-Allow-Origin https://shop.example always;"
NO_STORE = "add_header Cache-Control no-store;"


def _may_not_ask(stack: Stack) -> bool:
    answers = [stack.request(path="/items", headers={"Origin": "https://shop.example"}) for _ in range(5)]
    return all(
        answer.status == 200 and not answer.headers["Access-Control-Allow-Origin"] for answer in answers
    )


@report(
    Kind.PART,
    "zulip/zulip#17562",
    sees=_may_not_ask,
    repair=lambda stack: stack.edit(stack.site_file, NO_STORE, f"{NO_STORE} {ORIGIN}"),
    codes=(),
    says=("Access-Control-Allow-Origin", "/items", "add_header", "gte-api.conf:"),
    app=ITEMS_APP,
    layout="guide",
)
def leave_to_ask_is_not_inherited(stack: Stack) -> None:
    """PeerTube#5232, docker-thumbor#82: one add_header in a location, and all those above it are gone."""
    _in_server(stack, f"{ORIGIN}\n    location /items {{ proxy_pass http://gte_backend; {HOST} {NO_STORE} }}")


PROFILE_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.get("/profile")
def profile():
    answer = jsonify(user=request.headers.get("Authorization", "nobody"))
    answer.headers["Cache-Control"] = "private"
    answer.set_cookie("session", "s")
    return answer
"""
)
IGNORED = "        proxy_ignore_headers Set-Cookie Cache-Control;\n"


def _is_taken_for_alice(stack: Stack) -> bool:
    for name in ("alice", "alice", "bob", "bob", "bob"):
        answer = stack.request(path="/profile", headers={"Authorization": f"Bearer {name}"})
    return bool(answer.status == 200 and answer.json()["user"] == "Bearer alice")


def _empty_the_cache(stack: Stack) -> None:
    for entry in (stack.directory / "cache").iterdir():
        entry.unlink()
    stack.edit(stack.site_file, IGNORED, "")


@report(
    Kind.PART,
    "NginxProxyManager/nginx-proxy-manager#4423",
    sees=_is_taken_for_alice,
    repair=_empty_the_cache,
    codes=(),
    says=("/profile", "proxy_ignore_headers", "gte-api.conf:"),
    app=PROFILE_APP,
    layout="guide",
)
def page_of_the_first_user_is_given_to_all(stack: Stack) -> None:
    """nextcloud/server#40863, engintron#133: the service says that it is private, and nginx was told not to listen."""
    zone = f"proxy_cache_path {stack.directory}/cache keys_zone=pages:1m;"
    upstream = "upstream gte_backend {"
    stack.edit(stack.site_file, upstream, f"{zone}\n{upstream}", apply=False)
    add_location(
        stack,
        "location /profile {\n        proxy_pass http://gte_backend;\n        proxy_cache pages;\n"
        f"        proxy_cache_valid 200 10m;\n{IGNORED}    }}",
    )


# --- where nginx sends it ---------------------------------------------------------------------------------------------

CONDITION = "if ($http_origin) { add_header Access-Control-Allow-Origin $http_origin; }"


def _files_before_the_service(stack: Stack, first: str) -> None:
    """Files in a directory come first, and what is none of them is the service's."""
    public = stack.directory / "public"
    public.mkdir()
    (public / "robots.txt").write_text("User-agent: *\n")
    lines = f"    root {public};\n    location / {{ {first} }}\n    location @service {{\n"
    stack.edit(stack.site_file, LOCATION, f"{lines}        limit_req")


def _from_another_page(stack: Stack) -> bool:
    asked = {"Origin": "https://shop.example"}
    statuses = {stack.request(path="/items", headers=asked).status for _ in range(5)}
    return statuses == {404} and stack.request(path="/items").status == 200


@report(
    Kind.ROUTING,
    "monsur/enable-cors.org#95",
    sees=_from_another_page,
    repair=lambda stack: stack.edit(stack.site_file, CONDITION, ""),
    codes=(),
    says=("/items", "try_files", "if ", "gte-api.conf:"),
    app=ITEMS_APP,
    layout="guide",
)
def condition_leaves_try_files_out(stack: Stack) -> None:
    """docker-nginx-react#8, cryptpad#452: a condition is a location of its own, and has no try_files."""
    _files_before_the_service(stack, f"{CONDITION} try_files $uri @service;")


CONTACT_APP = PLAIN_APP + (
    """
@app.route("/contact", methods=["GET", "POST"])
def contact():
    return jsonify(sent=True)
"""
)


@report(
    Kind.ROUTING,
    "JosephSilber/page-cache#46",
    sees=lambda stack: always(stack, "/contact", 405, method="POST"),
    repair=lambda stack: stack.edit(
        stack.site_file,
        "try_files $uri.html @service;",
        "error_page 405 = @service; try_files $uri.html @service;",
    ),
    codes=(),
    says=("POST", "/contact", "405", "try_files", "gte-api.conf:"),
    app=CONTACT_APP,
    layout="guide",
)
def form_is_sent_to_the_page_that_is_kept(stack: Stack) -> None:
    """unleash#94, forkcms#2893: the page is there as a file, and nginx takes no POST to a file."""
    _files_before_the_service(stack, "try_files $uri.html @service;")
    (stack.directory / "public" / "contact.html").write_text("<form method=post>\n")


FETCH_APP = PLAIN_APP + (
    """
app.url_map.merge_slashes = False

@app.get("/fetch/<path:url>")
def fetch(url):
    if not url.startswith("https://"):
        return jsonify(error="no such scheme"), 400
    return jsonify(fetched=url)
"""
)


@report(
    Kind.ROUTING,
    "flyimg/flyimg#190",
    sees=lambda stack: always(stack, "/images/fetch/https://m.example/a.jpg", 400),
    repair=lambda stack: stack.edit(stack.site_file, LOCATION, f"    merge_slashes off;\n{LOCATION}"),
    codes=(),
    says=("/images/", "merge_slashes", "gte-api.conf:"),
    app=FETCH_APP,
    layout="guide",
)
def two_slashes_become_one(stack: Stack) -> None:
    """crowi#168, MinimalCompact/thumbor#21: an address within the path loses one of its slashes."""
    add_location(stack, "location /images/ { proxy_pass http://gte_backend/; }")


SILENT_APP = FASTAPI + (
    """

from fastapi import WebSocket


@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    while True:
        await socket.receive_text()
"""
)
HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: bGFiIGxhYiBsYWIgbGFiLg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def _is_cut_off(stack: Stack) -> bool:
    """Whether a websocket that says nothing is ended within four seconds."""
    with (
        socket.create_connection(stack.https, 4) as raw,
        _context(stack).wrap_socket(raw, server_hostname=stack.domain) as client,
    ):
        client.sendall(HANDSHAKE.format(stack.domain).encode())
        assert client.recv(4096).split()[1] == b"101"
        with contextlib.suppress(TimeoutError):
            return client.recv(4096) == b""
    return False


@report(
    Kind.PART,
    "websockets/ws#2283",
    sees=lambda stack: all(_is_cut_off(stack) for _ in range(3)),
    repair=lambda stack: stack.edit(stack.site_file, "proxy_read_timeout 1s;", "proxy_read_timeout 1h;"),
    codes=(),
    says=("/ws", "proxy_read_timeout", "gte-api.conf:"),
    app=SILENT_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def websocket_is_cut_when_nothing_is_said(stack: Stack) -> None:
    """pixiu#1056, MQTT.js#1010: nginx ends a connection on which the service says nothing for a while."""
    add_location(
        stack,
        "location /ws {\n        proxy_pass http://gte_backend;\n        proxy_http_version 1.1;\n"
        "        proxy_set_header Upgrade $http_upgrade;\n        proxy_set_header Connection upgrade;\n"
        f"        {HOST}\n        proxy_read_timeout 1s;\n    }}",
    )


RATES_APP = PLAIN_APP + (
    """
@app.get("/partner/rates")
def rates():
    return jsonify(rates=[])
"""
)


def _ask_the_right_one(stack: Stack) -> None:
    text = stack.site_file.read_text()
    wrong = text.partition("resolver ")[2].partition(" ")[0]
    stack.edit(stack.site_file, f"resolver {wrong} ", f"resolver {stack.address}:{stack.ports['dns']} ")


@report(
    Kind.ROUTING,
    "jointakahe/takahe#501",
    sees=lambda stack: always(stack, "/partner/rates", 502, times=3),
    repair=_ask_the_right_one,
    codes=(),
    says=("/partner/rates", "could not be resolved", "resolver", "gte-api.conf:"),
    app=RATES_APP,
    layout="guide",
)
def nginx_asks_a_name_server_that_is_not_there(stack: Stack) -> None:
    """hypothesis/via#416, nginx-google-oauth#4: the host resolves by another name server than its nginx."""
    add_location(
        stack,
        f"location /partner/ {{\n        resolver {stack.address}:{stack.free_port()} ipv6=off;\n"
        f"        resolver_timeout 1s;\n        set $partner partner.{stack.domain};\n"
        f"        proxy_pass http://$partner:{stack.ports['backend']};\n    }}",
    )


# --- how clients come -------------------------------------------------------------------------------------------------


def _comes_in_the_clear(stack: Stack) -> bool:
    answers = [stack.client.request(stack.https, "GET", "/items", tls=False) for _ in range(8)]
    return {answer.status for answer in answers} == {400}


@report(
    Kind.PART,
    "SoylentNews/slashcode#156",
    sees=_comes_in_the_clear,
    repair=lambda stack: stack.edit(
        stack.site_file, LOCATION, f"    error_page 497 https://$host$request_uri;\n{LOCATION}"
    ),
    codes=(),
    says=("/items", "plain HTTP", "497"),
    app=ITEMS_APP,
    layout="guide",
)
def balancer_speaks_plainly_to_the_port_for_https(_stack: Stack) -> None:
    """h5bp/server-configs-nginx#65, konoha#49: TLS ends at the balancer, which goes on to this host's port 443."""


@report(
    Kind.START,
    "fxxqq/6fedcom.github.io#50",
    sees=meets("refused"),
    repair=lambda stack: _write_shop(stack, "utf-8"),
    codes=("NGX003", "NGX002"),
    says=("shop.conf:1", "BOM"),
    app=PLAIN_APP,
    layout="guide",
)
def editor_put_a_mark_before_the_first_word(stack: Stack) -> None:
    """awsdocs/aws-elastic-beanstalk-developer-guide#94, nginx-formatter#27: saved as "UTF-8 with BOM"."""
    stack.stop_nginx()
    _write_shop(stack, "utf-8-sig")


def _write_shop(stack: Stack, encoding: str) -> None:
    text = (
        f"server {{ listen {stack.address}:{stack.ports['http']}; server_name shop.example; return 404; }}\n"
    )
    (stack.nginx_dir / "conf.d" / "shop.conf").write_text(text, encoding=encoding)
    if encoding == "utf-8":
        stack.start_nginx()
    else:
        stack.try_to_start_nginx()


# --- certificates -----------------------------------------------------------------------------------------------------


def _publish_the_next_list(stack: Stack) -> None:
    (stack.directory / "clients.crl.next").replace(stack.directory / "clients.crl.pem")
    stack.reload_nginx()


@report(
    Kind.CERTIFICATE,
    "square/certstrap#96",
    sees=member_is_refused,
    repair=_publish_the_next_list,
    codes=(),
    says=("ssl_crl", "clients.crl.pem", "expired"),
    app=PLAIN_APP,
    layout="guide",
)
def list_of_revoked_certificates_has_run_out(stack: Stack) -> None:
    """Tongsuo#613, openvpn-install#78: nobody published a new one, and every client's certificate is refused."""
    want_listed_clients(stack)


def _issue_the_usual_one(stack: Stack) -> None:
    stack.replace_certificate()


@report(
    Kind.CERTIFICATE,
    "QROkes/webinoly#43",
    sees=demands_and_gets_nothing,
    repair=_issue_the_usual_one,
    codes=(),
    says=("staple", "ssl_stapling"),
    app=PLAIN_APP,
    layout="guide",
)
def certificate_demands_a_stapled_answer(stack: Stack) -> None:
    """acme.sh#2357, opnsense/plugins#2367: Firefox refuses it, and no other browser does."""
    write_lineage(stack.letsencrypt, stack.domain, must_staple(stack), version=2)
    stack.reload_nginx()


def _ends_within(stack: Stack, days: int) -> bool:
    with (
        socket.create_connection(stack.https, 5) as raw,
        _context(stack).wrap_socket(raw, server_hostname=stack.domain) as client,
    ):
        served = x509.load_der_x509_certificate(client.getpeercert(binary_form=True) or b"")
    return served.not_valid_after_utc < datetime.now(UTC) + timedelta(days=days)


def _renew_by_the_directory(stack: Stack) -> None:
    stack.replace_certificate()
    renewal = stack.letsencrypt / "renewal" / f"{stack.domain}.conf"
    renewal.write_text(renewal.read_text() + f"webroot_path = {stack.challenges},\n")


@report(
    Kind.CERTIFICATE,
    "tomeshnet/ipfs-live-streaming#105",
    sees=lambda stack: _ends_within(stack, 12),
    repair=_renew_by_the_directory,
    codes=("TLS002", "TLS011", "TLS024"),
    says=("standalone", "gte.lab.example.conf", "webroot"),
    app=PLAIN_APP,
    layout="guide",
)
def renewal_wants_the_port_that_nginx_holds(stack: Stack) -> None:
    """docker-openwisp#179, certbot#1370: it was issued before nginx was there, by a server of certbot's own."""
    stack.replace_certificate(not_before=in_days(-80), not_after=in_days(10))
    renewal = stack.letsencrypt / "renewal" / f"{stack.domain}.conf"
    text = renewal.read_text().replace("authenticator = webroot", "authenticator = standalone")
    renewal.write_text(f"{text}http01_port = {stack.ports['http']}\n")


@report(
    Kind.CERTIFICATE,
    "ssllabs/ssllabs-scan#761",
    sees=meets("purpose"),
    repair=_issue_the_usual_one,
    codes=(),
    says=("serverAuth", "fullchain.pem"),
    app=PLAIN_APP,
    layout="guide",
)
def certificate_is_for_clients_alone(stack: Stack) -> None:
    """docker-nginx#175, terraform-aws-ca#43: the private authority was asked for the wrong kind."""
    write_lineage(
        stack.letsencrypt, stack.domain, stack.authority.issue([stack.domain], client=True), version=2
    )
    stack.reload_nginx()


# --- names ------------------------------------------------------------------------------------------------------------

OLD_HOST = "127.66.66.66"


def _some_are_sent_to_the_old_host(stack: Stack) -> bool:
    query = dns.message.make_query(stack.domain, "A")
    answer = dns.query.udp(query, stack.address, port=stack.ports["dns"], timeout=5).to_text()
    refused = stack.client.request((OLD_HOST, stack.ports["https"]), "GET", "/health", tls=True).error
    return OLD_HOST in answer and refused == "refused"


@report(
    Kind.EACH,
    "Greenstand/treetracker-infrastructure#304",
    sees=_some_are_sent_to_the_old_host,
    repair=lambda stack: stack.resolver.answer(stack.domain, stack.address),
    codes=("DNS002", "NET011"),
    says=(OLD_HOST, "A"),
    app=PLAIN_APP,
    layout="guide",
)
def old_host_is_still_in_the_name(stack: Stack) -> None:
    """The new host's address was added, and the old one's was not taken out."""
    stack.resolver.answer(stack.domain, stack.address, OLD_HOST)


# --- unusual, and healthy ---------------------------------------------------------------------------------------------


@healthy(
    "nginx/unit#594",
    serves=lambda stack: stack.predict().status == 200,
    app=PLAIN_APP,
    layout="guide",
)
def only_a_part_is_logged_and_later(stack: Stack) -> None:
    """ansible-role-nginx#118, skynet-webportal#370: health checks are not logged, and the rest by the kilobyte."""
    known = "map $uri $loggable {\n    ~^/(health|ready) 0;\n    default 1;\n}"
    upstream = "upstream gte_backend {"
    stack.edit(stack.site_file, upstream, f"{known}\n{upstream}", apply=False)
    log = f"access_log {stack.nginx_access_log}"
    stack.edit(stack.site_file, f"{log};", f"{log} combined buffer=64k flush=1m if=$loggable;")
    for _ in range(10):
        stack.request(path="/health")
        stack.predict()


@healthy(
    "mariusv/nginx-badbot-blocker#157",
    serves=lambda stack: stack.predict().status == 200,
    app=PLAIN_APP,
    layout="guide",
)
def scanners_speak_what_is_not_spoken_there(stack: Stack) -> None:
    """SafeLine#558: TLS and SOCKS at the port for plain HTTP, and a proxy is asked for where there is none."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=stack.domain)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    connect = b"CONNECT mail.example:25 HTTP/1.1\r\nHost: mail.example\r\n\r\n"
    for sent in (outgoing.read(), b"\x05\x01\x00", connect) * 5:
        with socket.create_connection(stack.http, 5) as raw:
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            raw.recv(1024)
    stack.predict()


@healthy(
    "engintron/engintron#1328",
    serves=lambda stack: stack.request(path="/items").status == 200 and stack.predict().status == 200,
    app=ITEMS_APP,
    layout="guide",
)
def most_answers_come_from_the_cache(stack: Stack) -> None:
    """perusio/drupal-with-nginx#156: the service sees one request in many, and old answers are given meanwhile."""
    zone = f"proxy_cache_path {stack.directory}/cache keys_zone=pages:1m;"
    upstream = "upstream gte_backend {"
    stack.edit(stack.site_file, upstream, f"{zone}\n{upstream}", apply=False)
    add_location(
        stack,
        "location /items {\n        proxy_pass http://gte_backend;\n        proxy_cache pages;\n"
        "        proxy_cache_valid 200 1s;\n        proxy_cache_use_stale updating error timeout;\n"
        f"        proxy_cache_background_update on;\n        {HOST}\n    }}",
    )
    for _ in range(60):
        stack.request(path="/items")
