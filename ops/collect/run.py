"""Collect everything about the host into one Snapshot, in parallel and within a budget.

First the state (host, processes, nginx's and gunicorn's configuration), which determines the target; then the behaviour
(name, certificate, answers, logs). Nothing here judges.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ops.collect.task import Task
from ops.facts.base import NotSeen
from ops.facts.certificates import Lineages, OldTls, OtherDoor, PemFile, Served
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Host, Process, Processes
from ops.facts.machine import Machine
from ops.facts.nginx import NginxConfig, NginxTest, Pidfile, SocketView
from ops.facts.probes import Backend, Exchange, Resolution
from ops.facts.safeguards import OpenLog, Rotation
from ops.facts.snapshot import Snapshot
from ops.facts.start import LastStart
from ops.facts.target import Target
from ops.facts.units import Units
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret import nginx as nginx_topology
from ops.interpret import target as target_topology
from ops.interpret.address import is_loopback, join_address, split_address
from ops.interpret.commands import GUIDE_CONFIG_NAME, GUIDE_START_SCRIPT, FilesFound
from ops.interpret.site import find_site
from ops.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.collect.logs.service_logs import LogPlaces
    from ops.collect.net.probes import Probes
    from ops.collect.site_causes import SiteCauseCollector
    from ops.diagnosis.site_causes import SiteCauseDefinition

# Seconds of the budget reserved for judging and rendering.
RESERVE = 0.4
# The home of the user who types the guide's commands.
GUIDE_HOME = "/root"
NGINX_TEST_SECONDS = 4.0
_ENDS_BEFORE = "TLS ends before this host: nginx's site has no listen with ssl"
# Time limit of a handshake on this host, seconds; FAR_SECONDS is that of one over the network.
HANDSHAKE_SECONDS = 4.0
# Further addresses of the front that are probed, besides the first.
MAX_DOORS = 4
FAR_SECONDS = 3.0
# After so many seconds without an answer, the service may not have started: its last start is read.
SILENT_SECONDS = 1.2


class Surroundings(msgspec.Struct, frozen=True):
    """The state before any probe: processes, configuration, and the target that they determine."""

    host: Host | NotSeen
    processes: Processes | NotSeen
    config: NginxConfig | NotSeen
    build: dict[str, str]
    gunicorn: Gunicorn
    target: Target


def look_around(settings: Settings, deadline: float) -> Surroundings:
    """Collect the first half of a snapshot: no probe, no log. ``deadline`` is monotonic time."""
    host_task = _start("host", _host)
    processes = _start("processes", _processes).wait(deadline)
    all_processes = processes if isinstance(processes, Processes) else Processes(processes=(), listeners=())
    masters = nginx_topology.nginx_masters(all_processes)
    outcome = _start("nginx configuration", _nginx, settings, masters).wait(deadline)
    # If the configuration could not be read, do not report nginx as missing.
    config, build = (outcome, {"program": settings.nginx.binary}) if isinstance(outcome, NotSeen) else outcome
    host = host_task.wait(deadline)
    gunicorn, master, others = _gunicorn(settings, all_processes, config)
    target = target_topology.decide_target(
        settings,
        host
        if isinstance(host, Host)
        else Host(hostname="", addresses=(), user="", is_root=False, has_systemd=False),
        all_processes,
        config,
        build,
        gunicorn,
        master,
        _files(settings, master),
    )
    target = msgspec.structs.replace(target, other_gunicorns=others, headers_unread=_headers_unread(target))
    return Surroundings(host, processes, config, build, gunicorn, target)


def collect(
    settings: Settings,
    since: float,
    budget: float,
    *,
    unprivileged: bool = False,
    site_causes: Sequence[SiteCauseDefinition] = (),
) -> Snapshot:
    """Take one snapshot of the host. ``since``: how far back logs are read; ``budget``: the whole run's length (both in
    seconds); ``unprivileged``: peers' data is parsed in a process that is not root (`Prober`); ``site_causes``: the
    causes of the site whose conditions are observed."""
    started = time.monotonic()
    deadline = started + max(budget - RESERVE, budget / 2)
    probes = _probes(deadline, unprivileged=unprivileged)
    try:
        return _collect(settings, since, probes, deadline, site_causes)
    finally:
        probes.close()


def _probes(deadline: float, *, unprivileged: bool) -> Probes:
    from ops.collect.net.probes import Probes

    if unprivileged:
        from ops.collect.net.prober import Prober
        from ops.files.unprivileged import unprivileged_account

        account = unprivileged_account()
        if account is not None:
            return Prober(account, deadline)
    return Probes(deadline)


def _collect(
    settings: Settings,
    since: float,
    probes: Probes,
    deadline: float,
    site_causes: Sequence[SiteCauseDefinition],
) -> Snapshot:
    now = time.time()
    # The slowest imports start now, in parallel with the first round's system calls.
    warm = _start("libraries", _import_libraries)
    # A silent resolver takes longest, so resolve a configured name first.
    name = settings.target.domain
    resolver = settings.target.resolver or None
    early = _start("dns", _resolve, probes, name, resolver, deadline) if name else None
    around = look_around(settings, deadline)
    config, host = around.config, around.host
    pidfile = _read_pidfile(around.target.nginx_pidfile)
    target = _reachable_by_reload(around.target, around.processes, pidfile)
    test_task = (
        _start("nginx -t", _nginx_test, config, around.build) if isinstance(config, NginxConfig) else None
    )
    if test_task is not None and not _nginx_runs(around.processes):
        # nginx -t opens the configured listeners, too (ngx_open_listening_sockets): while nothing else holds them, a
        # probe would be accepted by the test and cut off at its end.
        test_task.wait(deadline)
    site_tasks = _site_causes(site_causes, target, now, deadline) if site_causes else None
    resolution_task = early or _start("dns", _resolve, probes, target.domain, target.resolver, deadline)
    warm.wait(deadline)
    elsewhere = None
    if not settings.target.connect_to:
        resolution = resolution_task.wait(deadline)
        elsewhere = _start("resolved address", _elsewhere, probes, target, resolution, host, deadline)
        target = _dial_resolved(target, resolution, host)
    doors = _other_doors(probes, target, config, resolution_task, host, deadline)
    rotation_task = _start("rotation rules", _rotation, settings, target)
    open_logs_task = _start("open logs", _open_logs, around.processes, target, deadline)
    behaviour = _probe(settings, around, probes, target, now - since, deadline)
    test = test_task.wait(deadline) if test_task else NotSeen(reason="nginx's configuration was not read")
    return Snapshot(
        taken_at=now,
        host=host,
        processes=around.processes,
        nginx_config=config,
        nginx_test=test,
        nginx_pidfile=pidfile,
        nginx_sockets=_nginx_sockets(target, around.processes, pidfile),
        gunicorn=around.gunicorn,
        target=target,
        resolution=resolution_task.wait(deadline),
        rotation=rotation_task.wait(deadline),
        open_logs=open_logs_task.wait(deadline),
        **({"elsewhere": elsewhere.wait(deadline)} if elsewhere else {}),
        other_doors=_with_files([task.wait(deadline) for task in doors], config),
        site_causes=site_tasks.wait()
        if site_tasks
        else NotSeen(reason="the site defines no causes of its own"),
        **behaviour,
    )


def _site_causes(
    definitions: Sequence[SiteCauseDefinition], target: Target, now: float, deadline: float
) -> SiteCauseCollector:
    from ops.collect.site_causes import SiteCauseCollector

    return SiteCauseCollector(definitions, target, now, deadline)


def _nginx_runs(processes: Processes | NotSeen) -> bool:
    return isinstance(processes, Processes) and bool(nginx_topology.nginx_masters(processes))


def _headers_unread(target: Target) -> str:
    """Why this user may not read the file of headers; empty if it was read or none is set. Raises SettingsError."""
    if target.headers_file is None:
        return ""
    from ops.collect.net.private_headers import read_private_headers

    return read_private_headers(target.headers_file).unread


def _reachable_by_reload(
    target: Target, processes: Processes | NotSeen, pidfile: Pidfile | NotSeen
) -> Target:
    """``target`` with a reload command that names nginx's master by pid if its pidfile does not."""
    if isinstance(processes, NotSeen):
        return target
    master = nginx_topology.unnamed_master(target, processes, pidfile)
    return (
        target if master is None else msgspec.structs.replace(target, reload_nginx=f"kill -HUP {master.pid}")
    )


