"""What is to be diagnosed: settings first, then what was found on the host, then the deployment guide's own values."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ops.settings import Settings, is_host
from ops.snapshot import (
    Gunicorn,
    GunicornConfig,
    Host,
    NginxConfig,
    NotSeen,
    Pidfile,
    Process,
    Processes,
    Target,
)
from ops.topology import gunicorn as gunicorn_topology
from ops.topology import nginx as nginx_topology
from ops.topology.address import dialled, is_wildcard, join_address, join_host, same_address

GUIDE_APP_DIR = "/root/build"
GUIDE_MODEL = "iic/nlp_gte_sentence-embedding_chinese-large"
GUIDE_CONFIG_NAME = "gunicorn.conf.py"
GUIDE_START_SCRIPT = "start-prod.sh"
GUIDE_PIDFILE = "/var/run/gte-gunicorn.pid"
GUIDE_GUNICORN_ACCESS_LOG = "/var/log/gte-gunicorn-access.log"
GUIDE_GUNICORN_ERROR_LOG = "/var/log/gte-gunicorn-error.log"
GUIDE_NGINX_ACCESS_LOG = "/var/log/nginx/gte-access.log"
GUIDE_NGINX_ERROR_LOG = "/var/log/nginx/gte-error.log"
NGINX_PIDFILE = "/run/nginx.pid"


@dataclass(frozen=True)
class FilesFound:
    """Which of the guide's files exist on this host: what a collector looked up for the target."""

    app_dir: bool = False
    model_parent: bool = False
    start_script: bool = False
    unit: bool = False


@dataclass(frozen=True)
class Site:
    """The part of nginx's configuration that serves the target."""

    server: nginx_topology.Server
    passes: tuple[nginx_topology.ProxyPass, ...]


@dataclass
class _Origins:
    """Remembers where each value came from while the target is put together."""

    of: dict[str, str] = field(default_factory=dict)

    def first(self, name: str, *candidates: tuple[Any, str]) -> Any:
        """The first candidate that has a value; None without one."""
        for value, origin in candidates:
            if value:
                self.of[name] = origin
                return value
        return None


def find_site(config: NginxConfig, domain: str | None, backend: str | None) -> Site | None:
    """The server block of the service.

    With a domain: the block named so that proxies, TLS before plain. Without one: the block that proxies to the
    backend, whatever it is called; else the one named so that does not proxy; else the first that proxies at all."""
    blocks = nginx_topology.servers(config)
    by_tls = sorted(blocks, key=lambda s: not any(item.ssl for item in s.listens))
    sites = [Site(s, nginx_topology.proxy_passes(config, s)) for s in by_tls]
    proxying = [s for s in sites if s.passes]
    named = [s for s in sites if domain and nginx_topology.names_match(s.server, domain)]
    leading = [s for s in proxying if backend and any(backend in p.addresses for p in s.passes)]
    chosen = ([s for s in named if s.passes], leading, named, proxying)
    return next((group[0] for group in chosen if group), None)


def public_name(server: nginx_topology.Server) -> str | None:
    """The first server_name that is a plain host name."""
    return next(
        (
            n
            for n in server.names
            if n not in ("_", "", "localhost")
            and not n.startswith(("~", "."))
            and not set(n) & set("*$")
            and is_host(n)
        ),
        None,
    )


def gunicorn_hints(settings: Settings, pidfile: Pidfile | None, site: Site | None) -> gunicorn_topology.Hints:
    """What settings and nginx tell of this service's gunicorn."""
    return gunicorn_topology.Hints(
        bind=settings.gunicorn.bind and gunicorn_topology.normal_bind(settings.gunicorn.bind),
        pidfile=settings.gunicorn.pidfile,
        pidfile_pid=pidfile.pid if pidfile else None,
        config_file=settings.gunicorn.config_file,
        app_dir=settings.app.dir,
        upstreams=tuple(a for p in site.passes for a in p.addresses) if site else (),
    )


