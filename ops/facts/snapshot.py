"""What was observed on a host at one moment: plain data, no judgement.

A collector fills one section. What it could not see is `NotSeen` with the reason, never an empty value that
looks like 'fine'. The whole serialises to JSON and back, so a snapshot taken on the broken host is judged elsewhere.
Times are Unix seconds; durations are seconds; sizes are bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ops.text.duration import Margin


class Facts(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of everything observed."""


class NotSeen(Facts, frozen=True):
    """Something that could not be observed, and why. ``needs_root``: root would have seen it; ``is_refused``: it could
    have been, and was not, because of whose word it is."""

    reason: str
    needs_root: bool = False
    is_refused: bool = False


# --- host ---------------------------------------------------------------------------------------------------


class Host(Facts, frozen=True):
    """The machine and who is looking at it. ``utc_offset``: its local time, seconds east of UTC."""

    hostname: str
    addresses: tuple[str, ...]
    user: str
    is_root: bool
    has_systemd: bool
    utc_offset: int = 0


class Process(Facts, frozen=True):
    """One process. ``state`` is ps's word (running, sleeping, stopped, zombie, ...); ``environment`` holds only
    the few variables that decide how a Flask application runs, None where it may not be read.

    ``uid``: the user who started it, ``is_nested``: it lives in a process namespace below the reader's (a container's),
    ``is_setuid``: its program is set-user-ID, ``has_other_root``: its ``/`` is another one: the kernel's word, where
    ``name`` and ``command`` are its own. None: not seen."""

    pid: int
    ppid: int
    name: str
    command: tuple[str, ...]
    user: str
    state: str
    started: float
    cwd: str | None = None
    environment: dict[str, str] | None = None
    executable: str | None = None
    start_ticks: int = 0
    uid: int | None = None
    is_nested: bool = False
    is_setuid: bool | None = None
    has_other_root: bool | None = None


class Listener(Facts, frozen=True):
    """A listening socket. ``address`` is ``ip:port``, ``[ip6]:port`` or ``unix:/path``; ``queued`` is the number of
    connections waiting to be accepted (None: not seen), ``pids`` who holds it (empty: not seen)."""

    address: str
    pids: tuple[int, ...] = ()
    queued: int | None = None


class Processes(Facts, frozen=True):
    """Web-related processes, everything that listens, and who is behind the listeners. ``caller``: the effective user
    id of the run that read them; ``unread``: processes of which reading did not end."""

    processes: tuple[Process, ...]
    listeners: tuple[Listener, ...]
    caller: int = 0
    unread: tuple[int, ...] = ()


# --- nginx ---------------------------------------------------------------------------------------------------


class Directive(Facts, frozen=True):
    """One directive of the configuration, includes resolved. ``block`` is None for a simple directive."""

    name: str
    args: tuple[str, ...]
    file: str
    line: int
    block: tuple[Directive, ...] | None = None


class ParseError(Facts, frozen=True):
    """Where the configuration could not be parsed or an included file not read."""

    file: str
    line: int | None
    message: str
    permission: bool = False


class NginxConfig(Facts, frozen=True):
    """The configuration on disk as one tree. ``modified``: when each of its files was last changed; ``owner``: the user
    that the main file belongs to; ``distrusted``: why nginx itself is not run on it, None where it may be: somebody
    else than root and the caller could change its program, one of its files or code that it loads."""

    binary: str | None
    version: str | None
    prefix: str
    file: str
    directives: tuple[Directive, ...]
    errors: tuple[ParseError, ...] = ()
    files: tuple[str, ...] = ()
    modified: dict[str, float] = {}
    owner: int = 0
    distrusted: str | None = None


class NginxTest(Facts, frozen=True):
    """``nginx -t``: its exit code and what it printed, line by line."""

    command: tuple[str, ...]
    exit_code: int
    lines: tuple[str, ...]


