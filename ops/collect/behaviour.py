"""How the stack behaves: all probes run at once; the logs are read last, so that they include the probes' entries."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from ops.collect.front_doors import HANDSHAKE_SECONDS, old_tls, served_at_the_front
from ops.collect.host_state import read_host_state
from ops.collect.surroundings import Surroundings
from ops.collect.task import Task
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.machine import Machine
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Backend, Exchange
from ops.facts.start import LastStart
from ops.facts.target import Target
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret import nginx as nginx_topology
from ops.interpret.site import find_site
from ops.settings import Settings

if TYPE_CHECKING:
    from ops.collect.logs.service_logs import LogPlaces
    from ops.collect.net.probes import Probes

# Seconds of the budget reserved for judging and rendering.
RESERVE = 0.4
# After so many seconds without an answer, the service may not have started: its last start is read.
SILENT_SECONDS = 1.2


def probe(
    settings: Settings,
    around: Surroundings,
    probes: Probes,
    target: Target,
    since: float,
    deadline: float,
    *,
    asked_before: bool,
) -> dict[str, Any]:
    """Probe the stack, and return the results by the snapshot's section. All probes run at once; the wait for them ends
    early if it is pointless; the logs are read last, so that they include the probes' own entries. ``asked_before``:
    other requests of this run may have reached the service already."""
    from ops.collect.give_up import Watch
    from ops.collect.host import machine
    from ops.collect.logs import kernel, service_logs
    from ops.collect.process import worker_activity
    from ops.collect.process.worker_activity import OWN_CONNECTIONS

    probed_since = time.time()
    before = worker_activity.read(target, settings.app.progress_dir)
    totals = machine.counters(target)
    main_polls = _main_thread_only_polls(around)
    # A worker of another kind accepts no connection while it is stuck; progress records show more than probes.
    repeat = main_polls and len(target.gunicorn_workers) > 1 and not before.progress
    headers = _private_headers(target)
    watch = Watch(
        target,
        settings.app.progress_dir,
        before,
        probes.patience,
        main_polls=main_polls,
        own_connections=None if repeat or asked_before else OWN_CONNECTIONS,
    )
    answers = _ask(probes, target, around.config, deadline, headers, repeat=repeat)
    answers |= _host_names(probes, around.config, target)
    tasks = answers | read_host_state(settings, around, target, deadline)
    tasks["last_start"] = Task(
        "last start", lambda: _last_start(settings, around, target, answers["backend"])
    )
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
        around.nginx_pidfile,
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
        return NotSeen(reason="the service answers", is_lasting=True)
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
        "served": Task("served certificate", lambda: served_at_the_front(probes, target, address, shake_by)),
        "old_tls": Task("old TLS versions", lambda: old_tls(probes, target, address, shake_by)),
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