def _nginx_sockets(
    target: Target, processes: Processes | NotSeen, pidfile: Pidfile | NotSeen
) -> tuple[SocketView, ...] | NotSeen:
    from ops.collect.process.socket_views import socket_views

    if isinstance(processes, NotSeen):
        return processes
    master = next(nginx_topology.serving_masters(target, processes, pidfile), None)
    return socket_views((*target.upstreams, target.backend), master.pid if master else None)


def _start(name: str, function: object, *args: object) -> Task:
    return Task(name, lambda: function(*args))  # type: ignore[operator]


def _import_libraries() -> None:
    import ops.collect.net.dns
    import ops.collect.net.service_probes
    import ops.collect.net.tls  # noqa: F401


def _host() -> Host:
    from ops.collect.host.host import host

    return host()


def _processes() -> Processes:
    from ops.collect.process.processes import processes

    return processes()


def _nginx(settings: Settings, masters: tuple[Process, ...]) -> tuple[NginxConfig | NotSeen, dict[str, str]]:
    from ops.collect.services import nginx

    binary = nginx.find_binary(settings.nginx.binary, masters)
    build = {"program": binary} | nginx.build_facts(binary, timeout=2.0) if binary else {}
    return nginx.read_config(binary, build, settings.nginx.config_file, masters), build