class Pidfile(Facts, frozen=True):
    """A pidfile. ``pid`` is None where it holds no number; ``missing`` where it is not there; ``uid``: whose it is;
    ``is_alive``: some process has that number, whosever it is."""

    path: str
    pid: int | None = None
    missing: bool = False
    unreadable: str | None = None
    uid: int = 0
    is_alive: bool = False


# --- gunicorn --------------------------------------------------------------------------------------------------


class ConfigValue(Facts, frozen=True):
    """One name assigned in gunicorn's configuration file. ``value`` is JSON-able where ``known``; an expression that
    cannot be evaluated without running it is not known."""

    line: int
    known: bool
    value: Any = None
    source: str = ""


class GunicornConfig(Facts, frozen=True):
    """gunicorn's configuration file, read but not executed.

    ``assigned``: every top-level assignment, with its value where it is a setting that something reads.
    ``other_names``: names bound by import, def or class. ``read_names``: names some expression in the file uses.
    ``missing``/``error``: why there is nothing to read."""

    path: str
    missing: bool = False
    error: str | None = None
    assigned: dict[str, ConfigValue] = {}
    other_names: tuple[str, ...] = ()
    read_names: tuple[str, ...] = ()
    star_imports: tuple[str, ...] = ()


class InFlight(Facts, frozen=True):
    """A request a worker is working on since ``since``."""

    path: str
    since: float


class ProgressRecord(Facts, frozen=True):
    """One worker's own account (contract: service.md, Progress records)."""

    pid: int
    start_ticks: int
    phase: str
    completed: int
    last_completed: float | None
    in_flight: tuple[InFlight, ...] = ()


class Gunicorn(Facts, frozen=True):
    """gunicorn's files: configuration, pidfile, the workers' progress records."""

    config: GunicornConfig | NotSeen
    pidfile: Pidfile | NotSeen
    progress: tuple[ProgressRecord, ...] | NotSeen


class ExpiryRule(Facts, frozen=True):
    """When certificates whose names match a pattern of ``names`` are told as ending soon, as settings have it."""

    names: tuple[str, ...]
    warn: Margin | None = None
    fail: Margin | None = None


# --- the target -------------------------------------------------------------------------------------------------


class Target(Facts, frozen=True):
    """What is diagnosed: where users come in, where the service should be, which files belong to it.

    ``origin`` tells for each field where its value was found. Addresses: ``ip:port`` or ``unix:/path``.
    ``nginx_config_owner``: the user that nginx's configuration file belongs to; ``gunicorn_log_namer``: the user who
    runs gunicorn, and so whose word its logs are where no settings name them; None where it is not seen."""

    domain: str
    url: str
    connect_to: str | None
    plain_connect_to: str | None
    backend: str
    health_path: str
    ready_path: str
    predict_path: str
    predict_body: str
    expect_key: str
    slow_after_s: float
    resolver: str | None
    expected_addresses: tuple[str, ...]
    certificate: str | None
    private_key: str | None
    ca_file: str | None
    letsencrypt_dir: str
    upstreams: tuple[str, ...]
    site_file: str | None
    nginx_binary: str
    nginx_installed: bool
    nginx_config_file: str
    nginx_pidfile: str | None
    nginx_access_log: str | None
    nginx_error_logs: tuple[str, ...]
    gunicorn_config_file: str | None
    gunicorn_pidfile: str | None
    gunicorn_access_log: str | None
    gunicorn_error_log: str | None
    gunicorn_master: int | None
    gunicorn_workers: tuple[int, ...]
    app_dir: str
    python: str
    model_dir: str | None
    request_deadline: float
    boot_deadline: float
    start_command: str
    restart_command: str
    reload_nginx: str
    start_nginx: str
    test_nginx: str
    python_command: str = ""
    nginx_default_config: str = "/etc/nginx/nginx.conf"
    nginx_config_owner: int = 0
    gunicorn_log_namer: int | None = None
    expiry_rules: tuple[ExpiryRule, ...] = ()
    origin: dict[str, str] = {}


# --- probes ------------------------------------------------------------------------------------------------------


