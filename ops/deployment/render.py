"""Deployment files for one host, made from the examples under ``deploy/`` and ``ops/logrotate/``.

The examples are the only source: each is valid as it is, for gte-api.example.com with the deployment guide's paths. A
host's own values replace the example's, literally and in one pass. A template engine or a rebuild from a parse tree
would cost readability or the comments; the price of this way is a table of replaceable texts, each of which must occur
in the example, so that the two cannot drift apart unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Literal, get_args

from ops.deployment.examples import deployment_example, rotation_example
from ops.deployment.upstream import UPSTREAM_FILE, BalancedServer, render_upstream
from ops.errors import UsageError
from ops.text.language import Text

# Installed under /etc/nginx (or beside whichever nginx.conf is in use) by these names.
NGINX_FILES = ("conf.d/gte-api.conf", "snippets/gte-api-errors.conf")
SCANNERS_FILE = "snippets/gte-api-scanners.conf"

CRON_FILES = ("gte-ops-watchdog", "gte-ops-backup", "gte-ops-cert", "gte-ops-logrotate")
PROMETHEUS_FILES = (
    "gte-ops.rules.yml",
    "gte-ops.rules.test.yml",
    "gte-ops.scrape.yml",
    "gte-ops.alertmanager.yml",
)
# Read by systemd-sysusers and systemd-tmpfiles, wherever the units are (sysusers.d(5), tmpfiles.d(5)).
ACCOUNTS_FILE = "/etc/sysusers.d/gte-ops.conf"
DIRECTORIES_FILE = "/etc/tmpfiles.d/gte-ops.conf"
# The directory that the certificate check writes to, because it may not write to node_exporter's own.
CERT_METRICS = "/var/lib/gte-ops-cert/gte_ops_cert.prom"
# The list of backups: written after each backup, by root in its sandbox.
BACKUP_METRICS = "/var/lib/gte-ops-backup/gte_ops_backup.prom"
# The account of the certificate check and the drill.
CHECKS_ACCOUNT = "gte-ops"
# What node_exporter reads through a link in its own directory, and who writes it.
METRICS_FILES = {CERT_METRICS: CHECKS_ACCOUNT, BACKUP_METRICS: "root"}

DeploymentKind = Literal["nginx", "systemd", "logrotate", "cron", "prometheus"]
KINDS: tuple[DeploymentKind, ...] = get_args(DeploymentKind)

# Characters without a special meaning in sh, cron (%) and systemd (%, $).
_WORD = re.compile(r"[A-Za-z0-9_@+=:,./~-]+")
_COMMAND_LINE = re.compile(r"[A-Za-z0-9_@+=:,./~() -]+")
# The application of the toolkit's own service, which reads GTE_* variables.
_SUCCESSOR = (
    "# When a master hands over to its successor (USR2, gte-ops upgrade) and ends, systemd finds the successor here.\n"
    "PIDFile=/run/gte-api/gunicorn.pid\n"
)
_OWN_SERVICE = re.compile(r"service\.(?:app|gunicorn_conf)\b")
# Commands that are run, and are not part of any file.
_NOT_WRITTEN = ("test_nginx", "reload_nginx")
# Paths inside other values of the examples: the text around them.
_PLACES_ELSEWHERE = {"app_dir": "WorkingDirectory={}", "programs": "{}/gunicorn"}

# The user of a unit (User=) or a crontab line (setpriv(1)).
_RUNS_AS = re.compile(r"(?:^User=|--reuid )([A-Za-z0-9_.-]+)", re.MULTILINE)
_AS_ROOT = "# As gunicorn runs on this host now. How it gets an account of its own: docs/privileges.md.\n"

# Characters that nginx would not read as part of one plain word
# (nginx.org/en/docs/beginners_guide.html#conf_structure).
_NOT_A_PLAIN_WORD = re.compile(r"""[\s;{}"'$\\#]|^$""")