def _rotation(settings: Settings, target: Target) -> Rotation:
    from ops.collect.services.logrotate import rotation

    return rotation(settings.logrotate, target)


def _open_logs(
    processes: Processes | NotSeen, target: Target, deadline: float
) -> tuple[OpenLog, ...] | NotSeen:
    from ops.collect.logs.open_logs import open_logs
    from ops.collect.services.logrotate import service_logs

    if isinstance(processes, NotSeen):
        return processes
    masters = {p.pid for p in nginx_topology.nginx_masters(processes)}
    of_nginx = [p.pid for p in processes.processes if p.pid in masters or p.ppid in masters]
    of_gunicorn = [target.gunicorn_master] if target.gunicorn_master else []
    pids = (*of_nginx, *of_gunicorn, *target.gunicorn_workers)
    return open_logs(pids, service_logs(target), deadline)


def _nginx_test(config: NginxConfig, build: dict[str, str]) -> NginxTest | NotSeen:
    from ops.collect.services.nginx import test_config

    return test_config(config, build, NGINX_TEST_SECONDS)


def _read_pidfile(path: str | None) -> Pidfile | NotSeen:
    from ops.collect.services.nginx import read_pidfile

    return read_pidfile(path) if path else NotSeen(reason="no pidfile is configured")


def _gunicorn(
    settings: Settings, processes: Processes, config: NginxConfig | NotSeen
) -> tuple[Gunicorn, Process | None, tuple[int, ...]]:
    """gunicorn's files, this service's master (each helps to find the other), and the masters of other services."""
    from ops.collect.locate import completed, locate_master
    from ops.collect.services.gunicorn import read_config, read_progress
    from ops.collect.services.nginx import read_pidfile

    own_settings = settings.gunicorn
    pidfile = read_pidfile(own_settings.pidfile) if own_settings.pidfile else None
    site = find_site(config, settings.target.domain, None) if isinstance(config, NginxConfig) else None
    hints = completed(processes, settings, target_topology.gunicorn_hints(settings, pidfile, site))
    master = gunicorn_topology.find_master(processes, hints)
    others = gunicorn_topology.other_masters(processes, hints)
    app_dir = settings.app.dir or (master.cwd if master else None) or target_topology.GUIDE_APP_DIR
    path = (
        own_settings.config_file
        or (gunicorn_topology.config_path(master) if master else None)
        or str(Path(app_dir) / GUIDE_CONFIG_NAME)
    )
    facts = read_config(path)
    if pidfile is None:
        arguments = gunicorn_topology.arguments(master)
        pidfile_setting = gunicorn_topology.setting("pidfile", "pid", arguments, facts)
        if isinstance(pidfile_setting, str) and pidfile_setting:
            pidfile = read_pidfile(str(Path((master.cwd if master else None) or app_dir) / pidfile_setting))
        elif master is None:
            pidfile = read_pidfile(target_topology.GUIDE_PIDFILE)
    if master is None and isinstance(facts, GunicornConfig) and not own_settings.bind:
        # The file may name the address, or the pidfile the process.
        bind = (
            gunicorn_topology.bind_addresses(facts.assigned["bind"].value) if "bind" in facts.assigned else ()
        )
        hints = gunicorn_topology.Hints(
            bind=next(iter(bind), None),
            pidfile_read=pidfile.path if pidfile else None,
            pidfile_pid=pidfile.pid if pidfile else None,
            pidfile_uid=pidfile.uid if pidfile else 0,
            config_files=(path,),
        )
        master = locate_master(processes, settings, hints)
    return (
        Gunicorn(
            config=facts,
            pidfile=pidfile or NotSeen(reason="gunicorn keeps no pidfile"),
            progress=read_progress(settings.app.progress_dir),
        ),
        master,
        others,
    )


