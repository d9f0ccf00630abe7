"""What is diagnosed: settings first, then what was found on the host, then the deployment guide's own values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.errors import SettingsError
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Host, Listener, Process, Processes
from ops.facts.nginx import NginxConfig, Pidfile
from ops.facts.target import Target
from ops.interpret import target as topology
from ops.interpret.commands import FilesFound
from ops.interpret.nginx import serving_masters
from ops.interpret.site import find_site, public_name
from ops.interpret.target import decide_target, gunicorn_hints
from ops.settings import Settings, parse_settings
from tests.unit.made_snapshot import (
    BACKEND,
    DOMAIN,
    GUNICORN_ACCESS_LOG,
    GUNICORN_CONF,
    GUNICORN_ERROR_LOG,
    GUNICORN_LISTENER,
    GUNICORN_MASTER,
    GUNICORN_PIDFILE,
    GUNICORN_PROCESSES,
    HEALTHY,
    LINEAGE,
    MAIN_ERROR_LOG,
    MODEL_DIR,
    NGINX_CONF,
    NGINX_ERROR_LOG,
    NGINX_PROCESSES,
    SETTINGS,
    SITE,
    SITE_FILE,
    TARGET,
    gunicorn_config,
    nginx_config,
    process,
    processes,
)

BUILD = {
    "program": "/usr/sbin/nginx",
    "conf-path": NGINX_CONF,
    "pid-path": "/run/nginx.pid",
    "error-log-path": MAIN_ERROR_LOG,
}
GUIDE_FILES = FilesFound(model_parent=True, start_script=True, unit=True)
NO_PROCESSES = Processes(processes=(), listeners=())
UNSEEN_GUNICORN = Gunicorn(
    config=NotSeen(reason="-"), pidfile=NotSeen(reason="-"), progress=NotSeen(reason="-")
)


def decided(
    toml: str = "",
    *,
    host: Host | None = None,
    table: Processes | None = None,
    config: NginxConfig | NotSeen | None = None,
    build: dict[str, str] | None = None,
    gunicorn: Gunicorn | None = None,
    master: Process | None = GUNICORN_PROCESSES[0],
    files: FilesFound = GUIDE_FILES,
) -> Target:
    """The target of the made host, with single things about it changed."""
    assert isinstance(HEALTHY.host, Host)
    assert isinstance(HEALTHY.processes, Processes)
    assert isinstance(HEALTHY.gunicorn, Gunicorn)
    return decide_target(
        parse_settings(toml.encode(), "gte-ops.toml"),
        host or HEALTHY.host,
        HEALTHY.processes if table is None else table,
        nginx_config() if config is None else config,
        BUILD if build is None else build,
        gunicorn or HEALTHY.gunicorn,
        master,
        files,
    )


def bare(toml: str = "") -> Target:
    """Nothing was found: no nginx, no gunicorn, none of the guide's files."""
    return decided(
        toml,
        table=NO_PROCESSES,
        config=NotSeen(reason="-"),
        build={},
        gunicorn=UNSEEN_GUNICORN,
        master=None,
        files=FilesFound(),
    )


def test_the_guide_s_host_is_found_without_any_configuration() -> None:
    target = decided()
    assert msgspec.structs.replace(target, origin={}) == msgspec.structs.replace(TARGET, origin={})
    assert {name: target.origin[name] for name in TARGET.origin} == TARGET.origin
    assert target.origin["backend"] == "gunicorn 900 listens there"


def test_where_nothing_was_found_the_guide_s_values_stand() -> None:
    target = bare()
    assert (target.domain, target.url, target.backend) == ("localhost", "https://localhost", BACKEND)
    assert (target.connect_to, target.plain_connect_to) == ("127.0.0.1:443", "127.0.0.1:80")
    assert (target.app_dir, target.python) == ("/root/build", "/root/build/venv/bin/python")
    assert (target.gunicorn_error_log, target.gunicorn_access_log) == (
        GUNICORN_ERROR_LOG,
        GUNICORN_ACCESS_LOG,
    )
    assert target.nginx_error_logs == (NGINX_ERROR_LOG,)
    assert (target.gunicorn_master, target.gunicorn_workers) == (None, ())
    assert target.model_dir is None
    assert (target.nginx_binary, target.nginx_installed) == ("nginx", False)
    assert (target.origin["domain"], target.origin["certificate"]) == ("default", "guide")