@dataclass(frozen=True, kw_only=True)
class NginxSite:
    """One site's values, the defaults being the example's own.

    ``http`` and ``https``: arguments of ``listen``, a port or address:port. ``public_url``: the target of redirects
    from plain HTTP, without a trailing slash; ``backend``: host:port or unix:/path. Sizes and times are in nginx's form
    (``1m``, ``120s``); ``rate``: as in limit_req_zone, ``burst``: a count. ``reject_unknown_names``: nginx has
    ssl_reject_handshake (1.19.4), so that a handshake for another name fails. ``servers``: the hosts behind this name,
    empty if there is only ``backend``. ``scanner_filter``: nginx answers what scanners ask for itself, with 404.
    """

    domain: str = "gte-api.example.com"
    http: str = "80"
    https: str = "443"
    public_url: str = "https://gte-api.example.com"
    backend: str = "127.0.0.1:8000"
    certificate: str = "/etc/letsencrypt/live/gte-api.example.com/fullchain.pem"
    private_key: str = "/etc/letsencrypt/live/gte-api.example.com/privkey.pem"
    access_log: str = "/var/log/nginx/gte-access.log"
    error_log: str = "/var/log/nginx/gte-error.log"
    challenge_root: str = "/var/www/letsencrypt"
    max_body: str = "1m"
    read_timeout: str = "120s"
    rate: str = "60r/m"
    burst: str = "20"
    reject_unknown_names: bool = False
    servers: tuple[BalancedServer, ...] = ()
    scanner_filter: bool = False


# The certificate that a TLS server for unknown names needs if nginx cannot reject the handshake.
_SHOWN_TO_ANYBODY = re.compile(
    r"    # From nginx 1\.19\.4 on .*\n(?:    # .*\n)*    ssl_certificate .*\n    ssl_certificate_key .*\n"
)

# Of the example, what is another with several servers: the server itself, and how long and where else nginx tries.
_ONE_SERVER = re.compile(r"    # With one server .*\n    server [^;]+;\n")
_CONNECT_TIMEOUT = "    proxy_connect_timeout 5s;\n"
_SEVERAL_SERVERS = f"""\
    zone gte_backend 256k;    # what is known of the servers is shared by nginx's workers
    include {UPSTREAM_FILE};
"""
_NEXT_SERVER = """\
    proxy_connect_timeout 2s;    # a host that is cut off costs this much, before the next one is asked
    # The next host is asked if this one was not reached, or if the request may be repeated. Without `non_idempotent`, a
    # POST that a host may have begun is never sent twice; 503 (overload) is the service's own answer and is passed on.
    proxy_next_upstream error timeout invalid_header;
    proxy_next_upstream_tries 3;
    proxy_next_upstream_timeout 10s;
"""

# Of the example, where the filter of scanners goes: the http level, and the location of the API.
_HTTP_LEVEL = "# Plain HTTP: certbot's challenge"
_API_LOCATION = "    location / {\n        limit_req "
_FILTER_INCLUDE = f"# What scanners ask for, and who they say they are.\ninclude {SCANNERS_FILE};\n\n"
_FILTER = "    location / {\n        if ($gte_scanner) { return 404; }\n        limit_req "

# The example's text around each value, with {} for the value. If one text begins with another, the longer comes first.
_PLACES = {
    "certificate": "{}",
    "private_key": "{}",
    "access_log": "{}",
    "error_log": "{}",
    "challenge_root": "{}",
    "public_url": "{}",
    "http": "listen {};",
    "https": "listen {} ssl;",
    "backend": "server {};",
    "max_body": "client_max_body_size  {};",
    "read_timeout": "proxy_read_timeout    {};",
    "rate": "rate={};",
    "burst": "burst={} ",
    "domain": "{}",
}