def decide_target(
    settings: Settings,
    host: Host,
    processes: Processes,
    config: NginxConfig | NotSeen,
    build: dict[str, str],
    gunicorn: Gunicorn,
    master: Process | None,
    files: FilesFound,
) -> Target:
    """Everything the probes and judges need to know of what they look at.

    ``build``: what ``nginx -V`` says, and under ``program`` where nginx was found. Raises nothing: where nothing is
    configured and nothing was found, the guide's values stand."""
    origins = _Origins()
    written = "gte-ops.toml"
    workers = gunicorn_topology.workers_of(processes.processes, master.pid) if master else ()
    command = master.command if master else ()
    known = gunicorn.config if isinstance(gunicorn.config, GunicornConfig) else None

    url_parts = urlsplit(settings.target.url or "")
    wanted_name = settings.target.domain or url_parts.hostname
    configured_bind = gunicorn_topology.bind_addresses(
        gunicorn_topology.setting("bind", "bind", command, gunicorn.config)
    )
    listening = gunicorn_topology.listening_on(
        processes, (p.pid for p in (*filter(None, (master,)), *workers))
    )
    site = (
        find_site(config, wanted_name, next(iter((*listening, *configured_bind)), None))
        if isinstance(config, NginxConfig)
        else None
    )
    site_name = public_name(site.server) if site else None
    domain = origins.first(
        "domain",
        (wanted_name, written),
        (site_name, site.server.where if site else ""),
        ("localhost", "default"),
    )
    url = (settings.target.url or f"https://{join_host(domain)}").rstrip("/")
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)

    upstreams = tuple(dict.fromkeys(dialled(a) for p in (site.passes if site else ()) for a in p.addresses))
    wanted_bind = settings.gunicorn.bind and gunicorn_topology.normal_bind(settings.gunicorn.bind)
    if wanted_bind and listening and not any(same_address(address, wanted_bind) for address in listening):
        wanted_bind = None  # the service runs, but elsewhere: that is where it is
    backend = dialled(
        origins.first(
            "backend",
            (wanted_bind, written),
            (next(iter(listening), None), f"gunicorn {master.pid if master else ''} listens there"),
            (next(iter(configured_bind), None), known.path if known else "gunicorn's command line"),
            (next(iter(upstreams), None), site.passes[0].where if site and site.passes else ""),
            (gunicorn_topology.DEFAULT_BIND, "default"),
        )
    )

    def of_gunicorn(name: str, configured: str | None, option: str, key: str, guide: str) -> str | None:
        value = gunicorn_topology.setting(key, option, command, gunicorn.config)
        found = str(value) if isinstance(value, str) and value != "-" else None
        if found and master and master.cwd:
            found = str(PurePosixPath(master.cwd) / found)
        chosen: str | None = origins.first(
            name,
            (configured, written),
            (found, "gunicorn's configuration"),
            (None if master else guide, "guide"),
        )
        return chosen

    server = site.server if site else None
    scope = server or (
        nginx_topology.Scope((nginx_topology.main_block(config),))
        if isinstance(config, NginxConfig)
        else None
    )

    def of_nginx(name: str) -> tuple[str, ...]:
        return (
            nginx_topology.log_paths(config, scope, name) if isinstance(config, NginxConfig) and scope else ()
        )

    every_error_log = (
        tuple(
            str(PurePosixPath(config.prefix) / d.args[0])
            for d in nginx_topology.every(config, "error_log")
            if d.args and nginx_topology.is_file_log(d.args[0])
        )
        if isinstance(config, NginxConfig)
        else ()
    )
    compiled_log = build.get("error-log-path")
    error_logs = tuple(
        dict.fromkeys(
            filter(
                None,
                (
                    settings.nginx.error_log,
                    *of_nginx("error_log"),
                    *every_error_log,
                    compiled_log if not every_error_log else None,
                ),
            )
        )
    )
    lineage = PurePosixPath(settings.tls.letsencrypt_dir) / "live" / domain

    def from_server(directive: str) -> str | None:
        value = server.value(directive) if server else None
        if (
            value
            and "$" not in value
            and not value.startswith(("data:", "engine:"))
            and isinstance(config, NginxConfig)
        ):
            return str(PurePosixPath(config.file).parent / value)
        return None

    app_dir = origins.first(
        "app_dir",
        (settings.app.dir, written),
        (master.cwd if master else None, "gunicorn's directory"),
        (GUIDE_APP_DIR, "guide"),
    )
    model_dir = origins.first(
        "model_dir",
        (settings.model.dir, written),
        (f"{app_dir}/{GUIDE_MODEL}" if files.model_parent else None, "guide"),
    )
    binary = (
        build.get("program")
        or (config.binary if isinstance(config, NginxConfig) else None)
        or settings.nginx.binary
    )
    config_file = (
        config.file
        if isinstance(config, NginxConfig)
        else (settings.nginx.config_file or "/etc/nginx/nginx.conf")
    )
    commands = _commands(settings, host, files, config_file, binary, build, app_dir, master, known)
    return Target(
        domain=domain,
        url=url,
        connect_to=origins.first(
            "connect_to",
            (settings.target.connect_to, written),
            (_local_front(server, port, ssl=parts.scheme == "https"), server.where if server else ""),
        )
        or f"127.0.0.1:{port}",
        plain_connect_to=origins.first(
            "plain_connect_to",
            (settings.target.connect_to_http, written),
            (None if settings.target.connect_to else "127.0.0.1:80", "default"),
        ),
        backend=backend,
        health_path=settings.target.health_path,
        ready_path=settings.target.ready_path,
        predict_path=settings.target.predict_path,
        predict_body=settings.target.predict_body,
        expect_key=settings.target.expect_key,
        slow_after_s=settings.target.slow_after_s,
        resolver=settings.target.resolver or None,
        expected_addresses=settings.target.expected_addresses,
        certificate=origins.first(
            "certificate",
            (settings.tls.certificate and settings.tls.certificate.replace("<domain>", domain), written),
            (from_server("ssl_certificate"), server.where if server else ""),
            (str(lineage / "fullchain.pem"), "guide"),
        ),
        private_key=origins.first(
            "private_key",
            (settings.tls.private_key and settings.tls.private_key.replace("<domain>", domain), written),
            (from_server("ssl_certificate_key"), server.where if server else ""),
            (str(lineage / "privkey.pem"), "guide"),
        ),
        ca_file=settings.tls.ca_file or None,
        letsencrypt_dir=settings.tls.letsencrypt_dir,
        upstreams=upstreams,
        site_file=origins.first(
            "site_file",
            (settings.nginx.site_file, written),
            (server.blocks[0].file if server else None, "nginx's configuration"),
        ),
        nginx_binary=binary,
        nginx_installed="program" in build,
        nginx_config_file=config_file,
        nginx_pidfile=origins.first(
            "nginx_pidfile",
            (settings.nginx.pidfile, written),
            (_pidfile(config), "nginx's configuration"),
            (build.get("pid-path"), "nginx -V"),
            (NGINX_PIDFILE, "default"),
        ),
        nginx_access_log=origins.first(
            "nginx_access_log",
            (settings.nginx.access_log, written),
            (next(iter(of_nginx("access_log")), None), "nginx's configuration"),
            (None if site else GUIDE_NGINX_ACCESS_LOG, "guide"),
        ),
        nginx_error_logs=error_logs or (GUIDE_NGINX_ERROR_LOG,),
        gunicorn_config_file=gunicorn.config.path if isinstance(gunicorn.config, GunicornConfig) else None,
        gunicorn_pidfile=gunicorn.pidfile.path if isinstance(gunicorn.pidfile, Pidfile) else None,
        gunicorn_access_log=of_gunicorn(
            "gunicorn_access_log",
            settings.gunicorn.access_log,
            "access-logfile",
            "accesslog",
            GUIDE_GUNICORN_ACCESS_LOG,
        ),
        gunicorn_error_log=of_gunicorn(
            "gunicorn_error_log",
            settings.gunicorn.error_log,
            "error-logfile",
            "errorlog",
            GUIDE_GUNICORN_ERROR_LOG,
        ),
        gunicorn_master=master.pid if master else None,
        gunicorn_workers=tuple(w.pid for w in workers),
        app_dir=app_dir,
        python=origins.first(
            "python",
            (settings.app.python, written),
            (master.executable if master else None, "gunicorn's interpreter"),
            (f"{app_dir}/venv/bin/python", "guide"),
        ),
        model_dir=model_dir,
        request_deadline=float(settings.app.request_deadline),
        boot_deadline=float(settings.app.boot_deadline),
        origin=origins.of,
        **commands,
    )


