"""Collect what another host's front door shows: its name, its answers, its certificate.

No file, process, log or configuration of this machine is looked at, except its resolver and its trusted roots.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from ops.collect.net.connection import CONNECT_SECONDS, Deadline
from ops.collect.net.http_probe import connect
from ops.collect.net.probes import Probes
from ops.collect.task import Task
from ops.facts.base import NotSeen
from ops.facts.certificates import OldTls, Served
from ops.facts.probes import Front, Resolution
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.address import join_address
from ops.interpret.outside import OUTSIDE, outside_target, url_port
from ops.settings import Settings

# Seconds of the budget reserved for judging and rendering.
_RESERVE = 0.4
# Time limit of a handshake over the network, seconds.
_HANDSHAKE_SECONDS = 4.0
# Addresses of the name that are dialled until one answers.
_MAX_DIALLED = 4
_NO_TLS = "the URL is plain HTTP"


def collect_from_outside(settings: Settings, url: str, budget: float) -> Snapshot:
    """One snapshot of the front door at ``url`` (`outside_url`). ``budget``: the whole run's length, seconds."""
    deadline = time.monotonic() + max(budget - _RESERVE, budget / 2)
    probes = Probes(deadline)
    name = urlsplit(url).hostname or ""
    resolution: Resolution | NotSeen = Task(
        "dns",
        lambda: probes.ask("resolve", words=(name, settings.target.resolver or None), deadline=deadline),
    ).wait(deadline)
    addresses = resolution.addresses if isinstance(resolution, Resolution) else ()
    front: Front | NotSeen = NotSeen(reason="the name did not resolve")
    no_tls = NotSeen(
        reason="the name did not resolve" if url.startswith("https:") else _NO_TLS, is_lasting=True
    )
    served: Served | NotSeen = no_tls
    old_tls: OldTls | NotSeen = no_tls
    target = outside_target(settings, url, addresses[0] if addresses else name)
    if addresses:
        target = outside_target(settings, url, _dialled(addresses, url_port(url), deadline, probes.patience))
        tasks = _ask(probes, target, min(deadline, time.monotonic() + _HANDSHAKE_SECONDS))
        # Longer than its own exchanges wait: that no answer came is what it has to say.
        front = tasks["front"].wait(deadline + _RESERVE / 2)
        if target.front_tls:
            served = tasks["served"].wait(deadline)
            old_tls = tasks["old_tls"].wait(deadline)
    unseen = NotSeen(reason=OUTSIDE, is_lasting=True)
    return Snapshot(
        taken_at=time.time(),
        target=target,
        resolution=resolution,
        front=front,
        served=served,
        old_tls=old_tls,
        host=unseen,
        processes=unseen,
        nginx_config=unseen,
        nginx_test=unseen,
        nginx_pidfile=unseen,
        gunicorn=unseen,
        backend=unseen,
        upstreams=unseen,
        activity=unseen,
        certificates=unseen,
        logs=unseen,
        model=unseen,
        environment=unseen,
        application=unseen,
        footprint=unseen,
        kernel=unseen,
        model_access=unseen,
        watchdog=unseen,
        lineages=unseen,
        schedule=unseen,
        backups=unseen,
        rotation=unseen,
        open_logs=unseen,
        machine=unseen,
        nginx_sockets=unseen,
        other_doors=unseen,
        host_names=unseen,
        units=unseen,
        packet_filter=unseen,
    )


def _dialled(addresses: tuple[str, ...], port: int, deadline: float, patience: Deadline) -> str:
    """The first address that accepts a connection, as a client that tries them in turn; else the first of all."""
    for address in addresses[:_MAX_DIALLED]:
        by = min(deadline, time.monotonic() + CONNECT_SECONDS)
        if connect(join_address(address, port), by, patience).failure is None:
            return address
    return addresses[0]


def _ask(probes: Probes, target: Target, shake_by: float) -> dict[str, Task]:
    place = target.connect_to or ""
    tasks = {"front": Task("front door", lambda: probes.ask("front", target=target))}
    if target.front_tls:
        words = (place, target.domain, target.ca_file)
        tasks["served"] = Task(
            "served certificate", lambda: probes.ask("served", words=words, deadline=shake_by)
        )
        tasks["old_tls"] = Task(
            "old TLS versions", lambda: probes.ask("old_tls", words=words[:2], deadline=shake_by)
        )
    return tasks