class Resolution(Facts, frozen=True):
    """The name, asked of one resolver. ``failure``: nxdomain, no_address, timeout, refused, servfail, unreachable."""

    name: str
    resolver: str
    addresses: tuple[str, ...] = ()
    failure: str | None = None
    detail: str = ""
    is_literal: bool = False


class Connection(Facts, frozen=True):
    """One TCP or unix connect. ``failure``: refused, timeout, unreachable, missing, permission, other."""

    address: str
    failure: str | None = None
    detail: str = ""
    elapsed: float = 0.0


class Exchange(Facts, frozen=True):
    """One HTTP request and what came back.

    ``failure`` is None when a whole response head was read; else refused, timeout, reset, closed, unreachable,
    missing, permission, tls, malformed. ``body`` is the beginning, decoded, control characters removed."""

    method: str
    url: str
    address: str
    failure: str | None = None
    detail: str = ""
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    elapsed: float = 0.0

    def header(self, name: str) -> str:
        """The first header called ``name``, or the empty string."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def media_type(self) -> str:
        """The Content-Type without parameters, lower case."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def is_html(self) -> bool:
        """Whether a page came back."""
        return self.media_type in ("text/html", "application/xhtml+xml")

    def json(self) -> Any:
        """The body parsed, None where it is not JSON (or was longer than what is kept)."""
        try:
            return msgspec.json.decode(self.body.encode())
        except (msgspec.DecodeError, UnicodeEncodeError):
            return None


class Front(Facts, frozen=True):
    """The front door, as a user meets it. ``hops``: redirects from the health URL, in order."""

    connection: Connection
    plain: Exchange | NotSeen
    health: Exchange | NotSeen
    predict: Exchange | NotSeen
    hops: tuple[Exchange, ...] = ()


class Repeats(Facts, frozen=True):
    """The health path asked several times over. ``answered``: the seconds each answer took; ``unanswered``: the seconds
    that each of the others was waited for in vain."""

    answered: tuple[float, ...]
    unanswered: tuple[float, ...]


class Backend(Facts, frozen=True):
    """The service itself, past nginx, at ``address``. ``predict_again``: where the first prediction was slow, one more,
    asked of a service that is warm then. ``repeats``: where several workers keep no records, each is to be met."""

    address: str
    connection: Connection
    health: Exchange | NotSeen
    ready: Exchange | NotSeen
    predict: Exchange | NotSeen
    debugger: Exchange | NotSeen
    predict_again: Exchange | NotSeen | None = None
    repeats: Repeats | None = None


class Upstreams(Facts, frozen=True):
    """Every address nginx proxies this site to, other than the backend's own: its answer to the health path."""

    answers: dict[str, Exchange]


class WorkerActivity(Facts, frozen=True):
    """What one process did while it was watched: CPU seconds and completed requests at both ends (None: not seen).

    ``has_beaten``: whether it has ever given gunicorn a sign of life; one that has not is booting."""

    pid: int
    state: str
    cpu: tuple[float, float] | None
    completed: tuple[int, int] | None
    has_beaten: bool | None = None


class Activity(Facts, frozen=True):
    """Signs of life of the service during the probes. ``queued``: the accept queue at both ends. ``deadlocked``:
    workers whose threads all wait for each other and will never run again, where that is every worker; ``hanging``:
    those of several of which the same is true while they hold a request of ours."""

    seconds: float
    workers: tuple[WorkerActivity, ...]
    queued: tuple[int | None, int | None]
    progress: tuple[ProgressRecord, ...] = ()
    deadlocked: tuple[int, ...] = ()
    hanging: tuple[int, ...] = ()


# --- certificates ---------------------------------------------------------------------------------------------------