def _files(settings: Settings, master: Process | None) -> FilesFound:
    app_dir = Path(
        settings.app.dir or (master.cwd if master and master.cwd else target_topology.GUIDE_APP_DIR)
    )

    def exists(path: Path) -> bool:
        try:
            return path.exists()
        except OSError:
            return False

    return FilesFound(
        model_parent=exists((app_dir / target_topology.GUIDE_MODEL).parent),
        start_script=exists(app_dir / GUIDE_START_SCRIPT),
        unit=any(exists(Path(place) / settings.gunicorn.unit) for place in settings.schedule.systemd),
    )


def _resolve(probes: Probes, domain: str, resolver: str | None, deadline: float) -> Resolution | NotSeen:
    answer: Resolution | NotSeen = probes.ask("resolve", words=(domain, resolver), deadline=deadline)
    return answer


def _dial_resolved(target: Target, resolution: object, host: object) -> Target:
    """The target with the address that its name resolves to, if that is this machine's; if it is another machine's and
    nginx has no TLS for the site, with the address that a balancer connects to."""
    if not isinstance(resolution, Resolution) or not isinstance(host, Host) or target.connect_to is None:
        return target
    own_addresses = {*host.addresses, "127.0.0.1", "::1"}
    if target.front_without_tls and resolution.addresses and not own_addresses & {*resolution.addresses}:
        # A balancer before this host ends TLS.
        return msgspec.structs.replace(
            target,
            connect_to=target.front_without_tls,
            front_tls=False,
            front_proxy_protocol=target.plain_proxy_protocol,
        )
    own = [address for address in resolution.addresses if address in host.addresses]
    if not own or any(address.startswith("127.") for address in own):
        return target
    port = int(target.connect_to.rpartition(":")[2])
    plain = target.plain_connect_to
    return msgspec.structs.replace(
        target,
        connect_to=join_address(own[0], port),
        plain_connect_to=plain and join_address(own[0], int(plain.rpartition(":")[2])),
    )


def _elsewhere(
    probes: Probes, target: Target, resolution: object, host: object, deadline: float
) -> Served | NotSeen:
    """The certificate at the resolved address, if that is neither this host's nor expected: behind address translation
    it is still this service."""
    if not isinstance(resolution, Resolution) or not isinstance(host, Host) or not resolution.addresses:
        return NotSeen(reason="the name did not resolve")
    expected_addresses = (*host.addresses, *target.expected_addresses)
    if any(address in expected_addresses or is_loopback(address) for address in resolution.addresses):
        return NotSeen(reason="the name leads to this host")
    port = urlsplit(target.url).port or 443
    place = join_address(resolution.addresses[0], port)
    return _served(probes, target, place, min(deadline, time.monotonic() + FAR_SECONDS))


def _other_doors(
    probes: Probes,
    target: Target,
    config: NginxConfig | NotSeen,
    resolving: Task,
    host: Host | NotSeen,
    deadline: float,
) -> list[Task]:
    """Start probes of the other ways to the front door: each further address of this host that the name resolves to,
    and each kind of certificate if nginx may have several. None if there is one of each."""
    if not target.front_tls or target.connect_to is None or not isinstance(host, Host):
        return []
    resolution = resolving.wait(deadline)
    own, port = split_address(target.connect_to)
    resolved = resolution.addresses if isinstance(resolution, Resolution) else ()
    # If the front is dialled at loopback, that covers the first resolved address of the same family.
    stood_for = next((a for a in resolved if is_loopback(own) and (":" in a) == (":" in own)), own)
    others = [a for a in dict.fromkeys(resolved) if a in host.addresses and a not in (own, stood_for)]
    ways = [(join_address(address, port), "") for address in others[:MAX_DOORS]]
    site = find_site(config, target.domain, target.backend) if isinstance(config, NginxConfig) else None
    if site and len(site.server.effective("ssl_certificate")) > 1:
        ways += [(target.connect_to, "RSA"), (target.connect_to, "ECDSA")]
    by = min(deadline, time.monotonic() + HANDSHAKE_SECONDS)

    def ask(address: str, key: str) -> Task:
        words = (address, target.domain, target.ca_file, key)
        proxied = target.front_proxy_protocol
        return Task(
            f"front door {address} {key}",
            lambda: probes.ask("other_door", words=words, deadline=by, proxied=proxied),
        )

    return [ask(address, key) for address, key in ways]


