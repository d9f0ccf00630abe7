"""A healthy host, laid out like the deployment guide, as one snapshot. Tests of judges change single facts of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ops.facts.base import NotSeen
from ops.facts.certificates import (
    Certificate,
    Certificates,
    KeyFile,
    Lineage,
    Lineages,
    OldTls,
    PemFile,
    RenewalConf,
    Served,
)
from ops.facts.files import AccessStep, Application, Environment, ModelAccess, ModelFiles, Reader, SourceFile
from ops.facts.gunicorn import ConfigValue, Gunicorn, GunicornConfig, ProgressRecord
from ops.facts.host import Host, Listener, Process, Processes
from ops.facts.logs import AccessLog, Log, LogEntry, Logs
from ops.facts.machine import CpuTime, FileSystem, Footprint, KernelLog, Machine, Memory, OpenFiles
from ops.facts.nginx import Directive, NginxConfig, NginxTest, Pidfile
from ops.facts.packet_filter import PacketFilter
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import (
    Activity,
    Backend,
    Connection,
    Exchange,
    Front,
    Resolution,
    Upstreams,
    WorkerActivity,
)
from ops.facts.safeguards import (
    Backup,
    Backups,
    BootService,
    LogFile,
    OpenLog,
    Rotation,
    RotationRule,
    Schedule,
    Timer,
)
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.facts.traffic import Answers, Traffic
from ops.facts.units import Unit, Units

NOW = 1_795_309_200.0  # 2026-11-22 01:00 UTC
DAY = 86400.0

DOMAIN = "gte-api.example.com"
URL = f"https://{DOMAIN}"
HOST_ADDRESS = "192.0.2.10"
FRONT = "127.0.0.1:443"
BACKEND = "127.0.0.1:8000"

NGINX_MASTER, NGINX_WORKER = 700, 701
GUNICORN_MASTER, GUNICORN_WORKERS = 900, (901, 902)

NGINX_CONF = "/etc/nginx/nginx.conf"
SITE_FILE = "/etc/nginx/conf.d/gte-api.conf"
NGINX_ERROR_LOG = "/var/log/nginx/gte-error.log"
NGINX_ACCESS_LOG = "/var/log/nginx/gte-access.log"
MAIN_ERROR_LOG = "/var/log/nginx/error.log"
GUNICORN_ERROR_LOG = "/var/log/gte-gunicorn-error.log"
GUNICORN_ACCESS_LOG = "/var/log/gte-gunicorn-access.log"
GUNICORN_CONF = "/root/build/gunicorn.conf.py"
GUNICORN_PIDFILE = "/var/run/gte-gunicorn.pid"
LINEAGE = f"/etc/letsencrypt/live/{DOMAIN}"
MODEL_DIR = "/root/build/iic/nlp_gte_sentence-embedding_chinese-large"

SITE = """
limit_req_zone $binary_remote_addr zone=gte_api:10m rate=60r/m;
upstream gte_backend { server 127.0.0.1:8000; keepalive 32; }
server {
    listen 80;
    server_name gte-api.example.com;
    location / { return 308 https://gte-api.example.com$request_uri; }
}
server {
    listen 443 ssl;
    server_name gte-api.example.com;
    ssl_certificate /etc/letsencrypt/live/gte-api.example.com/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/gte-api.example.com/privkey.pem;
    access_log /var/log/nginx/gte-access.log;
    error_log /var/log/nginx/gte-error.log warn;
    proxy_read_timeout 120s; proxy_http_version 1.1; proxy_set_header Connection "";
    location / {
        limit_req zone=gte_api burst=20 nodelay;
        limit_req_status 429;
        proxy_pass http://gte_backend;
    }
    location = /health { proxy_pass http://gte_backend; }
}
"""

_WORD = re.compile(r"""\s*(?:("(?:[^"\\]|\\.)*"|'[^']*')|([{};])|((?:[^\s;{}]|(?<=\$)\{[^}]*\})+))""")


def directives(text: str, file: str = SITE_FILE) -> tuple[Directive, ...]:
    """nginx's configuration language without its comments and includes, read into the snapshot's form."""
    words = [
        (m[1][1:-1] if m[1] else m[2] or m[3], m[2] is not None, text.count("\n", 0, m.end()) + 1)
        for m in _WORD.finditer(text)
    ]

    def block(at: int) -> tuple[tuple[Directive, ...], int]:
        found: list[Directive] = []
        while at < len(words) and words[at][:2] != ("}", True):
            name, line, args = words[at][0], words[at][2], []
            at += 1
            while not words[at][1]:
                args.append(words[at][0])
                at += 1
            if name == "if" and args[:1] and args[0].startswith("("):
                # As crossplane reads a condition: without its parentheses.
                args[0], args[-1] = args[0][1:], args[-1].removesuffix(")")
                args = args if args[-1] else args[:-1]
            inner = None
            if words[at][0] == "{":
                inner, at = block(at + 1)
            found.append(Directive(name=name, args=tuple(args), file=file, line=line, block=inner))
            at += 1
        return tuple(found), at

    return block(0)[0]


def nginx_config(site: str = SITE, **changes: Any) -> NginxConfig:
    """A main file of the distribution's kind around ``site``."""
    http = Directive(name="http", args=(), file=NGINX_CONF, line=4, block=directives(site))
    main = directives(f"user www-data;\npid /run/nginx.pid;\nerror_log {MAIN_ERROR_LOG};", NGINX_CONF)
    config = NginxConfig(
        binary="/usr/sbin/nginx",
        version="1.22.1",
        prefix="/usr/share/nginx",
        file=NGINX_CONF,
        directives=(*main, http),
        files=(NGINX_CONF, SITE_FILE),
    )
    return msgspec.structs.replace(config, **changes)


def exchange(
    status: int | None = 200,
    body: str = "",
    *,
    method: str = "GET",
    url: str = f"{URL}/health",
    address: str = FRONT,
    kind: str = "application/json",
    server: str = "nginx",
    location: str | None = None,
    failure: ProbeFailure | None = None,
    detail: str = "",
    elapsed: float = 0.02,
) -> Exchange:
    """One answer, or with ``failure`` what came instead of it."""
    headers = [("Server", server), ("Content-Type", kind)]
    if location is not None:
        headers.append(("Location", location))
    return Exchange(
        method=method,
        url=url,
        address=address,
        failure=failure,
        detail=detail,
        status=None if failure else status,
        headers=() if failure else tuple(headers),
        body="" if failure else body,
        elapsed=elapsed,
    )


def page(status: int, title: str, **told: Any) -> Exchange:
    """An HTML page, as nginx, Flask and others write them for an error."""
    body = f"<html>\n<head><title>{title}</title></head>\n<body><h1>{title}</h1></body></html>"
    return exchange(status, body, **{"kind": "text/html", **told})


HEALTH = '{"status": "ok", "service": "gte"}'
PREDICTION = '{"result": [{"span": "北京", "type": "LOC"}]}'
PREDICT: dict[str, Any] = {"method": "POST", "url": f"{URL}/predict"}
AT_BACKEND: dict[str, Any] = {"address": BACKEND, "server": "gunicorn"}


def timed_out(waited: float = 9.6, **told: Any) -> Exchange:
    """No answer for as long as was waited."""
    return exchange(failure=ProbeFailure.TIMEOUT, detail="timed out", elapsed=waited, **told)


def refused(address: str) -> Connection:
    """A connection that nobody takes."""
    return Connection(address=address, failure=ProbeFailure.REFUSED, detail="Connection refused")


def certificate(**changes: Any) -> Certificate:
    """A public authority's certificate for 90 days, 80 of them left."""
    made = Certificate(
        subject=f"CN={DOMAIN}",
        issuer="C=US,O=Let's Encrypt,CN=R10",
        names=(DOMAIN,),
        not_before=NOW - 10 * DAY,
        not_after=NOW + 80 * DAY,
        fingerprint="aa" * 32,
        public_key="bb" * 32,
        self_signed=False,
        is_authority=False,
        serial="3A",
        key_type="EC secp256r1",
        issuer_url="http://r10.i.lencr.org/",
    )
    return msgspec.structs.replace(made, **changes)


INTERMEDIATE = certificate(
    subject="C=US,O=Let's Encrypt,CN=R10",
    issuer="C=US,O=ISRG,CN=ISRG Root X1",
    names=(),
    fingerprint="cc" * 32,
    public_key="dd" * 32,
    is_authority=True,
    serial="4B",
    not_before=NOW - 900 * DAY,
    not_after=NOW + 900 * DAY,
)


LEAF_FILE = PemFile(
    path=f"{LINEAGE}/fullchain.pem",
    resolved=f"/etc/letsencrypt/archive/{DOMAIN}/fullchain1.pem",
    modified=NOW - 10 * DAY,
    certificates=(certificate(), INTERMEDIATE),
)
KEY_FILE = KeyFile(
    path=f"{LINEAGE}/privkey.pem",
    resolved=f"/etc/letsencrypt/archive/{DOMAIN}/privkey1.pem",
    modified=NOW - 10 * DAY,
    mode=0o600,
    public_key="bb" * 32,
)


def lineage(**changes: Any) -> Lineage:
    """certbot's lineage of the site's certificate, renewed ten days ago."""
    made = Lineage(
        name=DOMAIN,
        live=LINEAGE,
        linked=True,
        certificate=LEAF_FILE,
        key=KEY_FILE,
        renewal=RenewalConf(
            path=f"/etc/letsencrypt/renewal/{DOMAIN}.conf", version="2.1.0", authenticator="webroot"
        ),
        renewed=NOW - 10 * DAY,
    )
    return msgspec.structs.replace(made, **changes)


def entry(text: str, *, ago: float = 60.0, level: str = "error", pid: int | None = None) -> LogEntry:
    """A log entry so many seconds old."""
    return LogEntry(time=NOW - ago, level=level, pid=pid, text=text)


def log(path: str, *entries: LogEntry) -> Log:
    """An error log that holds ``entries``, oldest first."""
    return Log(path=path, size=4096, modified=NOW - 1, entries=tuple(sorted(entries, key=lambda e: e.time)))


def gunicorn_log(*entries: LogEntry) -> Log:
    """gunicorn's error log."""
    return log(GUNICORN_ERROR_LOG, *entries)


def nginx_logs(*entries: LogEntry) -> dict[str, Log | NotSeen]:
    """nginx's error logs: the site's with ``entries``, the main one empty."""
    return {NGINX_ERROR_LOG: log(NGINX_ERROR_LOG, *entries), MAIN_ERROR_LOG: log(MAIN_ERROR_LOG)}


def answered(status: str, count: int = 1, *, ago: tuple[float, float] = (600, 2), **changes: Any) -> Answers:
    """So many predictions with one status; ``ago``: how old the first and the last are."""
    made = Answers(
        method="POST", path="/predict", status=status, count=count, first=NOW - ago[0], last=NOW - ago[1]
    )
    return msgspec.structs.replace(made, **changes)


def traffic(*answers: Answers, **changes: Any) -> Traffic:
    """What users asked and were answered in the last quarter of an hour."""
    return msgspec.structs.replace(Traffic(since=NOW - 900, answers=answers), **changes)


def access_log(path: str, statuses: dict[str, int], **changes: Any) -> AccessLog:
    """An access log with so many predictions of each status."""
    made = AccessLog(
        path=path,
        size=9000,
        modified=NOW - 2,
        requests=sum(statuses.values()),
        statuses=statuses,
        last=NOW - 2,
        traffic=traffic(*(answered(status, count) for status, count in statuses.items())),
    )
    return msgspec.structs.replace(made, **changes)


def process(pid: int, ppid: int, *command: str, **changes: Any) -> Process:
    """One process, an hour old."""
    made = Process(
        pid=pid,
        ppid=ppid,
        name=command[0].rpartition("/")[2].partition(":")[0],
        command=command,
        user="root",
        state="sleeping",
        started=NOW - 3600,
        start_ticks=1000 + pid,
    )
    return msgspec.structs.replace(made, **changes)


GUNICORN_COMMAND = (
    "/root/build/venv/bin/python",
    "/root/build/venv/bin/gunicorn",
    "-c",
    "gunicorn.conf.py",
    "app:app",
)
NGINX_PROCESSES = (
    process(
        NGINX_MASTER, 1, "nginx: master process /usr/sbin/nginx -g daemon on;", executable="/usr/sbin/nginx"
    ),
    process(NGINX_WORKER, NGINX_MASTER, "nginx: worker process", user="www-data"),
)
GUNICORN_PROCESSES = tuple(
    process(
        pid,
        1 if pid == GUNICORN_MASTER else GUNICORN_MASTER,
        *GUNICORN_COMMAND,
        cwd="/root/build",
        environment={},
        executable="/usr/bin/python3.11",
    )
    for pid in (GUNICORN_MASTER, *GUNICORN_WORKERS)
)
NGINX_LISTENERS = (
    Listener(address="0.0.0.0:80", pids=(NGINX_MASTER, NGINX_WORKER), queued=0),
    Listener(address="0.0.0.0:443", pids=(NGINX_MASTER, NGINX_WORKER), queued=0),
)
GUNICORN_LISTENER = Listener(address=BACKEND, pids=(GUNICORN_MASTER, *GUNICORN_WORKERS), queued=0)


def processes(*groups: Sequence[Process], listeners: Sequence[Listener] | None = None) -> Processes:
    """The processes of all ``groups``, by default nginx's and gunicorn's with their listeners."""
    return Processes(
        processes=tuple(p for group in groups or (NGINX_PROCESSES, GUNICORN_PROCESSES) for p in group),
        listeners=tuple((*NGINX_LISTENERS, GUNICORN_LISTENER) if listeners is None else listeners),
    )


def gunicorn_config(**assigned: Any) -> GunicornConfig:
    """gunicorn's configuration file with these settings, one a line."""
    return GunicornConfig(
        path=GUNICORN_CONF,
        assigned={
            name: ConfigValue(line=line, known=True, value=value, source=repr(value), is_plain=True)
            for line, (name, value) in enumerate(assigned.items(), 1)
        },
    )


SETTINGS: dict[str, Any] = {
    "bind": BACKEND,
    "workers": 2,
    "timeout": 30,
    "pidfile": GUNICORN_PIDFILE,
    "accesslog": GUNICORN_ACCESS_LOG,
    "errorlog": GUNICORN_ERROR_LOG,
    "preload_app": True,
    "max_requests": 1000,
}

TARGET = Target(
    domain=DOMAIN,
    url=URL,
    connect_to=FRONT,
    plain_connect_to="127.0.0.1:80",
    backend=BACKEND,
    health_path="/health",
    ready_path="/ready",
    predict_path="/predict",
    predict_body='{"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}',
    expect_key="result",
    slow_after_s=3.0,
    resolver=None,
    expected_addresses=(),
    certificate=f"{LINEAGE}/fullchain.pem",
    private_key=f"{LINEAGE}/privkey.pem",
    ca_file=None,
    letsencrypt_dir="/etc/letsencrypt",
    upstreams=(BACKEND,),
    site_file=SITE_FILE,
    nginx_binary="/usr/sbin/nginx",
    nginx_installed=True,
    nginx_config_file=NGINX_CONF,
    nginx_pidfile="/run/nginx.pid",
    nginx_access_log=NGINX_ACCESS_LOG,
    nginx_error_logs=(NGINX_ERROR_LOG, MAIN_ERROR_LOG),
    gunicorn_config_file=GUNICORN_CONF,
    gunicorn_pidfile=GUNICORN_PIDFILE,
    gunicorn_access_log=GUNICORN_ACCESS_LOG,
    gunicorn_error_log=GUNICORN_ERROR_LOG,
    gunicorn_master=GUNICORN_MASTER,
    gunicorn_workers=GUNICORN_WORKERS,
    app_dir="/root/build",
    python="/root/build/venv/bin/python",
    python_command="/root/build/venv/bin/python",
    model_dir=MODEL_DIR,
    model_source="modelscope:iic/nlp_gte_sentence-embedding_chinese-large",
    request_deadline=120.0,
    boot_deadline=300.0,
    start_command="systemctl start gte-api.service",
    restart_command="systemctl restart gte-api.service",
    reload_nginx="systemctl reload nginx",
    start_nginx="systemctl start nginx",
    test_nginx="nginx -t",
    origin={"domain": f"{SITE_FILE}:9", "certificate": f"{SITE_FILE}:9", "private_key": f"{SITE_FILE}:9"},
)

SERVICE_LOGS = (NGINX_ACCESS_LOG, NGINX_ERROR_LOG, GUNICORN_ACCESS_LOG, GUNICORN_ERROR_LOG)


def rotation_rule(*patterns: str, **changes: Any) -> RotationRule:
    """A sound rule for ``patterns``."""
    made = RotationRule(
        file="/etc/logrotate.d/gte-api",
        line=3,
        patterns=patterns,
        options={"daily": "", "rotate": "14", "compress": "", "delaycompress": "", "sharedscripts": ""},
        scripts={"postrotate": "kill -USR1 $(cat /run/nginx.pid)"},
    )
    return msgspec.structs.replace(made, **changes)


BACKUP_DIR = "/var/backups/gte-ops"


def backup_file(name: str = "gte-ops-gte-1.tar.zst", *, ago: float = 3600.0, **changes: Any) -> Backup:
    """A good archive, so many seconds old."""
    made = Backup(path=f"{BACKUP_DIR}/{name}", created_at=NOW - ago, size=20_000, is_own=True, verified=True)
    return msgspec.structs.replace(made, **changes)


GIB = 1 << 30
MACHINE = Machine(
    file_systems=(
        FileSystem(
            mount="/",
            places=("/var/log/nginx", "/var/log"),
            total=40 * GIB,
            free=25 * GIB,
            inodes=2_600_000,
            inodes_free=2_400_000,
        ),
        FileSystem(
            mount="/run", places=("/run",), total=GIB, free=GIB - 4096, inodes=500_000, inodes_free=499_000
        ),
    ),
    memory=Memory(total=8 * GIB, available=5 * GIB),
    cpu=CpuTime(ticks=100, stolen=1),
    open_files=(
        OpenFiles(pid=NGINX_WORKER, process="nginx", soft=1024, used=14),
        OpenFiles(pid=GUNICORN_MASTER, process="gunicorn", soft=1024, used=9),
    ),
)


HEALTHY = Snapshot(
    taken_at=NOW,
    host=Host(
        hostname="gte-1", addresses=("127.0.0.1", HOST_ADDRESS), user="root", is_root=True, has_systemd=True
    ),
    processes=processes(),
    nginx_config=nginx_config(),
    nginx_test=NginxTest(
        command=("/usr/sbin/nginx", "-t"),
        exit_code=0,
        lines=("nginx: configuration file /etc/nginx/nginx.conf test is successful",),
    ),
    nginx_pidfile=Pidfile(path="/run/nginx.pid", pid=NGINX_MASTER),
    gunicorn=Gunicorn(
        config=gunicorn_config(**SETTINGS),
        pidfile=Pidfile(path=GUNICORN_PIDFILE, pid=GUNICORN_MASTER),
        progress=tuple(
            ProgressRecord(
                pid=pid, start_ticks=1000 + pid, phase="ready", completed=50, last_completed=NOW - 2
            )
            for pid in GUNICORN_WORKERS
        ),
    ),
    target=TARGET,
    resolution=Resolution(name=DOMAIN, resolver="system", addresses=(HOST_ADDRESS,)),
    served=Served(
        address=FRONT,
        server_name=DOMAIN,
        chain=(certificate(), INTERMEDIATE),
        protocol="TLSv1.3",
    ),
    front=Front(
        connection=Connection(address=FRONT, elapsed=0.001),
        plain=page(
            308,
            "308 Permanent Redirect",
            url=f"http://{DOMAIN}/health",
            address="127.0.0.1:80",
            location=f"{URL}/health",
        ),
        health=exchange(200, HEALTH),
        predict=exchange(200, PREDICTION, **PREDICT),
    ),
    backend=Backend(
        address=BACKEND,
        connection=Connection(address=BACKEND, elapsed=0.001),
        health=exchange(200, HEALTH, **AT_BACKEND),
        ready=exchange(200, '{"status": "ready"}', **AT_BACKEND),
        predict=exchange(200, PREDICTION, **{**PREDICT, **AT_BACKEND}),
        debugger=exchange(404, '{"code": "not_found"}', **AT_BACKEND),
    ),
    upstreams=Upstreams(answers={}),
    activity=Activity(
        seconds=0.2,
        workers=tuple(
            WorkerActivity(pid=pid, state="sleeping", cpu=(4.0, 4.05), completed=(50, 52))
            for pid in GUNICORN_WORKERS
        ),
        queued=(0, 0),
    ),
    certificates=Certificates(
        leaf=LEAF_FILE,
        key=KEY_FILE,
    ),
    logs=Logs(
        since=NOW - 900,
        nginx_errors=nginx_logs(),
        nginx_access=access_log(NGINX_ACCESS_LOG, {"200": 120}),
        gunicorn_error=gunicorn_log(),
        gunicorn_access=access_log(GUNICORN_ACCESS_LOG, {"200": 120}),
        serving=(*GUNICORN_WORKERS, NGINX_WORKER),
    ),
    lineages=Lineages(directory="/etc/letsencrypt", lineages=(lineage(),)),
    old_tls=OldTls(address=FRONT, accepted=()),
    schedule=Schedule(
        cron=(),
        timers=(
            Timer(
                name="certbot.timer",
                file="/lib/systemd/system/certbot.timer",
                enabled=True,
                when=("OnCalendar=*-*-* 00,12:00:00",),
                service="certbot.service",
                commands=("/usr/bin/certbot -q renew --no-random-sleep-on-renew",),
            ),
        ),
        services=(
            BootService(
                name="gte-ops-watchdog.service",
                file="/etc/systemd/system/gte-ops-watchdog.service",
                commands=("/usr/local/bin/gte-ops watchdog",),
            ),
        ),
    ),
    machine=MACHINE,
    model=ModelFiles(
        path=MODEL_DIR,
        exists=True,
        is_directory=True,
        entries=("config.json", "pytorch_model.bin", "vocab.txt"),
        has_config=True,
        nested=False,
        archives=(),
        parent_exists=True,
    ),
    environment=Environment(
        python="/root/build/venv/bin/python",
        directories=("/root/build/venv/lib/python3.11/site-packages",),
        required=None,
        packages={
            "flask": "3.1.3",
            "gunicorn": "27.0.1",
            "torch": "2.9.1+cpu",
            "transformers": "4.57.6",
            "modelscope": "1.40.2",
        },
    ),
    application=Application(
        config=SourceFile(path=GUNICORN_CONF, modified=NOW - DAY),
        modules=(SourceFile(path="/root/build/app.py", modified=NOW - 2 * DAY),),
    ),
    footprint=Footprint(available=8 << 30, private=dict.fromkeys(GUNICORN_WORKERS, 1 << 30)),
    kernel=KernelLog(kills=()),
    model_access=ModelAccess(
        reader=Reader(pid=901, user="root", uid=0, gids=(0,), overrides=True),
        steps=(
            AccessStep(path="/root", is_directory=True, uid=0, gid=0, mode=0o700),
            AccessStep(path=f"{MODEL_DIR}/config.json", is_directory=False, uid=0, gid=0, mode=0o644),
        ),
    ),
    backups=Backups(
        directory=BACKUP_DIR,
        max_age=36 * 3600.0,
        backups=(backup_file(ago=5 * 3600), backup_file(ago=29 * 3600)),
    ),
    rotation=Rotation(
        files=("/etc/logrotate.conf", "/etc/logrotate.d/gte-api"),
        rules=(rotation_rule("/var/log/nginx/*.log"), rotation_rule("/var/log/gte-gunicorn-*.log")),
        logs=tuple(LogFile(path=path, resolved=path) for path in SERVICE_LOGS),
    ),
    open_logs=(
        OpenLog(pid=NGINX_MASTER, path=NGINX_ACCESS_LOG, deleted=False, size=9000),
        OpenLog(pid=GUNICORN_MASTER, path=GUNICORN_ERROR_LOG, deleted=False, size=4096),
    ),
    packet_filter=PacketFilter(chains=()),
)


def but(snapshot: Snapshot = HEALTHY, **changes: Any) -> Snapshot:
    """``snapshot`` with single facts changed; a name's parts are joined by two underscores: ``front__predict=...``."""
    for name, value in changes.items():
        snapshot = _replaced(snapshot, name.split("__"), value)
    return snapshot


def _replaced(struct: Any, names: Sequence[str], value: Any) -> Any:
    first, *rest = names
    return msgspec.structs.replace(
        struct, **{first: _replaced(getattr(struct, first), rest, value) if rest else value}
    )


def without_gunicorn() -> Snapshot:
    """gunicorn is gone: nothing listens behind nginx, which answers 502."""
    return but(
        processes=processes(NGINX_PROCESSES, listeners=NGINX_LISTENERS),
        target__gunicorn_master=None,
        target__gunicorn_workers=(),
        backend=silent_backend(refused(BACKEND)),
        front__health=page(502, "502 Bad Gateway"),
        front__predict=page(502, "502 Bad Gateway", **PREDICT),
        activity__workers=(),
    )


def silent_backend(connection: Connection) -> Backend:
    """The backend where no connection was made."""
    nothing = NotSeen(reason=f"nothing to ask: {connection.detail}")
    return Backend(
        address=connection.address,
        connection=connection,
        health=nothing,
        ready=nothing,
        predict=nothing,
        debugger=nothing,
    )


def without_nginx() -> Snapshot:
    """nginx is gone: nothing listens at the front door."""
    nothing = NotSeen(reason="nothing to ask: Connection refused")
    return but(
        processes=processes(GUNICORN_PROCESSES, listeners=(GUNICORN_LISTENER,)),
        front=Front(connection=refused(FRONT), plain=nothing, health=nothing, predict=nothing),
        served=NotSeen(reason="connection refused"),
    )


def unit(name: str = "gte-api.service", **changes: Any) -> Unit:
    """A unit that systemd runs: a service that is up, or a timer that waits."""
    usual: dict[str, Any] = {
        "load": "loaded",
        "active": "active",
        "sub": "waiting" if name.endswith(".timer") else "running",
        "file_state": "enabled",
        "file": f"/etc/systemd/system/{name}",
    }
    return Unit(name=name, **usual | changes)


def units(*changed: Unit) -> Units:
    """The units of a healthy systemd host, those of ``changed`` in their places."""
    usual = (
        unit(kind="notify", restart="always", program="/opt/gte-api/venv/bin/gunicorn", user="gte-api"),
        unit("nginx.service", kind="forking"),
        unit("gte-ops-watchdog.service", kind="notify", restart="always"),
        unit("certbot.timer", triggers=("certbot.service",)),
        unit("logrotate.timer", triggers=("logrotate.service",)),
        unit("gte-ops-backup.timer", triggers=("gte-ops-backup.service",)),
        unit("gte-ops-backup.service", kind="oneshot", active="inactive", sub="dead", file_state="static"),
    )
    by_name = {item.name: item for item in (*usual, *changed)}
    return Units(
        units=tuple(by_name.values()),
        service="gte-api.service",
        nginx="nginx.service",
        watchdog="gte-ops-watchdog.service",
    )
