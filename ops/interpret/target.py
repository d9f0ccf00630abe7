"""Determine the target: from settings first, then from the facts of the host, then from the deployment guide."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Host, Process, Processes
from ops.facts.nginx import NginxConfig, Pidfile
from ops.facts.target import OtherSite, Target
from ops.files.ownership import ROOT
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret.address import dialled, is_loopback, join_host, same_address, split_address
from ops.interpret.commands import FilesFound, commands
from ops.interpret.expiry import rules_of
from ops.interpret.nginx import Listen, compiled_path
from ops.interpret.site import NginxSiteConfig, SiteReading, find_site, proxied_sites, public_name
from ops.settings import Settings, TargetSettings

GUIDE_APP_DIR = "/root/build"
GUIDE_MODEL = "iic/nlp_gte_sentence-embedding_chinese-large"
GUIDE_PIDFILE = "/var/run/gte-gunicorn.pid"
GUIDE_GUNICORN_ACCESS_LOG = "/var/log/gte-gunicorn-access.log"
GUIDE_GUNICORN_ERROR_LOG = "/var/log/gte-gunicorn-error.log"
GUIDE_NGINX_ACCESS_LOG = "/var/log/nginx/gte-access.log"
GUIDE_NGINX_ERROR_LOG = "/var/log/nginx/gte-error.log"
WRITTEN = "gte-ops.toml"
OF_GUNICORN = "gunicorn's configuration"
NGINX_CONFIG_FILE = "/etc/nginx/nginx.conf"
NGINX_PIDFILE = "/run/nginx.pid"
MAX_OTHER_SITES = 16


class _Origins(msgspec.Struct):
    """Records the origin of each value of the target."""

    of: dict[str, str] = msgspec.field(default_factory=dict)

    def first(self, name: str, *candidates: tuple[Any, str]) -> Any:
        """Return the first candidate with a value, and record its origin; None if there is none."""
        for value, origin in candidates:
            if value:
                self.of[name] = origin
                return value
        return None


def log_namer(target: Target, field: str) -> int | None:
    """Return the user whose process named gunicorn's log (``gunicorn_error_log``, ``gunicorn_access_log``); None if
    settings or the guide did."""
    return target.gunicorn_log_namer if target.origin.get(field) == OF_GUNICORN else None


def gunicorn_hints(
    settings: Settings, pidfile: Pidfile | None, site: NginxSiteConfig | None
) -> gunicorn_topology.Hints:
    """Return the hints from settings and nginx for finding this service's gunicorn."""
    own = settings.gunicorn
    started_with = gunicorn_topology.config_of_command(own.start_command, settings.app.dir)
    configured = own.config_file or started_with
    return gunicorn_topology.Hints(
        bind=own.bind and gunicorn_topology.normal_bind(own.bind),
        unit=own.unit or None,
        pidfile=own.pidfile,
        pidfile_read=pidfile.path if pidfile else None,
        pidfile_pid=pidfile.pid if pidfile else None,
        pidfile_uid=pidfile.uid if pidfile else 0,
        config_files=(configured,) if configured else (),
        app_dirs=(settings.app.dir,) if settings.app.dir else (),
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
    """Return the target that probes and checks use.

    ``build``: the values of ``nginx -V``, and nginx's path as ``program`` if it was found. Raises nothing: values that
    are neither configured nor found are the guide's."""
    origins = _Origins()
    workers = gunicorn_topology.workers_of(processes.processes, master.pid) if master else ()
    pids = [p.pid for p in (*((master,) if master else ()), *workers)]
    listening = gunicorn_topology.listening_on(processes, pids)
    configured_bind = _configured_bind(gunicorn, master)

    near = next(iter((*listening, *configured_bind)), None)
    nginx = _site_reading(settings, config, build, near)
    domain = _domain(settings, origins, nginx)
    url = (settings.target.url or f"https://{join_host(domain)}").rstrip("/")
    app = _application(settings, origins, master, files)
    program = _nginx_program(settings, nginx.config, build)
    return Target(
        domain=domain,
        url=url,
        **_doors(settings, origins, nginx, url),
        backend=_backend(settings, origins, nginx, listening, configured_bind, gunicorn, master),
        **_asked(settings, origins),
        **_certificate_files(settings, origins, nginx, domain),
        ca_file=settings.tls.ca_file or None,
        client_certificate=settings.tls.client_certificate or None,
        client_key=settings.tls.client_key or None,
        headers_file=settings.target.headers_file or None,
        letsencrypt_dir=settings.tls.letsencrypt_dir,
        upstreams=nginx.upstreams(),
        other_sites=_other_sites(settings, nginx),
        **program,
        **_nginx_files(settings, origins, nginx),
        **_gunicorn_files(settings, origins, gunicorn, master),
        gunicorn_master=master.pid if master else None,
        gunicorn_workers=tuple(w.pid for w in workers),
        **app,
        origin=origins.of,
        **commands(
            settings,
            host,
            files,
            program["nginx_config_file"],
            program["nginx_binary"],
            build,
            app["app_dir"],
            app["python"],
            master,
            gunicorn.config,
            caller=processes.caller,
            nginx_owner=program["nginx_config_owner"],
        ),
    )


def _wanted_name(settings: Settings) -> str | None:
    return settings.target.domain or urlsplit(settings.target.url or "").hostname


def _site_reading(
    settings: Settings, config: NginxConfig | NotSeen, build: dict[str, str], near: str | None
) -> SiteReading:
    """Find the service's server block. ``near``: gunicorn's address, for a service that settings do not name."""
    readable = config if isinstance(config, NginxConfig) else None
    site = find_site(readable, _wanted_name(settings), near) if readable else None
    return SiteReading(readable, build, site)


def _domain(settings: Settings, origins: _Origins, nginx: SiteReading) -> str:
    """Return the name that users connect to."""
    name: str = origins.first(
        "domain",
        (_wanted_name(settings), WRITTEN),
        (public_name(nginx.server) if nginx.server else None, nginx.where),
        ("localhost", "default"),
    )
    return name


def _nginx_program(settings: Settings, config: NginxConfig | None, build: dict[str, str]) -> dict[str, Any]:
    """Return nginx's program, its main file, and the owner of that file: root if it was not read."""
    return {
        "nginx_binary": build.get("program") or (config and config.binary) or settings.nginx.binary,
        "nginx_installed": "program" in build,
        "nginx_config_owner": config.owner if config else ROOT,
        "nginx_config_file": config.file if config else settings.nginx.config_file or NGINX_CONFIG_FILE,
    }


def _other_sites(settings: Settings, nginx: SiteReading) -> tuple[OtherSite, ...]:
    """Return the other sites that nginx proxies; none if settings identify the service."""
    own, target = settings.gunicorn, settings.target
    if nginx.config is None or nginx.site is None:
        return ()
    if target.domain or target.url or own.bind or own.config_file or own.start_command or settings.app.dir:
        return ()
    ours = set(nginx.upstreams())
    sites = [
        OtherSite(
            name=public_name(site.server) or site.server.where,
            address=dialled(address),
            where=site.server.where,
        )
        for site in proxied_sites(nginx.config)
        for item in site.passes
        for address in item.addresses
        if dialled(address) not in ours
    ]
    return tuple({site.address: site for site in reversed(sites)}.values())[:MAX_OTHER_SITES]


def _asked(settings: Settings, origins: _Origins) -> dict[str, Any]:
    """Return the settings for the probes' requests and for the answers they expect."""
    target, usual = settings.target, TargetSettings()
    for name in ("health_path", "predict_path", "predict_body"):
        origins.first(name, (getattr(target, name) != getattr(usual, name), WRITTEN), ("default", "default"))
    return {
        "health_path": target.health_path,
        "ready_path": target.ready_path,
        "predict_path": target.predict_path,
        "predict_body": target.predict_body,
        "expect_key": target.expect_key,
        "slow_after_s": target.slow_after_s,
        "resolver": target.resolver or None,
        "expected_addresses": target.expected_addresses,
        "request_deadline": float(settings.app.request_deadline),
        "boot_deadline": float(settings.app.boot_deadline),
        "expiry_rules": rules_of(settings.tls.thresholds),
    }


def _application(
    settings: Settings, origins: _Origins, master: Process | None, files: FilesFound
) -> dict[str, Any]:
    """Return the application's directory, its interpreter, and its model's directory and source."""
    app_dir = origins.first(
        "app_dir",
        (settings.app.dir, WRITTEN),
        (master.cwd if master else None, "gunicorn's directory"),
        (GUIDE_APP_DIR, "guide"),
    )
    python = origins.first(
        "python",
        (settings.app.python, WRITTEN),
        (gunicorn_topology.interpreter(master) if master else None, "gunicorn's command line"),
        (master.executable if master else None, "gunicorn's interpreter"),
        (f"{app_dir}/venv/bin/python", "guide"),
    )
    model_dir = origins.first(
        "model_dir",
        (settings.model.dir, WRITTEN),
        (f"{app_dir}/{GUIDE_MODEL}" if files.model_parent else None, "guide"),
    )
    is_guide_s = bool(model_dir) and str(model_dir).rstrip("/").endswith(f"/{GUIDE_MODEL}")
    source = f"modelscope:{GUIDE_MODEL}" if is_guide_s else None
    if settings.model.source:
        from ops.text.sanitize import without_secrets

        source = without_secrets(settings.model.source)
    return {"app_dir": app_dir, "python": python, "model_dir": model_dir, "model_source": source}


def _configured_bind(gunicorn: Gunicorn, master: Process | None) -> tuple[str, ...]:
    arguments = gunicorn_topology.arguments(master)
    return gunicorn_topology.bind_addresses(
        gunicorn_topology.setting("bind", "bind", arguments, gunicorn.config)
    )


def _doors(settings: Settings, origins: _Origins, nginx: SiteReading, url: str) -> dict[str, Any]:
    """Return the addresses to connect to for HTTPS and plain HTTP, and the protocols that they expect."""
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    is_https = parts.scheme == "https"
    listen = nginx.front(port, ssl=is_https)
    without_tls = _listen_without_tls(nginx, port) if is_https else None
    # The configured address may belong to another machine, for example a balancer.
    dialled_listen = next(
        (item for item in (listen, without_tls) if item and _leads_to(settings.target.connect_to, item)), None
    )
    plain = nginx.front(80, ssl=False)
    front = origins.first(
        "connect_to",
        (settings.target.connect_to, WRITTEN),
        (listen and listen.dialled, nginx.where),
    )
    plain_address = origins.first(
        "plain_connect_to",
        (settings.target.connect_to_http, WRITTEN),
        (plain and plain.only_ipv6 and not settings.target.connect_to and plain.dialled, nginx.where),
        (None if settings.target.connect_to else "127.0.0.1:80", "default"),
    )
    return {
        "connect_to": front or f"127.0.0.1:{port}",
        "plain_connect_to": plain_address,
        "front_tls": is_https
        and not (settings.target.connect_to and dialled_listen and not dialled_listen.ssl),
        "front_proxy_protocol": dialled_listen is not None and nginx.begins_with_proxy_line(dialled_listen),
        "front_without_tls": without_tls and without_tls.dialled,
        "plain_proxy_protocol": plain is not None and nginx.begins_with_proxy_line(plain),
    }


def _leads_to(connect_to: str | None, listen: Listen) -> bool:
    """Whether the configured address is this socket; true if none is configured."""
    if connect_to is None or connect_to == listen.dialled:
        return True
    host, port = split_address(connect_to)
    return listen.host == "*" and port == listen.port and is_loopback(host)


def _listen_without_tls(nginx: SiteReading, port: int) -> Listen | None:
    """Return the plain listen of a site without TLS and without a listen on the HTTPS port: a balancer may end TLS."""
    if nginx.server is None or any(item.ssl or item.port == port for item in nginx.server.listens):
        return None
    return nginx.front(80, ssl=False)


def _backend(
    settings: Settings,
    origins: _Origins,
    nginx: SiteReading,
    listening: tuple[str, ...],
    configured_bind: tuple[str, ...],
    gunicorn: Gunicorn,
    master: Process | None,
) -> str:
    """Return the address of the service, or the one that it should have."""
    bind = settings.gunicorn.bind and gunicorn_topology.normal_bind(settings.gunicorn.bind)
    if bind and listening and not any(same_address(address, bind) for address in listening):
        bind = None  # the service runs at another address: use that one
    config = gunicorn.config
    passes = nginx.site.passes if nginx.site else ()
    return dialled(
        origins.first(
            "backend",
            (bind, WRITTEN),
            (next(iter(listening), None), f"gunicorn {master.pid if master else ''} listens there"),
            (
                next(iter(configured_bind), None),
                config.path if isinstance(config, GunicornConfig) else "gunicorn's command line",
            ),
            (next(iter(nginx.upstreams()), None), passes[0].where if passes else ""),
            (gunicorn_topology.DEFAULT_BIND, "default"),
        )
    )


def _certificate_files(
    settings: Settings, origins: _Origins, nginx: SiteReading, domain: str
) -> dict[str, Any]:
    """Return the certificate and key that nginx uses for the name."""
    lineage = PurePosixPath(settings.tls.letsencrypt_dir) / "live" / domain
    sources = {
        "certificate": (settings.tls.certificate, "ssl_certificate", "fullchain.pem"),
        "private_key": (settings.tls.private_key, "ssl_certificate_key", "privkey.pem"),
    }
    return {
        name: origins.first(
            name,
            (setting and setting.replace("<domain>", domain), WRITTEN),
            (nginx.file_of(directive), nginx.where),
            (str(lineage / file), "guide"),
        )
        for name, (setting, directive, file) in sources.items()
    }


def _nginx_files(settings: Settings, origins: _Origins, nginx: SiteReading) -> dict[str, Any]:
    """Return nginx's own files for the site."""
    configured = "nginx's configuration"
    error_log = settings.nginx.error_log
    error_logs = dict.fromkeys((*((error_log,) if error_log else ()), *nginx.error_logs()))
    return {
        "site_file": origins.first(
            "site_file",
            (settings.nginx.site_file, WRITTEN),
            (nginx.server.blocks[0].file if nginx.server else None, configured),
        ),
        "nginx_pidfile": origins.first(
            "nginx_pidfile",
            (settings.nginx.pidfile, WRITTEN),
            (nginx.pidfile(), configured),
            (
                compiled_path(nginx.build, "pid-path", nginx.config.prefix if nginx.config else None),
                "nginx -V",
            ),
            (NGINX_PIDFILE, "default"),
        ),
        "nginx_access_log": origins.first(
            "nginx_access_log",
            (settings.nginx.access_log, WRITTEN),
            (nginx.access_log(), configured),
            (None if nginx.site else GUIDE_NGINX_ACCESS_LOG, "guide"),
        ),
        "nginx_error_logs": tuple(error_logs) or (GUIDE_NGINX_ERROR_LOG,),
    }


def _gunicorn_files(
    settings: Settings, origins: _Origins, gunicorn: Gunicorn, master: Process | None
) -> dict[str, Any]:
    """Return gunicorn's own files; a log to standard error (``-``) is not a file."""
    arguments = gunicorn_topology.arguments(master)

    def log(name: str, setting: str | None, option: str, key: str, guide: str) -> str | None:
        value = gunicorn_topology.setting(key, option, arguments, gunicorn.config)
        file = value if isinstance(value, str) and value != "-" else None
        if file and master and master.cwd:
            file = str(PurePosixPath(master.cwd) / file)
        path: str | None = origins.first(
            name,
            (setting, WRITTEN),
            (file, OF_GUNICORN),
            (None if master else guide, "guide"),
        )
        return path

    own = settings.gunicorn
    return {
        "gunicorn_config_file": gunicorn.config.path if isinstance(gunicorn.config, GunicornConfig) else None,
        "gunicorn_pidfile": gunicorn.pidfile.path if isinstance(gunicorn.pidfile, Pidfile) else None,
        "gunicorn_log_namer": master.uid if master else None,
        "gunicorn_access_log": log(
            "gunicorn_access_log", own.access_log, "access-logfile", "accesslog", GUIDE_GUNICORN_ACCESS_LOG
        ),
        "gunicorn_error_log": log(
            "gunicorn_error_log", own.error_log, "error-logfile", "errorlog", GUIDE_GUNICORN_ERROR_LOG
        ),
    }