def _local_front(server: nginx_topology.Server | None, port: int, *, ssl: bool) -> str | None:
    """Where the server block is reached from this machine: its own listen on the port, else its TLS one."""
    if server is None:
        return None
    candidates = sorted(
        (item for item in server.listens if not item.host.startswith("unix:") and item.ssl == ssl),
        key=lambda item: item.port != port,
    )
    return next(
        (
            join_address("127.0.0.1" if is_wildcard(item.host) else item.host, item.port)
            for item in candidates
        ),
        None,
    )


def _pidfile(config: NginxConfig | NotSeen) -> str | None:
    if isinstance(config, NotSeen):
        return None
    value = next((d.args[0] for d in config.directives if d.name == "pid" and d.args), None)
    return str(PurePosixPath(config.prefix) / value) if value else None


def _commands(
    settings: Settings,
    host: Host,
    files: FilesFound,
    config_file: str,
    binary: str,
    build: dict[str, str],
    app_dir: str,
    master: Process | None,
    known: GunicornConfig | None,
) -> dict[str, str]:
    """The command lines that start and reload things on this host, as a person would type them."""
    given = settings.gunicorn.start_command
    start = given if isinstance(given, str) else shlex.join(given)
    restart = start
    if not start and host.has_systemd and files.unit:
        start, restart = (
            f"systemctl start {settings.gunicorn.unit}",
            f"systemctl restart {settings.gunicorn.unit}",
        )
    elif not start and files.start_script:
        start = restart = f"bash {app_dir}/{GUIDE_START_SCRIPT}"
    elif not start:
        file = known.path if known and not known.missing else f"{app_dir}/{GUIDE_CONFIG_NAME}"
        start = restart = f"cd {shlex.quote(app_dir)} && gunicorn -c {shlex.quote(file)} {settings.app.wsgi}"
        if master is not None:
            restart = f"kill -HUP {master.pid}"
    default_file = build.get("conf-path", "/etc/nginx/nginx.conf")
    options = "" if config_file == default_file else f" -c {shlex.quote(config_file)}"
    program = "nginx" if binary.endswith("/sbin/nginx") and not options else shlex.quote(binary)
    systemd_nginx = host.has_systemd and not options
    return {
        "start_command": start,
        "restart_command": restart,
        "start_nginx": "systemctl start nginx" if systemd_nginx else f"{program}{options}",
        "reload_nginx": "systemctl reload nginx" if systemd_nginx else f"{program}{options} -s reload",
        "test_nginx": f"{program} -t{options}",
    }


def nginx_pids(target: Target, processes: Processes, pidfile: Pidfile | NotSeen) -> Iterator[Process]:
    """The running master processes that serve this configuration: the pidfile's, or one whose title names the file.

    A master that names no configuration file runs the default one."""
    for master in nginx_topology.nginx_masters(processes.processes):
        title = nginx_topology.title(master)
        if (
            (isinstance(pidfile, Pidfile) and pidfile.pid == master.pid)
            or f" -c {target.nginx_config_file} " in f"{title} "
            or (" -c " not in title and target.nginx_config_file == "/etc/nginx/nginx.conf")
        ):
            yield master