def test_settings_go_before_what_was_found() -> None:
    target = decided(
        f"""[target]
        domain = "{DOMAIN}"
        url = "https://{DOMAIN}:8443"
        connect_to = "10.0.0.1:8443"
        connect_to_http = "10.0.0.1:8080"
        resolver = "127.0.0.1:5353"
        [tls]
        certificate = "/srv/<domain>/full.pem"
        private_key = "/srv/<domain>/key.pem"
        ca_file = "/srv/ca.pem"
        [nginx]
        pidfile = "/srv/nginx.pid"
        access_log = "/srv/access.log"
        error_log = "/srv/error.log"
        site_file = "/srv/site.conf"
        [gunicorn]
        error_log = "/srv/g.log"
        start_command = ["/srv/start", "--now please"]
        [app]
        dir = "/srv/app"
        python = "/srv/bin/python"
        [model]
        dir = "/srv/model"
        """
    )
    assert (target.url, target.connect_to, target.plain_connect_to) == (
        f"https://{DOMAIN}:8443",
        "10.0.0.1:8443",
        "10.0.0.1:8080",
    )
    assert (target.certificate, target.private_key) == (f"/srv/{DOMAIN}/full.pem", f"/srv/{DOMAIN}/key.pem")
    assert (target.nginx_pidfile, target.nginx_access_log, target.site_file) == (
        "/srv/nginx.pid",
        "/srv/access.log",
        "/srv/site.conf",
    )
    assert target.nginx_error_logs == ("/srv/error.log", NGINX_ERROR_LOG, MAIN_ERROR_LOG)
    assert (target.gunicorn_error_log, target.app_dir, target.python) == (
        "/srv/g.log",
        "/srv/app",
        "/srv/bin/python",
    )
    assert (target.model_dir, target.ca_file, target.resolver) == (
        "/srv/model",
        "/srv/ca.pem",
        "127.0.0.1:5353",
    )
    start = "/srv/start '--now please'"
    assert target.start_command == start
    assert target.restart_command.splitlines() == [
        f"kill {GUNICORN_MASTER}",
        f"timeout 35 tail --pid={GUNICORN_MASTER} -f /dev/null || kill -9 {GUNICORN_MASTER}",
        start,
    ]
    assert {target.origin[n] for n in ("domain", "certificate", "app_dir", "connect_to")} == {"gte-ops.toml"}


def test_the_domain_follows_from_the_url() -> None:
    assert bare('[target]\nurl = "https://api.example.org:8443/"').domain == "api.example.org"
    assert bare('[target]\nurl = "https://api.example.org:8443/"').url == "https://api.example.org:8443"
    assert bare('[target]\nurl = "http://api.example.org"').connect_to == "127.0.0.1:80"


def test_an_ipv6_address_stands_in_brackets_in_the_url() -> None:
    target = bare('[target]\ndomain = "2001:db8::1"')
    assert (target.domain, target.url) == ("2001:db8::1", "https://[2001:db8::1]")


# --- Where the service is ---


def listening(*addresses: str) -> Processes:
    return processes(
        listeners=tuple(Listener(address=a, pids=GUNICORN_LISTENER.pids, queued=0) for a in addresses)
    )


@pytest.mark.parametrize(
    ("toml", "table", "bind", "master", "backend"),
    [
        ("", listening("127.0.0.1:8100"), BACKEND, True, "127.0.0.1:8100"),
        ("", listening("0.0.0.0:8100"), BACKEND, True, "127.0.0.1:8100"),
        ("", listening("unix:/run/gte.sock"), BACKEND, True, "unix:/run/gte.sock"),
        ("", NO_PROCESSES, "127.0.0.1:8200", False, "127.0.0.1:8200"),
        ("", NO_PROCESSES, None, False, BACKEND),
        ('[gunicorn]\nbind = "127.0.0.1:8300"', NO_PROCESSES, None, False, "127.0.0.1:8300"),
        ('[gunicorn]\nbind = "127.0.0.1:8300"', listening("127.0.0.1:8100"), None, True, "127.0.0.1:8100"),
        ('[gunicorn]\nbind = "127.0.0.1:8100"', listening("0.0.0.0:8100"), None, True, "127.0.0.1:8100"),
        ('[gunicorn]\nbind = "unix:///run/x"', NO_PROCESSES, None, False, "unix:/run/x"),
    ],
)
def test_the_backend_is_where_gunicorn_listens_else_where_it_should(
    toml: str, table: Processes, bind: str | None, master: bool, backend: str
) -> None:
    config = gunicorn_config(**({"bind": bind} if bind else {}))
    target = decided(
        toml,
        table=table,
        gunicorn=msgspec.structs.replace(UNSEEN_GUNICORN, config=config),
        master=GUNICORN_PROCESSES[0] if master else None,
    )
    assert target.backend == backend


def test_without_gunicorn_the_service_is_where_nginx_proxies_to() -> None:
    moved = nginx_config(
        SITE.replace("server 127.0.0.1:8000;", "server 127.0.0.1:9000; server 10.0.0.5:9000;")
    )
    target = decided(table=NO_PROCESSES, config=moved, gunicorn=UNSEEN_GUNICORN, master=None)
    assert target.backend == "127.0.0.1:9000"
    assert target.upstreams == ("127.0.0.1:9000", "10.0.0.5:9000")