def _with_files(doors: list[Any], config: NginxConfig | NotSeen) -> tuple[OtherDoor, ...]:
    """The probed doors, each with the certificate files that nginx's configuration has for its address."""
    probed_doors = tuple(door for door in doors if isinstance(door, OtherDoor))
    if not probed_doors or not isinstance(config, NginxConfig):
        return probed_doors
    from ops.collect.services.certificate_files import pem_file

    return tuple(
        msgspec.structs.replace(
            door,
            files=tuple(
                file
                for path in nginx_topology.certificates_at(config, door.address)
                if isinstance(file := pem_file(path), PemFile)
            ),
        )
        for door in probed_doors
    )


def _probe(
    settings: Settings,
    around: Surroundings,
    probes: Probes,
    target: Target,
    since: float,
    deadline: float,
) -> dict[str, Any]:
    """Probe the stack, and return the results by the snapshot's section. All probes run at once; the wait for them ends
    early if it is pointless; the logs are read last, so that they include the probes' own entries."""
    from ops.collect.give_up import Watch
    from ops.collect.host import machine
    from ops.collect.logs import kernel, service_logs
    from ops.collect.process import worker_activity

    probed_since = time.time()
    before = worker_activity.read(target, settings.app.progress_dir)
    totals = machine.counters(target)
    main_polls = _main_thread_only_polls(around)
    # A worker of another kind accepts no connection while it is stuck; progress records show more than probes.
    repeat = main_polls and len(target.gunicorn_workers) > 1 and not before.progress
    headers = _private_headers(target)
    answers = _ask(probes, target, around.config, deadline, headers, repeat=repeat)
    answers |= _host_names(probes, around.config, target)
    tasks = answers | _read_files(settings, around, target, deadline)
    tasks["last_start"] = Task(
        "last start", lambda: _last_start(settings, around, target, answers["backend"])
    )
    watch = Watch(target, settings.app.progress_dir, before, probes.patience, main_polls=main_polls)
    after = watch.until_answered(
        [answers[name] for name in ("front", "backend", "upstreams")], answers["backend"], deadline
    )
    places = _log_places(settings, around, target, probed_since)
    tasks["logs"] = Task("logs", lambda: service_logs.read_logs(target, since, time.time(), places))
    tasks["kernel"] = Task("kernel log", lambda: kernel.kernel_log(target, since))
    results: dict[str, Any] = {name: task.wait(deadline + RESERVE / 2) for name, task in tasks.items()}
    results["activity"] = worker_activity.compare(before, after, target.gunicorn_workers)
    if isinstance(results["machine"], Machine):
        results["machine"] = machine.between(results["machine"], totals, machine.counters(target))
    if headers:
        from ops.collect.net.private_headers import without_private_words

        for name in ("logs", "last_start"):
            results[name] = without_private_words(results[name], headers)
    return results


def _log_places(settings: Settings, around: Surroundings, target: Target, probed_since: float) -> LogPlaces:
    from ops.collect.logs.places import log_places

    return log_places(
        target,
        around.processes,
        around.config,
        around.gunicorn.config,
        _read_pidfile(target.nginx_pidfile),
        settings.gunicorn.unit or None,
        probed_since=probed_since,
    )


def _last_start(
    settings: Settings, around: Surroundings, target: Target, backend: Task
) -> LastStart | NotSeen:
    """The last start's output, if ``backend`` (the service's answers) has no status after a moment."""
    outcome = backend.wait(time.monotonic() + SILENT_SECONDS)
    answer = outcome.health if isinstance(outcome, Backend) else None
    if isinstance(answer, Exchange) and answer.status is not None:
        return NotSeen(reason="the service answers")
    from ops.collect.services.last_start import last_start_words

    return last_start_words(target, settings, settings.app.wsgi, around.gunicorn.pidfile)