class Certificate(Facts, frozen=True):
    """One X.509 certificate. ``public_key`` and ``fingerprint`` are SHA-256 in hex; names are as in the SAN."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    fingerprint: str
    public_key: str
    self_signed: bool
    is_authority: bool
    serial: str
    key_type: str
    issuer_url: str = ""


class Served(Facts, frozen=True):
    """What the front door presents for the name. ``trust_error`` is OpenSSL's verdict on the chain, dates and name
    left out, None where it chains to a trusted root."""

    address: str
    server_name: str | None
    chain: tuple[Certificate, ...]
    protocol: str
    trust_error: str | None = None
    trust_code: int = 0


class OldTls(Facts, frozen=True):
    """Which withdrawn versions of TLS the front door shook hands with: TLSv1, TLSv1.1."""

    address: str
    accepted: tuple[str, ...]


class PemFile(Facts, frozen=True):
    """A file of certificates. ``problem``: missing, dangling, unreadable, not_pem, empty."""

    path: str
    resolved: str
    modified: float | None = None
    certificates: tuple[Certificate, ...] = ()
    problem: str | None = None
    detail: str = ""


class KeyFile(Facts, frozen=True):
    """A private key file; nothing of the key but the hash of its public half is kept."""

    path: str
    resolved: str
    modified: float | None = None
    mode: int | None = None
    public_key: str | None = None
    problem: str | None = None
    detail: str = ""


class Certificates(Facts, frozen=True):
    """Certificate and key files that belong to the site, and authorities found beside them."""

    leaf: PemFile | NotSeen
    key: KeyFile | NotSeen
    nearby: tuple[PemFile, ...] = ()


class RenewalConf(Facts, frozen=True):
    """certbot's account of how a lineage is renewed (renewal/NAME.conf). ``files``: where it says certificate, key and
    chain lie, by stem. ``hooks`` by kind: pre, post, deploy. ``renew_before``: seconds, None where certbot's own rule
    counts. ``problem``: missing, unreadable, malformed."""

    path: str
    version: str | None = None
    archive_dir: str | None = None
    files: dict[str, str] = {}
    authenticator: str | None = None
    server: str | None = None
    logs_dir: str | None = None
    renew_before: float | None = None
    autorenew: bool = True
    hooks: dict[str, str] = {}
    problem: str | None = None
    detail: str = ""


class Lineage(Facts, frozen=True):
    """One certificate that certbot keeps. ``linked``: the files in live/NAME are links into archive/NAME, as certbot
    makes them and demands. ``renewed``: when its newest certificate was written. ``outside``: what leads out of
    certbot's directory and was not followed."""

    name: str
    live: str
    linked: bool
    certificate: PemFile | NotSeen
    key: KeyFile | NotSeen
    renewal: RenewalConf
    renewed: float | None = None
    outside: tuple[str, ...] = ()


class Lineages(Facts, frozen=True):
    """certbot's directory. ``deploy_hooks``: the programs in renewal-hooks/deploy."""

    directory: str
    lineages: tuple[Lineage, ...]
    deploy_hooks: tuple[str, ...] = ()


class RenewalAttempt(Facts, frozen=True):
    """What certbot's log says of one lineage in one run. ``outcome``: renewed, failed, not_due; ``reason``: certbot's
    own words, the authority's detail first."""

    lineage: str
    time: float
    outcome: str
    reason: str = ""


class CertbotRuns(Facts, frozen=True):
    """certbot's runs that stand in its logs. ``since``: the oldest line that was read; ``version``: the last run's."""

    path: str
    last_run: float | None
    version: str | None
    attempts: tuple[RenewalAttempt, ...]
    since: float | None = None


# --- logs -----------------------------------------------------------------------------------------------------------


class LogEntry(Facts, frozen=True):
    """One entry, continuation lines included, control characters and secrets removed."""

    time: float
    level: str
    pid: int | None
    text: str


class Log(Facts, frozen=True):
    """The entries of one log in the window, newest last. ``complete``: the window begins inside what was read."""

    path: str
    size: int
    modified: float
    entries: tuple[LogEntry, ...]
    complete: bool = True


class AccessLog(Facts, frozen=True):
    """One access log in the window, counted: ``statuses`` by code as text. ``first_prediction`` and
    ``last_prediction``: when the first and the last request for the predict path were logged, that is answered."""

    path: str
    size: int
    modified: float
    requests: int
    statuses: dict[str, int]
    last: float | None = None
    last_prediction: float | None = None
    first_prediction: float | None = None
    complete: bool = True