def render_nginx(site: NginxSite) -> dict[str, str]:
    """The site's nginx files: their path below nginx's directory, and their text.

    Raises UsageError for a value that nginx would not read as one word, and that could end the directive and begin
    another.
    """
    example = NginxSite()
    replacements: dict[str, str] = {}
    for field in fields(NginxSite):
        value = getattr(site, field.name)
        if isinstance(value, str) and _NOT_A_PLAIN_WORD.search(value):
            raise UsageError(
                Text(
                    en=f"nginx {field.name}: {value!r} has characters that nginx's syntax gives a meaning; use plain"
                    " ones",
                    zh=f"nginx {field.name}：{value!r} 含有对 nginx 语法有特殊含义的字符；请只用普通字符",
                )
            )
    for name, place in _PLACES.items():
        replacements[place.format(getattr(example, name))] = place.format(getattr(site, name))
    pattern = re.compile("|".join(map(re.escape, replacements)))
    texts = {path: deployment_example("nginx", path) for path in NGINX_FILES}
    if site.reject_unknown_names:
        texts = {
            path: _SHOWN_TO_ANYBODY.sub("    ssl_reject_handshake on;\n", text)
            for path, text in texts.items()
        }
    rendered = {
        path: pattern.sub(lambda match: replacements[match.group()], text) for path, text in texts.items()
    }
    if site.servers:
        path = NGINX_FILES[0]
        several = _ONE_SERVER.sub(lambda _: _SEVERAL_SERVERS, rendered[path])
        rendered[path] = several.replace(_CONNECT_TIMEOUT, _NEXT_SERVER)
        rendered[UPSTREAM_FILE] = render_upstream(site.servers)
    if site.scanner_filter:
        path = NGINX_FILES[0]
        filtered = rendered[path].replace(_HTTP_LEVEL, f"{_FILTER_INCLUDE}{_HTTP_LEVEL}", 1)
        rendered[path] = filtered.replace(_API_LOCATION, _FILTER, 1)
        rendered[SCANNERS_FILE] = deployment_example("nginx", SCANNERS_FILE)
    return rendered