def _private_headers(target: Target) -> dict[str, str]:
    """The headers from the file that settings name. Raises SettingsError."""
    if target.headers_file is None or target.headers_unread:
        return {}
    from ops.collect.net.private_headers import read_private_headers

    return read_private_headers(target.headers_file).headers


def _backend(
    probes: Probes, target: Target, config: NginxConfig | NotSeen, headers: dict[str, str], *, repeat: bool
) -> Backend | NotSeen:
    """The service's answers; if it lacks a path, ask for the paths that nginx requests, or without the prefix."""
    answers: Backend | NotSeen = probes.ask("backend", target=target, repeat=repeat, headers=headers)
    if isinstance(answers, NotSeen) or isinstance(config, NotSeen):
        return answers
    statuses = [x.status for x in (answers.predict, answers.health) if isinstance(x, Exchange)]
    if 404 not in statuses and 405 not in statuses:
        return answers
    from ops.collect import handed_on

    if (inner := handed_on.as_handed_on(target, config)) is not None:
        again = probes.ask("backend", target=inner, repeat=repeat, headers=headers)
        return again if isinstance(again, Backend) and not handed_on.lacks_a_path(again) else answers
    if (inner := handed_on.without_prefix(target, config)) is not None:
        again = probes.ask("backend", target=inner, headers=headers)
        if isinstance(again, Backend) and isinstance(again.predict, Exchange):
            return msgspec.structs.replace(answers, without_prefix=again.predict)
    return answers


def _ask(
    probes: Probes,
    target: Target,
    config: NginxConfig | NotSeen,
    deadline: float,
    headers: dict[str, str],
    *,
    repeat: bool,
) -> dict[str, Task]:
    """Start the probes over the network. ``headers``: private ones; ``repeat``: send the service several requests at
    once."""
    # The front door passes private headers on to any process that listens at the backend's address.
    own = headers if headers and _is_the_service_s(target) else {}
    address = target.connect_to or ""
    shake_by = min(deadline, time.monotonic() + HANDSHAKE_SECONDS)
    return {
        "front": Task("front door", lambda: probes.ask("front", target=target, headers=own)),
        "backend": Task("backend", lambda: _backend(probes, target, config, own, repeat=repeat)),
        "upstreams": Task("upstreams", lambda: probes.ask("upstreams", target=target)),
        "served": Task("served certificate", lambda: _at_the_front(probes, target, address, shake_by)),
        "old_tls": Task("old TLS versions", lambda: _old_tls(probes, target, address, shake_by)),
    }


def _is_the_service_s(target: Target) -> bool:
    """Whether the service's own master listens at its address, so that no other process receives the requests."""
    from ops.collect.net.private_headers import listens

    return target.gunicorn_master is not None and listens(target.gunicorn_master, target.backend)


def _host_names(probes: Probes, config: NginxConfig | NotSeen, target: Target) -> dict[str, Task]:
    """Start resolving the names that nginx proxies to, and connecting to those of this site; nothing if nginx proxies
    to addresses alone."""
    if not isinstance(config, NginxConfig) or not (names := nginx_topology.proxied_names(config)):
        return {}
    site = find_site(config, target.domain, target.backend)
    servers = (
        server
        for proxied_place in (site.passes if site else ())
        for server in nginx_topology.named_servers(proxied_place)
    )
    dialled = dict.fromkeys(f"{name}:{port}" for name, port, _ in servers)
    words = (*names, *dialled)
    return {"host_names": Task("host names", lambda: probes.ask("host_names", words=words))}