class Logs(Facts, frozen=True):
    """The logs of the site. ``since``: the window's beginning."""

    since: float
    nginx_errors: dict[str, Log | NotSeen]
    nginx_access: AccessLog | NotSeen
    gunicorn_error: Log | NotSeen
    gunicorn_access: AccessLog | NotSeen


# --- the machine ------------------------------------------------------------------------------------------------------


class FileSystem(Facts, frozen=True):
    """A writable file system the stack writes to. ``total`` and ``free`` in bytes as df counts them; ``inodes`` 0 where
    their number is not fixed. ``consumer``: where little is left, what fills most of it as far as was looked."""

    mount: str
    places: tuple[str, ...]
    total: int
    free: int
    inodes: int
    inodes_free: int
    consumer: str | None = None
    consumer_bytes: int = 0
    consumer_entries: int = 0


class Memory(Facts, frozen=True):
    """The machine's memory in bytes; pages moved to and from swap while it was watched."""

    total: int
    available: int
    swapped_pages_per_second: float = 0.0


class MemoryGroup(Facts, frozen=True):
    """A control group of the service with a memory limit, in bytes."""

    path: str
    limit: int
    used: int


class CpuTime(Facts, frozen=True):
    """Processor time of the whole machine while it was watched, in clock ticks; ``stolen`` by the hypervisor."""

    ticks: int
    stolen: int


class CpuGroup(Facts, frozen=True):
    """A control group of the service with a CPU quota, while it was watched: periods in which it wanted to run, those
    in which the quota stopped it, and the seconds it lost."""

    path: str
    periods: int
    throttled: int
    seconds: float


class OpenFiles(Facts, frozen=True):
    """A process's soft limit of open files, and how many it has (None: may not be seen). ``process``: nginx or
    gunicorn."""

    pid: int
    process: str
    soft: int
    used: int | None = None


class Clock(Facts, frozen=True):
    """A time daemon's own account: how far the clock is off, in seconds."""

    source: str
    offset: float
    synchronised: bool = True


class Machine(Facts, frozen=True):
    """What the machine leaves to the service."""

    file_systems: tuple[FileSystem, ...] = ()
    memory: Memory | NotSeen = NotSeen(reason="it was not looked at")
    memory_groups: tuple[MemoryGroup, ...] = ()
    cpu: CpuTime | NotSeen = NotSeen(reason="it was not looked at")
    cpu_groups: tuple[CpuGroup, ...] = ()
    open_files: tuple[OpenFiles, ...] = ()
    clocks: tuple[Clock, ...] = ()


# --- files ------------------------------------------------------------------------------------------------------------


class ModelFile(Facts, frozen=True):
    """One file that a model is loaded from. ``problem``: empty, lfs_pointer, truncated, overlong, not_json, absent (an
    index names it), unreadable (not seen by us); ``detail`` says more, in numbers or names."""

    path: str
    size: int = 0
    problem: str | None = None
    detail: str = ""


class ModelFiles(Facts, frozen=True):
    """The model directory. ``archives`` beside it, ``nested``: config.json lies in <dir>/<same name>/.

    ``files``: those a model is loaded from."""

    path: str
    exists: bool
    is_directory: bool
    entries: tuple[str, ...]
    has_config: bool
    nested: bool
    archives: tuple[str, ...]
    parent_exists: bool
    files: tuple[ModelFile, ...] = ()


class AccessStep(Facts, frozen=True):
    """One directory to pass through, or file to read, on the way into the model. ``has_acl``: an access control list
    decides for all but the owner, and was not read."""

    path: str
    is_directory: bool
    uid: int
    gid: int
    mode: int
    has_acl: bool = False


class Reader(Facts, frozen=True):
    """As whom the service reads files. ``overrides``: a capability lets it read everything (capabilities(7))."""

    pid: int
    user: str
    uid: int
    gids: tuple[int, ...]
    overrides: bool = False


