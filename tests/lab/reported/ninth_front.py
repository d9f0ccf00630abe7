"""A ninth collection, of what stands before the service: at least two of every kind of the first list, from much-read
reports, rebuilt before the doctor was asked about any of them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from tests.lab.applications import DJANGO
from tests.lab.authority import write_lineage
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers
from tests.lab.faults.tls import in_days
from tests.lab.reported.case import Kind, add_location, healthy, needs_root, report
from tests.lab.reported.users import always, predicts
from tests.lab.stack import Stack

LOCATION = "    location / {\n        limit_req"
UPSTREAM = "upstream gte_backend {"
HOST = "proxy_set_header Host $host;"
PROXIED = f"proxy_pass http://gte_backend; {HOST} proxy_set_header X-Forwarded-Proto $scheme;"
NOBODY = 65534


# --- nginx's routing --------------------------------------------------------------------------------------------------

WWW = "www.gte.lab.example"
OTHERS = "    return 404; # managed by Certbot\n"


_visitors = (f"127.0.9.{number}" for number in itertools.cycle(range(1, 251)))


def _types(stack: Stack, name: str) -> int | None:
    """What somebody else each time gets who types the name, as browsers ask for it first."""
    return stack.request(path="/", door="http", host=name, source=next(_visitors)).status


@report(
    Kind.ROUTING,
    "certbot/certbot#7086",
    sees=lambda stack: (
        {_types(stack, WWW) for _ in range(3)} == {404}
        and _types(stack, stack.domain) == 301
        and stack.request(path="/health", host=WWW).status == 200
    ),
    repair=lambda stack: stack.edit(stack.site_file, OTHERS, "    return 301 https://$host$request_uri;\n"),
    codes=(),
    says=(WWW, "return 404", "gte-api.conf:"),
    names=["gte.lab.example", WWW],
    app=PLAIN_APP,
    layout="guide",
)
def name_with_www_is_not_redirected(stack: Stack) -> None:
    """certbot wrote a condition for each name that it was asked for, and the other was added to the site later."""
    redirect = f"    return 301 {stack.url}$request_uri;\n"
    condition = f"    if ($host = {stack.domain}) {{ return 301 {stack.url}$request_uri; }}\n{OTHERS}"
    name = f"server_name {stack.domain};"
    stack.edit(stack.site_file, name, f"server_name {stack.domain} {WWW};", apply=False)
    stack.edit(stack.site_file, redirect, condition)


FORWARDED_HOST_APP = DJANGO.replace(
    "ROOT_URLCONF=__name__,", "ROOT_URLCONF=__name__,\n    USE_X_FORWARDED_HOST=True,"
)
MACHINE = "proxy_set_header X-Forwarded-Host $hostname;"


@report(
    Kind.ROUTING,
    "netbox-community/netbox#6460",
    sees=lambda stack: always(stack, "/health", 400),
    repair=lambda stack: stack.edit(stack.site_file, f" {MACHINE}", ""),
    codes=("NGX080",),
    says=("X-Forwarded-Host", "gte-api.conf:"),
    app=FORWARDED_HOST_APP,
    layout="guide",
)
def machine_s_name_is_forwarded_as_the_host(stack: Stack) -> None:
    """Host is right; the application believes the other header, and nginx's $hostname is not the name asked for."""
    stack.edit(stack.site_file, HOST, f"{HOST} {MACHINE}")


# --- the explaining line is in the log --------------------------------------------------------------------------------


@report(
    Kind.LINE,
    "bepasty/bepasty-server#277",
    sees=answers(502),
    repair=lambda stack: stack.run.chmod(0o755),
    codes=("NGX016",),
    says=("13: Permission denied", "gunicorn.sock", "chmod"),
    impossible=needs_root,
    unix_socket=True,
    app=PLAIN_APP,
    layout="guide",
)
def home_above_the_socket_is_closed(stack: Stack) -> None:
    """fastapi-nginx-gunicorn#3: the socket itself is open to all; since Ubuntu 21.04 the home above it is not."""
    stack.run.chmod(0o750)


