"""The observations on a host at one moment: plain data, no judgement.

Each collector fills one section. What it could not see is `NotSeen` with the reason, never an empty value that could be
taken for a good one. A snapshot can be written as JSON and read back, so one taken on the broken host can be diagnosed
elsewhere. Times are Unix seconds; durations are seconds; sizes are bytes.
"""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts, NotSeen
from ops.facts.certificates import Certificates, Lineages, OldTls, OtherDoor, Served
from ops.facts.changes import Changes
from ops.facts.files import Application, Environment, ModelAccess, ModelFiles
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Host, Processes
from ops.facts.logs import Logs
from ops.facts.machine import Footprint, KernelLog, Machine
from ops.facts.nginx import NginxConfig, NginxTest, Pidfile, SocketView
from ops.facts.packet_filter import PacketFilter
from ops.facts.probes import Activity, Backend, Front, HostNames, Resolution, Upstreams
from ops.facts.safeguards import Backups, OpenLog, Rotation, Schedule, WatchdogFacts
from ops.facts.site_causes import SiteCauses
from ops.facts.start import LastStart
from ops.facts.target import Target
from ops.facts.units import Units


class Snapshot(Facts, frozen=True):
    """Everything one run observed.

    ``elsewhere``: the certificate at the address that the name resolves to, if that is not an address of this host;
    with address translation it may still be this service. ``passed_over``: configuration files of gte-ops that were not
    read, each with why. ``settings_file``: the one that was read; None if none was, or if every command finds it by
    itself. ``last_start``: collected only if the service does not answer. ``changes``: since the service was last
    healthy. ``site_causes``: the conditions of the causes that the site defines. ``units``: empty where systemd is not
    the init."""

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
    watchdog: WatchdogFacts | NotSeen = NotSeen(reason="no watchdog has run", is_lasting=True)
    lineages: Lineages | NotSeen = NotSeen(reason="certbot's directory was not looked at")
    old_tls: OldTls | NotSeen = NotSeen(reason="old versions of TLS were not tried")
    schedule: Schedule | NotSeen = NotSeen(reason="the schedule was not looked at")
    backups: Backups | NotSeen = NotSeen(reason="backups were not looked for")
    rotation: Rotation | NotSeen = NotSeen(reason="the rotation rules were not read")
    open_logs: tuple[OpenLog, ...] | NotSeen = NotSeen(reason="open files were not looked at")
    machine: Machine | NotSeen = NotSeen(reason="the machine was not looked at")
    nginx_sockets: tuple[SocketView, ...] | NotSeen = ()
    other_doors: tuple[OtherDoor, ...] | NotSeen = ()
    passed_over: tuple[str, ...] | NotSeen = ()
    host_names: HostNames | NotSeen = HostNames(addresses={})
    last_start: LastStart | NotSeen = NotSeen(reason="the service answers", is_lasting=True)
    elsewhere: Served | NotSeen = NotSeen(
        reason="the name leads to this host, or is not dialled", is_lasting=True
    )
    settings_file: str | NotSeen | None = None
    changes: Changes | NotSeen = NotSeen(reason="no baseline has been recorded", is_lasting=True)
    site_causes: SiteCauses | NotSeen = NotSeen(
        reason="the site defines no causes of its own", is_lasting=True
    )
    units: Units | NotSeen = Units(units=())
    packet_filter: PacketFilter | NotSeen = NotSeen(reason="nobody looked at the packet filter")


def to_json(snapshot: Snapshot) -> bytes:
    """The snapshot as JSON."""
    return msgspec.json.encode(snapshot)


def from_json(content: bytes) -> Snapshot:
    """The snapshot in ``content``. Raises msgspec.ValidationError or DecodeError if it is none."""
    return msgspec.json.decode(content, type=Snapshot)