class ModelAccess(Facts, frozen=True):
    """The way to every file of the model, from the root, and who has to go it. ``complete``: seen to its end."""

    reader: Reader
    steps: tuple[AccessStep, ...]
    complete: bool = True


# --- safeguards -------------------------------------------------------------------------------------------------------


class RotationRule(Facts, frozen=True):
    """One block of logrotate's configuration: its patterns, the options in force in it, its scripts by name."""

    file: str
    line: int
    patterns: tuple[str, ...]
    options: dict[str, str] = {}
    scripts: dict[str, str] = {}


class LogFile(Facts, frozen=True):
    """A log of the service. ``resolved``: its path without links; ``is_file``: it is there, and no pipe or device."""

    path: str
    resolved: str
    is_file: bool = True


class Rotation(Facts, frozen=True):
    """The rotation rules in force and the logs they should take. ``unread``: files that were not read, or that
    logrotate itself passes over."""

    files: tuple[str, ...]
    rules: tuple[RotationRule, ...]
    unread: tuple[NotSeen, ...] = ()
    logs: tuple[LogFile, ...] = ()


class OpenLog(Facts, frozen=True):
    """A file that a process of nginx or gunicorn has open for writing: a log, or what it was before it was renamed or
    ``deleted``. ``size`` in bytes."""

    pid: int
    path: str
    deleted: bool
    size: int


class Backup(Facts, frozen=True):
    """One archive. ``is_own``: made by gte-ops, by its name; ``created_at`` is from there, else the file's time.

    ``verified``: it can be read and is what was written (False: why not stands in ``reason``); None: not looked into.
    ``loose_links``: certificates' links in it whose files are not."""

    path: str
    created_at: float
    size: int
    is_own: bool
    verified: bool | None = None
    reason: str | None = None
    loose_links: tuple[str, ...] = ()
    needs_root: bool = False


class Backups(Facts, frozen=True):
    """The archives in the backup directory and the guide's own, the newest first. ``max_age``: seconds after which one
    is too old."""

    directory: str
    max_age: float
    backups: tuple[Backup, ...]


class Environment(Facts, frozen=True):
    """The packages an interpreter finds, version by normal name: of those that the service may need only.

    ``required``: what `app.requires` lists, None where it is not set. ``nvidia_devices``: signs of a GPU."""

    python: str
    directories: tuple[str, ...]
    required: tuple[str, ...] | None
    packages: dict[str, str]
    nvidia_packages: tuple[str, ...] = ()
    nvidia_devices: tuple[str, ...] = ()


class SourceFile(Facts, frozen=True):
    """A file that is read once, when the service starts: its path and when it was last written."""

    path: str
    modified: float


class Application(Facts, frozen=True):
    """gunicorn's configuration file, and the application's modules, those changed last first."""

    config: SourceFile | None
    modules: tuple[SourceFile, ...]


class Footprint(Facts, frozen=True):
    """The machine's available memory, and by worker what it holds alone (USS), in bytes."""

    available: int
    private: dict[int, int]


class KernelKill(Facts, frozen=True):
    """A process that the kernel killed for want of memory, in the kernel's words."""

    time: float
    pid: int
    text: str


class OomCounter(Facts, frozen=True):
    """A memory cgroup that holds the service and nothing else: how often the kernel killed something in it, since it
    was made. ``path``: the file that says so."""

    path: str
    oom_kills: int


class KernelLog(Facts, frozen=True):
    """The kernel's out-of-memory kills in the window, and the service's own memory cgroup where it has one."""

    kills: tuple[KernelKill, ...] | NotSeen
    group: OomCounter | None = None


class WatchdogAction(Facts, frozen=True):
    """One thing the watchdog did: a rung of its ladder (kill_worker, restart, ...), and to which worker."""

    time: float
    rung: str
    pid: int | None = None