def test_relative_logs_of_gunicorn_lie_in_its_directory() -> None:
    config = gunicorn_config(errorlog="logs/e.log", accesslog="-")
    target = decided(gunicorn=msgspec.structs.replace(UNSEEN_GUNICORN, config=config))
    assert target.gunicorn_error_log == "/root/build/logs/e.log"
    assert target.gunicorn_access_log is None


# --- Which server block ---


def site(text: str, domain: str | None = DOMAIN, backend: str | None = BACKEND) -> str | None:
    match = find_site(nginx_config(text), domain, backend)
    return match.server.where.rpartition(":")[2] if match else None


PLAIN = "server { listen 80; server_name gte-api.example.com; return 301 https://x; }\n"
TLS = "server { listen 443 ssl; server_name gte-api.example.com; location / { proxy_pass http://127.0.0.1:8000; } }\n"
OTHER = (
    "server { listen 443 ssl; server_name other.example; location / { proxy_pass http://127.0.0.1:9000; } }\n"
)


@pytest.mark.parametrize(
    ("text", "domain", "backend", "line"),
    [
        (PLAIN + TLS + OTHER, DOMAIN, BACKEND, "2"),
        (OTHER + PLAIN + TLS, DOMAIN, None, "3"),
        (OTHER + PLAIN + TLS, None, BACKEND, "3"),
        (OTHER + PLAIN + TLS, "nobody.example", BACKEND, "3"),
        (OTHER + PLAIN, DOMAIN, BACKEND, "2"),
        (PLAIN + OTHER, None, None, "2"),
        (PLAIN, None, None, None),
        ("", DOMAIN, BACKEND, None),
        (PLAIN + TLS.replace(DOMAIN, "_") + OTHER, DOMAIN, BACKEND, "2"),
        (OTHER + PLAIN + TLS.replace(DOMAIN, "gte-apo.example.com"), DOMAIN, BACKEND, "3"),
        (TLS.replace("443 ssl", "80") + TLS, DOMAIN, BACKEND, "2"),
    ],
)
def test_the_server_block_of_the_service(
    text: str, domain: str | None, backend: str | None, line: str | None
) -> None:
    assert site(text, domain, backend) == line


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ("_", None),
        ("localhost 127.0.0.1", "127.0.0.1"),
        ("*.example.com .example.com ~^x api.example.com", "api.example.com"),
        ("$hostname", None),
        ("api.* [::1] \u2100 .b", None),
    ],
)
def test_a_server_block_s_public_name_is_its_first_plain_one(names: str, name: str | None) -> None:
    match = find_site(nginx_config(TLS.replace(DOMAIN, names)), None, BACKEND)
    assert match is not None
    assert public_name(match.server) == name


@pytest.mark.parametrize(
    ("listen", "front"),
    [
        ("443 ssl", "127.0.0.1:443"),
        ("8443 ssl", "127.0.0.1:8443"),
        ("192.0.2.10:443 ssl", "192.0.2.10:443"),
        ("[::1]:443 ssl", "[::1]:443"),
        ("unix:/run/nginx.sock ssl", "127.0.0.1:443"),
        ("80", "127.0.0.1:443"),
    ],
)
def test_the_front_door_is_where_the_block_listens(listen: str, front: str) -> None:
    assert decided(config=nginx_config(TLS.replace("443 ssl", listen))).connect_to == front


def test_files_named_relative_to_the_configuration_and_by_variables() -> None:
    text = TLS.replace(
        "ssl;", "ssl; ssl_certificate certs/full.pem; ssl_certificate_key /keys/$ssl_server_name;"
    )
    target = decided(config=nginx_config(text))
    assert target.certificate == "/etc/nginx/certs/full.pem"
    assert target.private_key == f"{LINEAGE}/privkey.pem"
    assert target.origin["private_key"] == "guide"


def test_hints_to_gunicorn_come_from_settings_and_nginx() -> None:
    settings = parse_settings(b'[gunicorn]\nbind = ":8000"\npidfile = "/run/x"\n[app]\ndir = "/srv"', "x")
    hints = gunicorn_hints(settings, Pidfile(path="/run/x", pid=7), find_site(nginx_config(), DOMAIN, None))
    assert (hints.bind, hints.pidfile, hints.pidfile_pid, hints.app_dirs) == (
        "0.0.0.0:8000",
        "/run/x",
        7,
        ("/srv",),
    )
    assert BACKEND in hints.upstreams
    assert gunicorn_hints(Settings(), None, None).upstreams == ()


# --- The commands a person would type ---


# Starting does nothing while the old master lives.
BY_HAND = "kill 900\ntimeout 35 tail --pid=900 -f /dev/null || kill -9 900\nbash /root/build/start-prod.sh"