@dataclass(frozen=True)
class RotatedLog:
    """A log in our rotation rule. ``owner``: user and group of the new file, None for the old one's; ``su``: the user
    with whose rights logrotate works in its directory (logrotate(8), su)."""

    path: str
    writer: Literal["nginx", "gunicorn"]
    mode: int = 0o640
    owner: tuple[str, str] | None = None
    su: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One host's values for everything but the nginx site, the defaults being the examples' own.

    Paths are absolute. ``programs`` holds gunicorn, ``gte_ops`` is the toolkit's program. ``gunicorn_arguments``: its
    arguments. ``nginx_owner`` and ``gunicorn_owner``: user and group of their logs; ``nginx_su`` and ``gunicorn_su``:
    the user with whose rights logrotate works in a directory that others than root may write (logrotate(8), su);
    ``rotated``: each log by itself, if the host was examined. ``not_rotated``: why further logs are left out.
    ``rotated_elsewhere``: logs that another rule already rotates, with that rule's file. ``daemon``: gunicorn forks
    into the background. ``gunicorn_note``: a remark on a running gunicorn of another user. ``watchdog_writes``: further
    directories that the watchdog writes to.
    """

    site: NginxSite = NginxSite()
    nginx_dir: str = "/etc/nginx"
    site_file: str = "/etc/nginx/conf.d/gte-api.conf"
    nginx_pidfile: str = "/run/nginx.pid"
    nginx_owner: tuple[str, str] = ("www-data", "adm")
    nginx_su: tuple[str, str] | None = None
    unit: str = "gte-api.service"
    app_dir: str = "/opt/gte-api"
    programs: str = "/opt/gte-api/venv/bin"
    gte_ops: str = "/opt/gte-api/venv/bin/gte-ops"
    gunicorn_arguments: str = "-c python:service.gunicorn_conf service.app:create_app()"
    daemon: bool = False
    gunicorn_pidfile: str = "/run/gte-api/gunicorn.pid"
    rotation_pidfile: str | None = None  # None: gunicorn_pidfile
    gunicorn_access_log: str = "/var/log/gte-api/access.log"
    gunicorn_error_log: str = "/var/log/gte-api/error.log"
    gunicorn_owner: tuple[str, str] = ("gte-api", "gte-api")
    gunicorn_note: Text | None = None
    gunicorn_su: tuple[str, str] | None = ("gte-api", "gte-api")
    progress_dir: str = "/run/gte-api/progress"
    settings_file: str = "/etc/gte-ops/gte-ops.toml"
    watchdog_metrics: str = "/var/lib/gte-ops/watchdog.prom"
    watchdog_writes: tuple[str, ...] = ()
    unit_dir: str = "/etc/systemd/system"
    cron_dir: str = "/etc/cron.d"
    logrotate_file: str = "/etc/logrotate.d/gte-api"
    rotated: tuple[RotatedLog, ...] | None = None
    not_rotated: tuple[Text, ...] = ()
    rotated_elsewhere: tuple[tuple[str, str], ...] = ()
    backup_max_age: float = 36 * 3600.0
    test_nginx: tuple[str, ...] = ("nginx", "-t")
    reload_nginx: str = "systemctl reload nginx"
    backup_dir: str = "/var/backups/gte-ops"
    letsencrypt_dir: str = "/etc/letsencrypt"
    docs_url: str = "https://docs.example.com/gte-ops"


@dataclass(frozen=True)
class RenderedFile:
    """A file as it is to be installed."""

    path: str
    text: str
    mode: int = 0o644


def render(kind: DeploymentKind, deployment: Deployment) -> tuple[RenderedFile, ...]:
    """The files of one kind for this deployment. Raises UsageError for a value that would not be read as one word."""
    _refuse_unsafe(deployment)
    return _RENDERERS[kind](deployment)


def _refuse_unsafe(deployment: Deployment) -> None:
    """Values go into unit files, crontabs and shell scripts, so only characters without a special meaning in any of
    them are allowed."""
    for field in fields(Deployment):
        value = getattr(deployment, field.name)
        words = [value] if isinstance(value, str) else list(_strings(value))
        if field.name in _NOT_WRITTEN:
            continue
        pattern = _COMMAND_LINE if field.name == "gunicorn_arguments" else _WORD
        for word in words:
            _refuse_word(field.name, word, pattern)


def _refuse_word(name: str, word: str, pattern: re.Pattern[str] = _WORD) -> None:
    if not pattern.fullmatch(word):
        raise UsageError(
            Text(
                en=f"{name}: {word!r} has characters that a shell, cron or systemd gives a meaning; use plain ones",
                zh=f"{name}：{word!r} 含有对 shell、cron 或 systemd 有特殊含义的字符；请只用普通字符",
            )
        )


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _strings(item)


def _nginx(deployment: Deployment) -> tuple[RenderedFile, ...]:
    texts = render_nginx(deployment.site)
    site, errors = NGINX_FILES
    # The site last: it includes the others.
    included = (errors, *(path for path in (UPSTREAM_FILE, SCANNERS_FILE) if path in texts))
    return (
        *(RenderedFile(f"{deployment.nginx_dir}/{name}", texts[name]) for name in included),
        RenderedFile(deployment.site_file, texts[site]),
    )


def is_plain_argument(word: str) -> bool:
    """Whether a shell and systemd read ``word`` literally, so that it may be part of a command line."""
    return " " not in word and _COMMAND_LINE.fullmatch(word) is not None


def _systemd(deployment: Deployment) -> tuple[RenderedFile, ...]:
    at_home = deployment.app_dir.startswith(("/root/", "/home/")) or deployment.app_dir == "/root"
    user, group = deployment.gunicorn_owner
    runtime = _runtime_directory(deployment)
    own = ("/var/log/gte-api", f"/run/{runtime}")
    logs = (deployment.gunicorn_access_log, deployment.gunicorn_error_log, deployment.gunicorn_pidfile)
    folders = (*(str(PurePosixPath(path).parent) for path in logs), deployment.progress_dir)
    writes = [f for f in dict.fromkeys(folders) if not any(map(PurePosixPath(f).is_relative_to, own))]
    # A daemon does not notify systemd, which reads its pidfile instead.
    pidfile = f"PIDFile={deployment.gunicorn_pidfile}"
    kind = f"Type=forking\n{pidfile}\n" if deployment.daemon else "Type=notify\n"
    service = {
        "User=gte-api": f"{_AS_ROOT}User=root" if user == "root" else f"User={user}",
        "Group=gte-api": f"Group={group}",
        "Type=notify\n": kind,
        "ProtectHome=yes": "ProtectHome=read-only" if at_home else "ProtectHome=yes",
        "ProtectSystem=strict\n": _writable(writes),
        "RuntimeDirectory=gte-api": f"RuntimeDirectory={runtime}",
        "GTE_METRICS_DIR=/run/gte-api/": f"GTE_METRICS_DIR=/run/{runtime}/",
    }
    is_own = _OWN_SERVICE.search(deployment.gunicorn_arguments) is not None
    if deployment.daemon or not is_own:
        service[_SUCCESSOR] = ""
    if not is_own:
        service |= dict.fromkeys(_own_settings(), "")
        service["Description=GTE inference service (gunicorn)"] = f"Description=gunicorn ({deployment.unit})"
        service["# The inference service. Install"] = "# The application, by gunicorn. Install"
        service["; variables: docs/api.md."] = "."
    watchdog = {"ProtectSystem=strict\n": _writable(deployment.watchdog_writes)}
    if {"/run", "/var/run"} & set(deployment.watchdog_writes):
        watchdog["ReadOnlyPaths=/run\n"] = ""  # of two settings for one path the stricter applies
    names = {
        "gte-api.service": (deployment.unit, service),
        "gte-ops-watchdog.service": ("gte-ops-watchdog.service", watchdog),
    }
    for name in ("gte-ops-backup", "gte-ops-cert", "gte-ops-drill"):
        for ending in (".service", ".timer"):
            names[name + ending] = (name + ending, {})
    names["logrotate.timer.d/gte-ops.conf"] = ("logrotate.timer.d/gte-ops.conf", {})
    units = tuple(
        RenderedFile(
            f"{deployment.unit_dir}/{name}",
            _filled(deployment_example("systemd", example), deployment, places),
        )
        for example, (name, places) in names.items()
    )
    # First the accounts and directories that the units need.
    return (*_accounts(deployment), *units)


def _runtime_directory(deployment: Deployment) -> str:
    """The directory below /run that the unit makes, and removes at its end: each service its own."""
    match PurePosixPath(deployment.gunicorn_pidfile).parts:
        case ("/", "run", name, _) if name.startswith("gte-api"):
            return name
    return "gte-api"


def _own_settings() -> list[str]:
    """The lines of the service's unit that only the toolkit's own service reads."""
    text = deployment_example("systemd", "gte-api.service")
    return [line for line in text.splitlines(keepends=True) if line.startswith("Environment=GTE_")]


def _accounts(deployment: Deployment) -> Iterator[RenderedFile]:
    """The accounts in the units, and the directories that must exist before a unit's sandbox is set up.

    A service that already runs as another user keeps that user and needs neither an account nor a directory of ours."""
    own = Deployment().gunicorn_owner
    for path in (ACCOUNTS_FILE, DIRECTORIES_FILE):
        text = _filled(deployment_example("systemd", path.removeprefix("/etc/")), deployment, {})
        if deployment.gunicorn_owner != own:
            text = re.sub(rf"(?m)^(?:u|d .* root) {own[0]} .*\n", "", text)
        yield RenderedFile(path, text)


def accounts_of(files: Sequence[RenderedFile]) -> tuple[str, ...]:
    """The accounts that units and cron entries run as by name, beside root."""
    accounts = (name for file in files for name in _RUNS_AS.findall(file.text))
    return tuple(dict.fromkeys(name for name in accounts if name != "root" and not name.isdecimal()))


def account_command(name: str) -> tuple[str, ...]:
    """The command that makes a system account where there is no systemd-sysusers (useradd(8))."""
    options = (
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        "/",
        "--shell",
        "/usr/sbin/nologin",
    )
    return ("useradd", *options, name)


def _writable(folders: Sequence[str]) -> str:
    # Created by other programs or missing so far: a unit must start all the same (systemd.exec(5), the leading minus).
    lines = "".join(f"ReadWritePaths=-{folder}\n" for folder in folders)
    return f"ProtectSystem=strict\n{lines}"


def _cron(deployment: Deployment) -> tuple[RenderedFile, ...]:
    folder = str(PurePosixPath(deployment.gte_ops).parent)
    places = {"PATH=/opt/gte-api/venv/bin:": f"PATH={folder}:"}
    return tuple(
        RenderedFile(
            f"{deployment.cron_dir}/{name}", _filled(deployment_example("cron", name), deployment, places)
        )
        for name in CRON_FILES
    )


def _logrotate(deployment: Deployment) -> tuple[RenderedFile, ...]:
    elsewhere = dict(deployment.rotated_elsewhere)
    logs = _usual_logs(deployment) if deployment.rotated is None else deployment.rotated
    deployment = replace(
        deployment, gunicorn_pidfile=deployment.rotation_pidfile or deployment.gunicorn_pidfile
    )
    for log in logs:
        for word in (log.path, *(log.owner or ()), *(log.su or ())):
            _refuse_word("rotated", word)
    texts = [f"# {reason.en}.\n" for reason in deployment.not_rotated]
    for name in ("nginx", "gunicorn"):
        own_logs = [log for log in logs if log.writer == name]
        texts += [
            f"# {log.path}: {elsewhere[log.path]} rotates it.\n" for log in own_logs if log.path in elsewhere
        ]
        # The same log in two rules makes logrotate skip a whole file of them.
        terms: dict[RotatedLog, dict[str, None]] = {}
        for log in own_logs:
            if log.path not in elsewhere:
                terms.setdefault(replace(log, path=""), {})[log.path] = None
        example = rotation_example(name)
        for how, paths in terms.items():
            head, _, rest = example.partition("/var/log/")
            text = head + "".join(f"{path}\n" for path in paths) + "{" + rest.partition("{")[2]
            text = re.sub(r"    su .*\n", "", text)
            line = " ".join((f"    create {how.mode:04o}", *(how.owner or ()))) + "\n"
            line = f"    su {how.su[0]} {how.su[1]}\n{line}" if how.su else line
            texts.append(_filled(re.sub(r"    create .*\n", line, text), deployment, {}))
    return (RenderedFile(deployment.logrotate_file, "".join(texts)),)


def _usual_logs(deployment: Deployment) -> tuple[RotatedLog, ...]:
    """The logs by the configuration alone."""
    site, own = deployment.site, deployment
    return (
        *(
            RotatedLog(path, "nginx", 0o640, own.nginx_owner, own.nginx_su)
            for path in (site.access_log, site.error_log)
        ),
        *(
            RotatedLog(path, "gunicorn", 0o640, own.gunicorn_owner, own.gunicorn_su)
            for path in (own.gunicorn_access_log, own.gunicorn_error_log)
        ),
    )


def _prometheus(deployment: Deployment) -> tuple[RenderedFile, ...]:
    places = {
        "https://gte-api.example.com": deployment.site.public_url,
        "gte-api.example.com": deployment.site.domain,
        "127.0.0.1:8000": deployment.site.backend,
        "129600": f"{deployment.backup_max_age:.0f}",
    }
    return tuple(
        RenderedFile(
            f"/etc/prometheus/{name}", _filled(deployment_example("prometheus", name), deployment, places)
        )
        for name in PROMETHEUS_FILES
    )


def _filled(text: str, deployment: Deployment, places: Mapping[str, str]) -> str:
    """``text`` with the deployment's values instead of the example's, replaced in one pass."""
    examples, replacements = Deployment(), dict(places)
    for field in fields(Deployment):
        example, value = getattr(examples, field.name), getattr(deployment, field.name)
        if isinstance(example, str) and field.name not in _NOT_WRITTEN:
            place = _PLACES_ELSEWHERE.get(field.name, "{}")
            replacements.setdefault(place.format(example), place.format(value))
    replacements.setdefault(f"GTE_BIND={examples.site.backend}", f"GTE_BIND={deployment.site.backend}")
    longest_first = sorted(replacements, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    return pattern.sub(lambda match: replacements[match.group()], text)


_RENDERERS: dict[DeploymentKind, Callable[[Deployment], tuple[RenderedFile, ...]]] = {
    "nginx": _nginx,
    "systemd": _systemd,
    "logrotate": _logrotate,
    "cron": _cron,
    "prometheus": _prometheus,
}