def _read_files(settings: Settings, around: Surroundings, target: Target, deadline: float) -> dict[str, Task]:
    """Start reading this host's files and state besides the configuration."""
    from ops.collect.host import environment, machine, packet_filter, schedule
    from ops.collect.services import (
        application,
        backups,
        certificate_files,
        model,
        model_access,
        watchdog_state,
    )

    own = settings.watchdog
    places = (settings.app.progress_dir, str(Path(own.state_file).parent))
    nginx = _nginx_processes(target, around.processes)
    processes = around.processes if isinstance(around.processes, Processes) else None
    master = gunicorn_topology.process_of(processes, target.gunicorn_master) if processes else None
    wsgi = gunicorn_topology.wsgi(master) or settings.app.wsgi
    state_file, interval = own.state_file, float(own.interval)
    homes = (target.app_dir, GUIDE_HOME)
    return {
        "lineages": Task("certbot's lineages", lambda: _lineages(target)),
        "certificates": Task("certificate files", lambda: certificate_files.certificate_files(target)),
        "watchdog": Task("watchdog state", lambda: watchdog_state.watchdog_state(state_file, interval)),
        "backups": Task("backups", lambda: backups.backups(settings.backup, homes, deadline)),
        "schedule": Task("schedule", lambda: schedule.schedule(settings.schedule)),
        "packet_filter": Task("packet filter", lambda: packet_filter.packet_filter(deadline)),
        "units": Task("systemd's units", lambda: _units(settings, master, around, deadline)),
        "machine": Task(
            "machine", lambda: machine.machine(target, around.config, around.build, nginx, places)
        ),
        "model": Task("model files", lambda: model.model_files(target.model_dir)),
        "environment": Task("Python environment", lambda: environment.environment(target, settings.app)),
        "application": Task("application files", lambda: application.application(target, wsgi)),
        "footprint": Task("workers' memory", lambda: application.footprint(target)),
        "model_access": Task("access to the model", lambda: model_access.model_access(target)),
    }


def _units(
    settings: Settings, master: Process | None, around: Surroundings, deadline: float
) -> Units | NotSeen:
    from ops.collect.services.units import units

    nginx = (
        next(iter(nginx_topology.nginx_masters(around.processes)), None)
        if isinstance(around.processes, Processes)
        else None
    )
    masters = (master.unit if master else None, nginx.unit if nginx else None)
    return units(settings.gunicorn.unit, masters, settings.schedule.systemd, deadline)


def _nginx_processes(target: Target, processes: Processes | NotSeen) -> tuple[Process, ...]:
    """The workers of the nginx that serves this configuration: they hold the connections."""
    if isinstance(processes, NotSeen):
        return ()
    masters = nginx_topology.serving_masters(target, processes, _read_pidfile(target.nginx_pidfile))
    return tuple(
        worker
        for master in masters
        for worker in nginx_topology.nginx_workers(processes.processes, master.pid)
    )


def _served(
    probes: Probes, target: Target, address: str, deadline: float, *, proxied: bool = False
) -> Served | NotSeen:
    words = (address, target.domain, target.ca_file)
    served: Served | NotSeen = probes.ask("served", words=words, deadline=deadline, proxied=proxied)
    return served


def _at_the_front(probes: Probes, target: Target, address: str, deadline: float) -> Served | NotSeen:
    if not target.front_tls:
        return NotSeen(reason=_ENDS_BEFORE)
    return _served(probes, target, address, deadline, proxied=target.front_proxy_protocol)


def _old_tls(probes: Probes, target: Target, address: str, deadline: float) -> OldTls | NotSeen:
    if not target.front_tls:
        return NotSeen(reason=_ENDS_BEFORE)
    words, proxied = (address, target.domain), target.front_proxy_protocol
    outcome: OldTls | NotSeen = probes.ask("old_tls", words=words, deadline=deadline, proxied=proxied)
    return outcome


def _lineages(target: Target) -> Lineages | NotSeen:
    """certbot's lineage of the target's certificate, if the certificate is in certbot's directory."""
    from ops.collect.services.certbot import lineages

    live = Path(target.letsencrypt_dir) / "live"
    if not target.certificate or not Path(target.certificate).is_relative_to(live):
        return NotSeen(reason="the certificate does not lie in certbot's directory")
    name = Path(target.certificate).relative_to(live).parts
    return lineages(target.letsencrypt_dir, name[0] if name else None)


def _main_thread_only_polls(around: Surroundings) -> bool:
    """Whether gunicorn's workers accept connections in their main thread and serve them in others (gthread)."""
    processes = around.processes.processes if isinstance(around.processes, Processes) else ()
    master = next((p for p in processes if p.pid == around.target.gunicorn_master), None)
    arguments, config = gunicorn_topology.arguments(master), around.gunicorn.config
    kind = gunicorn_topology.worker_class(master, config)
    threads = str(gunicorn_topology.setting("threads", "threads", arguments, config))
    # gunicorn uses gthread for a sync worker with several threads (its settings, "threads").
    has_threads = kind in (None, "sync") and threads.isdigit() and int(threads) > 1
    return bool(kind == "gthread" or has_threads)