@pytest.mark.parametrize(
    ("systemd", "files", "master", "start", "restart"),
    [
        (True, GUIDE_FILES, True, "systemctl start gte-api.service", "systemctl restart gte-api.service"),
        (False, GUIDE_FILES, True, "bash /root/build/start-prod.sh", BY_HAND),
        (False, GUIDE_FILES, False, "bash /root/build/start-prod.sh", "bash /root/build/start-prod.sh"),
        (
            True,
            FilesFound(start_script=True),
            True,
            "bash /root/build/start-prod.sh",
            BY_HAND,
        ),
        (
            False,
            FilesFound(),
            True,
            f"cd /root/build && gunicorn -c {GUNICORN_CONF} app:app",
            "kill -HUP 900",
        ),
    ],
)
def test_how_gunicorn_is_started(
    systemd: bool, files: FilesFound, master: bool, start: str, restart: str
) -> None:
    assert isinstance(HEALTHY.host, Host)
    host = msgspec.structs.replace(HEALTHY.host, has_systemd=systemd)
    target = decided(host=host, files=files, master=GUNICORN_PROCESSES[0] if master else None)
    assert (target.start_command, target.restart_command) == (start, restart)


def test_a_directory_with_a_blank_is_quoted_for_the_shell() -> None:
    target = bare('[app]\ndir = "/srv/my app"')
    assert target.start_command == "cd '/srv/my app' && gunicorn -c '/srv/my app/gunicorn.conf.py' app:app"


@pytest.mark.parametrize(
    ("systemd", "file", "commands"),
    [
        (True, NGINX_CONF, ("systemctl start nginx", "systemctl reload nginx", "nginx -t")),
        (False, NGINX_CONF, ("nginx", "nginx -s reload", "nginx -t")),
        (
            True,
            "/srv/n.conf",
            (
                "/usr/sbin/nginx -c /srv/n.conf",
                "/usr/sbin/nginx -c /srv/n.conf -s reload",
                "/usr/sbin/nginx -t -c /srv/n.conf",
            ),
        ),
    ],
)
def test_how_nginx_is_started_reloaded_and_tested(
    systemd: bool, file: str, commands: tuple[str, str, str]
) -> None:
    assert isinstance(HEALTHY.host, Host)
    target = decided(
        host=msgspec.structs.replace(HEALTHY.host, has_systemd=systemd), config=nginx_config(SITE, file=file)
    )
    assert (target.start_nginx, target.reload_nginx, target.test_nginx) == commands


# --- Which nginx ---


def masters(table: Sequence[Process], pid: int | None = None, file: str = NGINX_CONF) -> list[int]:
    target = msgspec.structs.replace(TARGET, nginx_config_file=file)
    pidfile = Pidfile(path="/run/nginx.pid", pid=pid, missing=pid is None)
    return [p.pid for p in serving_masters(target, processes(table, listeners=()), pidfile)]


def test_the_nginx_of_this_configuration() -> None:
    other = process(77, 1, "nginx: master process nginx -c /opt/other/nginx.conf")
    assert masters((*NGINX_PROCESSES, other), pid=700) == [700]
    assert masters((other,)) == []
    assert masters((other,), pid=77) == [77]
    assert masters((other,), file="/opt/other/nginx.conf") == [77]
    assert masters((NGINX_PROCESSES[0],)) == [700]
    assert masters((), pid=700) == []


def test_a_file_whose_name_begins_alike_is_another_configuration() -> None:
    other = process(77, 1, "nginx: master process nginx -c /opt/nginx.conf.old")
    assert masters((other,), file="/opt/nginx.conf") == []


# --- Whatever is written ---

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=15)


@given(
    st.fixed_dictionaries({"domain": WORDS, "url": WORDS, "health_path": WORDS}),
    st.fixed_dictionaries({"bind": WORDS, "unit": WORDS, "start_command": st.one_of(WORDS, st.lists(WORDS))}),
)
@example({"domain": "", "url": "https://[::1]:8443", "health_path": ""}, {"bind": "fd://3"})
def test_whatever_settings_are_accepted_a_target_is_decided(
    target: dict[str, Any], gunicorn: dict[str, Any]
) -> None:
    lines = ["[target]", *(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in target.items())]
    lines += ["[gunicorn]", *(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in gunicorn.items())]
    toml = "\n".join(lines)
    try:
        parse_settings(toml.encode(), "x")
    except SettingsError:
        return
    assert isinstance(decided(toml), Target)
    assert isinstance(bare(toml), Target)


def test_the_guide_s_values_are_the_guide_s() -> None:
    assert f"{topology.GUIDE_APP_DIR}/{topology.GUIDE_MODEL}" == MODEL_DIR
    assert SETTINGS["pidfile"] == topology.GUIDE_PIDFILE == GUNICORN_PIDFILE
    assert decided().site_file == SITE_FILE