@report(
    Kind.LINE,
    "openresty/openresty#109",
    sees=lambda stack: always(stack, "/manual/", 403),
    repair=lambda stack: stack.edit(stack.site_file, "/manual/; }", "/manual/html/; }"),
    codes=(),
    says=("directory index of", "/manual/", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def directory_above_the_built_pages_is_served(stack: Stack) -> None:
    """BookStack#393, docker-nginx#289: the pages were built one directory deeper."""
    built = stack.directory / "manual" / "html"
    built.mkdir(parents=True)
    (built / "index.html").write_text("<h1>Manual</h1>\n")
    add_location(stack, f"location /manual/ {{ alias {stack.directory}/manual/; }}")


# --- the front door's holder ------------------------------------------------------------------------------------------


def _welcomes(stack: Stack) -> bool:
    return (
        stack.request(path="/health").error == "refused"
        and "Welcome" in stack.request(path="/", door="http", host=stack.domain).text
    )


def _move_site(stack: Stack, name: str) -> None:
    stack.site_file = stack.site_file.rename(stack.site_file.with_name(name))
    stack.config["nginx"]["site_file"] = str(stack.site_file)
    stack.write_config()
    stack.reload_nginx()


@report(
    Kind.DOOR,
    "saltstack-formulas/nginx-formula#188",
    sees=_welcomes,
    repair=lambda stack: _move_site(stack, "gte-api.conf"),
    codes=(),
    says=("conf.d/gte-api", "include", "*.conf"),
    app=PLAIN_APP,
    layout="guide",
)
def site_s_file_is_not_included(stack: Stack) -> None:
    """dockerfile/nginx#12: the name does not end as the pattern wants it, and the default site is there alone."""
    welcome = stack.directory / "welcome"
    welcome.mkdir()
    (welcome / "index.html").write_text("<title>Welcome to nginx!</title>\n")
    stack.site_file.with_name("default.conf").write_text(
        f"server {{\n    listen {stack.address}:{stack.ports['http']} default_server;\n    server_name _;\n"
        f"    root {welcome};\n}}\n"
    )
    _move_site(stack, "gte-api")


@report(
    Kind.DOOR,
    "cachethq/Docker#144",
    sees=lambda stack: stack.request(path="/health").error == "refused",
    repair=lambda stack: stack.edit(stack.site_file, "listen 127.0.0.1:", f"listen {stack.address}:"),
    codes=("NET001",),
    says=("127.0.0.1:", "listen", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def nginx_listens_for_this_machine_alone(stack: Stack) -> None:
    """The site was tried behind a tunnel first, and its listen directives have stayed."""
    stack.edit(stack.site_file, f"listen {stack.address}:", "listen 127.0.0.1:")


# --- looking must not hide it -----------------------------------------------------------------------------------------

CATALOGUE_APP = (
    PLAIN_APP
    + """
@app.get("/catalogue")
def catalogue():
    return jsonify(items=["pear"] * 20_000)
"""
)


def _whole(stack: Stack) -> bool:
    return stack.request(path="/catalogue").text.rstrip().endswith("]}")


def _kept(stack: Stack) -> Path:
    return stack.directory / "kept"


@report(
    Kind.LOOKING,
    "alibaba/tengine#1447",
    sees=lambda stack: not any(_whole(stack) for _ in range(4)),
    repair=lambda stack: os.chown(_kept(stack), NOBODY, NOBODY),
    codes=("NGX040",),
    says=("Permission denied", "/kept is closed", "chown"),
    impossible=needs_root,
    app=CATALOGUE_APP,
    layout="guide",
)
def directory_of_the_cache_belongs_to_root(stack: Stack) -> None:
    """With use_temp_path=off nginx writes into the cache's own directory; `nginx -t` would give it back to its user."""
    keep = f"proxy_cache_path {_kept(stack)} levels=1:2 keys_zone=pages:1m use_temp_path=off;"
    stack.edit(stack.site_file, UPSTREAM, f"{keep}\n{UPSTREAM}", apply=False)
    add_location(stack, f"location /catalogue {{ {PROXIED} proxy_cache pages; proxy_cache_valid 200 1m; }}")
    os.chown(_kept(stack), 0, 0)
    _kept(stack).chmod(0o700)


def _sends_much(stack: Stack) -> int | None:
    return stack.request("POST", "/predict", json_body={"input_text": "x" * 60_000}).status


def _bodies(stack: Stack) -> list[Path]:
    return [stack.nginx_dir / "tmp" / "client_body" / str(digit) for digit in range(10)]


def _give_to(stack: Stack, user: int) -> None:
    for directory in _bodies(stack):
        os.chown(directory, user, user)


@report(
    Kind.LOOKING,
    "linuxserver-archive/docker-rutorrent#156",
    sees=lambda stack: {_sends_much(stack) for _ in range(4)} == {500} and predicts(stack),
    repair=lambda stack: _give_to(stack, NOBODY),
    codes=("NGX040",),
    says=("Permission denied", "client_body/1 is closed", "chown"),
    impossible=needs_root,
    app=PLAIN_APP,
    layout="guide",
)
def directories_below_the_temporary_one_are_root_s(stack: Stack) -> None:
    """nginx ran as root for a time: it gives its new user the directory at each start, and not those it made below."""
    directory = f"{stack.nginx_dir}/tmp/client_body"
    stack.edit(stack.nginx_conf, f"{directory};", f"{directory} 1 2;", apply=False)
    stack.restart_nginx()
    for below in _bodies(stack):
        below.mkdir(0o700)


# --- logs elsewhere ---------------------------------------------------------------------------------------------------


def _reports_port(stack: Stack) -> str:
    return (
        stack.site_file.read_text()
        .partition("location = /reports")[2]
        .partition("/health")[0]
        .rpartition(":")[2]
    )


def _write_them_to_a_log(stack: Stack) -> None:
    stack.edit(stack.site_file, "error_log off;", f"error_log {stack.nginx_error_log};", apply=False)
    nobody = f"http://{stack.address}:{_reports_port(stack)}/health"
    stack.edit(stack.site_file, nobody, "http://gte_backend/health")


@report(
    Kind.LOG,
    "bodsch/docker-icingaweb2#41",
    sees=lambda stack: always(stack, "/reports", 502) and predicts(stack),
    repair=_write_them_to_a_log,
    codes=(),
    says=("111: Connection refused", "/reports", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def errors_are_written_to_a_file_called_off(stack: Stack) -> None:
    """1Panel#7161, Hiddify-Manager#5529: error_log knows no off, so this is a file's name."""
    stack.edit(stack.site_file, f"error_log {stack.nginx_error_log};", "error_log off;", apply=False)
    del stack.config["nginx"]["error_log"]
    stack.write_config()
    add_location(
        stack, f"location = /reports {{ proxy_pass http://{stack.address}:{stack.free_port()}/health; }}"
    )
    always(stack, "/reports", 502, times=6)


JSON_LOG = """
import json
import logging


class AsJson(logging.Formatter):
    def format(self, record):
        line = {"timestamp": record.created, "severity": record.levelname, "message": record.getMessage()}
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        return json.dumps(line)


logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": AsJson}, "plain": {"format": "%(message)s"}},
    "handlers": {
        "errors": {"class": "logging.FileHandler", "filename": errorlog, "formatter": "json"},
        "access": {"class": "logging.FileHandler", "filename": accesslog, "formatter": "plain"},
    },
    "root": {"handlers": ["errors"], "level": "INFO"},
    "loggers": {
        "gunicorn.error": {"handlers": ["errors"], "level": "INFO", "propagate": False},
        "gunicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}
"""
ORDERS_APP = (
    PLAIN_APP
    + """
@app.get("/orders")
def orders():
    return jsonify(orders={}["customer"])
"""
)


@report(
    Kind.LOG,
    "benoitc/gunicorn#3020",
    sees=lambda stack: always(stack, "/orders", 500),
    repair=lambda stack: stack.edit(stack.app_file, '{}["customer"]', "[]"),
    codes=("APP020", "APP004"),
    says=("KeyError", "/orders", "app.py:"),
    app=ORDERS_APP,
    gunicorn_extra=JSON_LOG,
    layout="guide",
)
def traceback_is_a_member_of_a_line_of_json(_stack: Stack) -> None:
    """sync-engine#901, gunicorn#2457: the log is for a collector, one object for a line."""


# --- one of several is broken -----------------------------------------------------------------------------------------

LOOKUP = "lookup.gte.lab.example"


def _renew_the_other(stack: Stack) -> None:
    write_lineage(stack.letsencrypt, LOOKUP, stack.authority.issue([LOOKUP]), version=2)
    stack.reload_nginx()


@report(
    Kind.EACH,
    "falling-sky/source#224",
    sees=lambda stack: "expired" in (stack.request(path="/", host=LOOKUP).error or "") and predicts(stack),
    repair=_renew_the_other,
    codes=("TLS001", "TLS025"),
    says=(LOOKUP, "expired"),
    app=PLAIN_APP,
    layout="guide",
)
def certificate_of_the_site_s_other_name_has_expired(stack: Stack) -> None:
    """The first name's was renewed in time; the second has a server block and a certificate of its own."""
    old = stack.authority.issue([LOOKUP], not_before=in_days(-92), not_after=in_days(-2))
    live = write_lineage(stack.letsencrypt, LOOKUP, old)
    stack.site_file.with_name("lookup.conf").write_text(
        f"server {{\n    listen {stack.address}:{stack.ports['https']} ssl;\n    server_name {LOOKUP};\n"
        f"    ssl_certificate {live}/fullchain.pem;\n    ssl_certificate_key {live}/privkey.pem;\n"
        f"    location / {{ {PROXIED} }}\n}}\n"
    )
    stack.reload_nginx()


# --- unusual, and healthy ---------------------------------------------------------------------------------------------


@healthy("everr-labs/everr#358", serves=predicts, app=PLAIN_APP, layout="guide")
def scanners_look_for_what_is_not_here(stack: Stack) -> None:
    """Every path is another, none exists, and they are more than the users."""
    wanted = (
        "/wp-login.php",
        "/.env",
        "/xmlrpc.php",
        "/phpmyadmin/",
        "/.git/config",
        "/actuator/env",
        "/HNAP1/",
    )
    for number in range(1, 5):
        for path in wanted:
            stack.request(path=path, source=f"127.0.5.{number}")
        stack.predict()


@healthy("h5bp/server-configs-nginx#10", serves=predicts, app=PLAIN_APP, layout="guide")
def whoever_does_not_know_the_name_is_hung_up_on(stack: Stack) -> None:
    """The default server closes the connection without an answer: 444 in the log."""
    stack.site_file.with_name("00-default.conf").write_text(
        f"server {{\n    listen {stack.address}:{stack.ports['https']} ssl default_server;\n    server_name _;\n"
        f"    ssl_certificate {stack.certificate};\n    ssl_certificate_key {stack.private_key};\n"
        f"    access_log {stack.nginx_access_log};\n    return 444;\n}}\n"
    )
    stack.reload_nginx()
    for _ in range(10):
        assert stack.request(path="/", host="203.0.113.9.example", verify=False).error == "closed"
        stack.predict()