class WatchdogFacts(Facts, frozen=True):
    """What the watchdog last wrote of itself. ``gave_up``: it does nothing for now; ``actions``: those it remembers;
    ``done``: the same, one by one. ``interval``: seconds between two rounds, as configured."""

    path: str
    last_round: float | None
    gave_up: bool
    actions: int
    interval: float = 15.0
    done: tuple[WatchdogAction, ...] = ()


class CronEntry(Facts, frozen=True):
    """One entry of a crontab, or one script that an entry runs by run-parts. ``script``: the beginning of the shell
    script that the command begins with, without comments; empty where it is a program."""

    file: str
    line: int
    when: str
    user: str
    command: str
    script: str = ""


class Timer(Facts, frozen=True):
    """One systemd timer and what its service runs. ``when``: its On... settings as written. ``enabled``: wanted by some
    target, and neither it nor its service masked."""

    name: str
    file: str
    enabled: bool
    when: tuple[str, ...]
    service: str
    commands: tuple[str, ...]
    scripts: tuple[str, ...] = ()


class BootService(Facts, frozen=True):
    """One service that systemd starts at boot."""

    name: str
    file: str
    commands: tuple[str, ...]


class Schedule(Facts, frozen=True):
    """What runs by itself. ``unseen``: the places that could not be read."""

    cron: tuple[CronEntry, ...]
    timers: tuple[Timer, ...]
    services: tuple[BootService, ...] = ()
    unseen: tuple[NotSeen, ...] = ()


class Snapshot(Facts, frozen=True):
    """Everything one run observed.

    ``elsewhere``: what is presented at the address the name resolves to, where that is not this host's own: behind
    address translation it is this very service. ``passed_over``: configuration files of gte-ops that were not read,
    each with why."""

    taken_at: float
    host: Host | NotSeen
    processes: Processes | NotSeen
    nginx_config: NginxConfig | NotSeen
    nginx_test: NginxTest | NotSeen
    nginx_pidfile: Pidfile | NotSeen
    gunicorn: Gunicorn | NotSeen
    target: Target | NotSeen
    resolution: Resolution | NotSeen
    served: Served | NotSeen
    front: Front | NotSeen
    backend: Backend | NotSeen
    upstreams: Upstreams | NotSeen
    activity: Activity | NotSeen
    certificates: Certificates | NotSeen
    logs: Logs | NotSeen
    model: ModelFiles | NotSeen
    environment: Environment | NotSeen = NotSeen(reason="nobody looked at the service's environment")
    application: Application | NotSeen = NotSeen(reason="nobody looked at the application's files")
    footprint: Footprint | NotSeen = NotSeen(reason="nobody looked at the workers' memory")
    kernel: KernelLog | NotSeen = NotSeen(reason="nobody looked at the kernel's log")
    model_access: ModelAccess | NotSeen = NotSeen(reason="nobody looked at who may read the model")
    watchdog: WatchdogFacts | NotSeen = NotSeen(reason="no watchdog has run")
    lineages: Lineages | NotSeen = NotSeen(reason="certbot's directory was not looked at")
    old_tls: OldTls | NotSeen = NotSeen(reason="old versions of TLS were not tried")
    schedule: Schedule | NotSeen = NotSeen(reason="the schedule was not looked at")
    backups: Backups | NotSeen = NotSeen(reason="backups were not looked for")
    rotation: Rotation | NotSeen = NotSeen(reason="the rotation rules were not read")
    open_logs: tuple[OpenLog, ...] | NotSeen = NotSeen(reason="open files were not looked at")
    machine: Machine | NotSeen = NotSeen(reason="the machine was not looked at")
    passed_over: tuple[str, ...] | NotSeen = ()
    elsewhere: Served | NotSeen = NotSeen(reason="the name leads to this host, or is not dialled")


def to_json(snapshot: Snapshot) -> bytes:
    """The snapshot as JSON."""
    return msgspec.json.encode(snapshot)


def from_json(content: bytes) -> Snapshot:
    """The snapshot in ``content``. Raises msgspec.ValidationError or DecodeError where it is none."""
    return msgspec.json.decode(content, type=Snapshot)
