"""Find every certificate that matters on this host: nginx's, certbot's, and those served."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from ops.collect.net.tls import Trust, other_door, served_certificate, trust_of
from ops.collect.services.acme_clients import scheduled_clients
from ops.collect.services.certbot import DEFAULT_LOGS, certbot_runs, lineages
from ops.collect.services.certificate_files import is_path, key_file, pem_file
from ops.collect.task import Task
from ops.facts.base import NotSeen
from ops.facts.certificate_inventory import Endpoint, FilePair, Inventory, RenewalJob, ServedThere
from ops.facts.certificates import CertbotRuns, Certificate, Lineages, PemFile, Served
from ops.facts.host import Host, Processes
from ops.facts.nginx import NginxConfig
from ops.facts.safeguards import Schedule
from ops.interpret import nginx as nginx_topology
from ops.interpret.acme_clients import AcmeClient, client_of
from ops.interpret.certificate_paths import DEFAULT, absolute, certificate_pairs, map_blocks
from ops.interpret.expiry import rules_of
from ops.settings import Settings

# Endpoints probed in parallel: they mostly wait, so use more than the number of cores.
WORKERS = 48
MAX_ENDPOINTS = 2000
MAX_FILES = 5000

Progress = Callable[[int, int], None]


def take_inventory(
    settings: Settings,
    endpoints: Sequence[Endpoint],
    *,
    everything: bool,
    timeout: float,
    progress: Progress = lambda _done, _all: None,
) -> Inventory:
    """Return the inventory. ``endpoints``: those from the command line or settings; ``everything``: add this host's.

    ``timeout``: the limit for one endpoint, in seconds."""
    from ops.collect.host.host import host

    machine = host()
    if not everything:
        return Inventory(
            taken_at=time.time(),
            has_systemd=machine.has_systemd,
            is_root=machine.is_root,
            files=(),
            served=look(endpoints, settings.tls.ca_file or None, timeout, progress),
            lineages=_UNASKED,
            runs=_UNASKED,
            schedule=_UNASKED,
            rules=rules_of(settings.tls.thresholds),
            complete=False,
        )
    return _of_this_host(settings, endpoints, machine, timeout, progress)


_UNASKED = NotSeen(reason="only named endpoints were asked for")


def _of_this_host(
    settings: Settings, extra_endpoints: Sequence[Endpoint], machine: Host, timeout: float, progress: Progress
) -> Inventory:
    unseen: list[NotSeen] = []
    certbot = Task("certbot's lineages", lambda: lineages(settings.tls.letsencrypt_dir))
    planned = Task("schedule", lambda: _schedule(settings))
    config, started = _nginx(settings)
    deadline = time.monotonic() + 30
    certbot_lineages = certbot.wait(deadline)
    sites: tuple[_Site, ...] = ()
    if isinstance(config, NotSeen):
        unseen.append(config)
    else:
        sites = tuple(_sites(config))
        unseen += [NotSeen(reason=f"{e.file}: {e.message}", needs_root=e.permission) for e in config.errors]
    lineage_names = (
        {lineage.live: lineage.name for lineage in certbot_lineages.lineages}
        if isinstance(certbot_lineages, Lineages)
        else {}
    )
    schedule = planned.wait(deadline)
    clients = (
        scheduled_clients(schedule, has_systemd=machine.has_systemd) if isinstance(schedule, Schedule) else ()
    )
    files = _files(settings, sites, certbot_lineages, lineage_names, clients)
    endpoints = list(dict.fromkeys((*_endpoints(sites, files), *extra_endpoints)))
    if len(endpoints) > MAX_ENDPOINTS:
        unseen.append(NotSeen(reason=f"only {MAX_ENDPOINTS} of {len(endpoints)} endpoints are looked at"))
    served = look(endpoints[:MAX_ENDPOINTS], settings.tls.ca_file or None, timeout, progress)
    if isinstance(certbot_lineages, NotSeen) and certbot_lineages.needs_root:
        unseen.append(certbot_lineages)
    if isinstance(schedule, Schedule):
        unseen += schedule.unseen
    return Inventory(
        taken_at=time.time(),
        has_systemd=machine.has_systemd,
        is_root=machine.is_root,
        files=files,
        served=served,
        lineages=certbot_lineages,
        runs=_runs(settings, certbot_lineages),
        schedule=schedule,
        rules=rules_of(settings.tls.thresholds),
        workers_started=started,
        unseen=tuple(dict.fromkeys(unseen)),
    )


def _schedule(settings: Settings) -> Schedule:
    from ops.collect.host.schedule import schedule

    return schedule(settings.schedule)


def _runs(settings: Settings, certbot_lineages: Lineages | NotSeen) -> CertbotRuns | NotSeen:
    """Read certbot's logs in the directory from the settings, else from a renewal configuration, else the default."""
    if isinstance(certbot_lineages, NotSeen):
        return NotSeen(reason="there are no lineages", is_lasting=True)
    directories = (lineage.renewal.logs_dir for lineage in certbot_lineages.lineages)
    directory = settings.tls.letsencrypt_logs or next((place for place in directories if place), DEFAULT_LOGS)
    return certbot_runs(directory)


# --- nginx ---


class _Site:
    """A server block that speaks TLS: its certificate files, paired with keys, and its listen addresses."""

    def __init__(
        self,
        server: nginx_topology.Server,
        pairs: tuple[tuple[str, str | None], ...],
        addresses: tuple[str, ...],
        variants: Mapping[str, str] | None = None,
    ) -> None:
        """``variants``: of a certificate by variable, the file by what selects it."""
        self.server, self.pairs, self.addresses = server, pairs, addresses
        self.variants = variants

    def file_for(self, name: str) -> str | None:
        """The file whose certificate a client that asks for ``name`` gets; None if that cannot be told."""
        if self.variants is not None:
            return self.variants.get(name) or self.variants.get(DEFAULT)
        # With several certificates the client's ciphers decide.
        return self.pairs[0][0] if len(self.pairs) == 1 else None


def _nginx(settings: Settings) -> tuple[NginxConfig | NotSeen, tuple[float, ...]]:
    """Return nginx's configuration, and the start times of the workers that serve it."""
    from ops.collect.process.processes import processes
    from ops.collect.services import nginx

    all_processes: Processes = processes()
    masters = nginx_topology.nginx_masters(all_processes)
    binary = nginx.find_binary(settings.nginx.binary, masters)
    build = nginx.build_facts(binary, timeout=2.0) if binary else {}
    config = nginx.read_config(binary, build, settings.nginx.config_file, masters)
    if isinstance(config, NotSeen):
        return config, ()
    ours = [m for m in masters if f" -c {config.file} " in f"{nginx_topology.title(m)} "] or (
        [] if settings.nginx.config_file else list(masters)
    )
    started = tuple(
        worker.started
        for m in ours
        for worker in nginx_topology.nginx_workers(all_processes.processes, m.pid)
    )
    return config, started


def _sites(config: NginxConfig) -> Iterator[_Site]:
    base = PurePosixPath(config.file).parent
    maps = map_blocks(config.directives)
    for server in nginx_topology.servers(config):
        listens = [item for item in server.listens if item.ssl]
        certificates = [d.args[0] for d in server.effective("ssl_certificate") if d.args]
        keys = [d.args[0] for d in server.effective("ssl_certificate_key") if d.args]
        if not listens or not certificates or server.value("ssl_reject_handshake") == "on":
            continue
        addresses = tuple(dict.fromkeys(item.dialled for item in listens))
        if len(certificates) == 1 and "$" in certificates[0] and keys:
            by_variable = [
                (selector, absolute(config.file, path), absolute(config.file, key))
                for selector, path, key in certificate_pairs(maps, server.names, certificates[0], keys[0])
            ]
            variants = {selector: path for selector, path, _ in by_variable}
            named: dict[tuple[str, str | None], None] = {(path, key): None for _, path, key in by_variable}
            yield _Site(server, tuple(named), addresses, variants)
            continue
        # nginx pairs them in the order of the configuration (ngx_http_ssl_module).
        pairs = tuple(
            (_absolute(base, path), _absolute(base, keys[number]) if number < len(keys) else None)
            for number, path in enumerate(certificates)
        )
        yield _Site(server, pairs, addresses)


def _absolute(base: PurePosixPath, path: str) -> str:
    return str(base / path) if is_path(path) else path


def _files(
    settings: Settings,
    sites: Sequence[_Site],
    certbot_lineages: Lineages | NotSeen,
    lineage_names: dict[str, str],
    clients: tuple[AcmeClient, ...],
) -> tuple[FilePair, ...]:
    """Return every certificate file once, with the places that name it."""
    users: dict[tuple[str, str | None], list[str]] = {}
    for site in sites:
        for pair in site.pairs:
            users.setdefault(pair, []).append(site.server.where)
    if settings.tls.certificate and not any(path == settings.tls.certificate for path, _ in users):
        users[(settings.tls.certificate, settings.tls.private_key)] = ["gte-ops.toml"]
    pairs = [
        _pair(path, key, used_by, lineage_names.get(str(PurePosixPath(path).parent)), clients)
        for (path, key), used_by in list(users.items())[:MAX_FILES]
    ]
    in_use = {pair.lineage for pair in pairs}
    for lineage in certbot_lineages.lineages if isinstance(certbot_lineages, Lineages) else ():
        if lineage.name not in in_use:
            path = str(Path(lineage.live) / "fullchain.pem")
            pairs.append(
                FilePair(certificate=lineage.certificate, path=path, key=lineage.key, lineage=lineage.name)
            )
    return tuple(pairs)


def _pair(
    path: str,
    key: str | None,
    used_by: Sequence[str],
    lineage: str | None,
    clients: tuple[AcmeClient, ...],
) -> FilePair:
    certificate = pem_file(path)
    real = certificate.resolved if isinstance(certificate, PemFile) else path
    client = client_of(path, real, clients) if lineage is None else None
    return FilePair(
        certificate=certificate,
        path=path,
        key=key_file(key) if key else None,
        used_by=tuple(dict.fromkeys(used_by)),
        lineage=lineage,
        client=client.name if client else None,
        jobs=tuple(RenewalJob(job.where, job.command, job.idle) for job in client.jobs) if client else (),
    )


def _endpoints(sites: Sequence[_Site], files: Iterable[FilePair]) -> Iterator[Endpoint]:
    """Yield each name at each address for which nginx selects exactly this block."""
    leaves = {
        pair.path: pair.certificate.certificates[0]
        for pair in files
        if isinstance(pair.certificate, PemFile) and pair.certificate.certificates
    }
    servers = [site.server for site in sites]
    proxied = {(item.host, item.port) for server in servers for item in server.listens if item.proxy_protocol}
    for site in sites:
        first = leaves.get(site.pairs[0][0]) if site.pairs else None
        for name, expected in _names(site.server.names, first):
            for listen in (item for item in site.server.listens if item.ssl):
                if nginx_topology.chosen_server(servers, listen.host, listen.port, name) is not site.server:
                    continue
                end = Endpoint(
                    address=listen.dialled,
                    name=name,
                    expected=expected,
                    origin=site.server.where,
                    file=site.file_for(name),
                    # The option on any listen of a socket applies to all of them (ngx_http_core_module, listen).
                    proxied=(listen.host, listen.port) in proxied,
                )
                yield end
                yield from _by_key(end, site, leaves)


def _by_key(end: Endpoint, site: _Site, leaves: Mapping[str, Certificate]) -> Iterator[Endpoint]:
    """Ask a server with several certificates for each kind of key: a client gets only one of them."""
    kinds = {kind: path for path, _ in site.pairs if (kind := key_kind(leaves.get(path))) is not None}
    if site.variants is None and len(site.pairs) > 1 and len(kinds) > 1:
        for kind, path in kinds.items():
            yield msgspec.structs.replace(end, file=path, key=kind)


def key_kind(leaf: Certificate | None) -> str | None:
    """The kind of the key, of those that a client can ask for; None if it is another."""
    family = leaf.key_type.partition(" ")[0] if leaf else ""
    return {"RSA": "RSA", "EC": "ECDSA"}.get(family)


def _names(names: Sequence[str], leaf: Certificate | None) -> Iterator[tuple[str, bool]]:
    """Yield the names to request, and whether the certificate must cover them. Request a catch-all without a name."""
    if not names:
        yield "", False
    for name in names:
        # RFC 6761, 6.4: names that end with .invalid belong to nobody; configurations use one to mark a catch-all.
        if name in ("", "_") or name.startswith("~") or name.endswith(".invalid"):
            yield "", False
        elif name.startswith((".", "*.")):
            parent = name.lstrip("*").lstrip(".")
            inside = [n for n in (leaf.names if leaf else ()) if n.endswith(f".{parent}") and "*" not in n]
            yield (inside[0] if inside else f"www.{parent}"), True
            if name.startswith("."):
                yield parent, True
        elif not set(name) & set("*$"):
            yield name, True


# --- probing ---


def _served(end: Endpoint, ca_file: str | None, deadline: float, trust: Trust) -> Served | NotSeen:
    if end.key:
        door = other_door(end.address, end.name, ca_file, deadline, key=end.key, proxied=end.proxied)
        return door.served
    return served_certificate(
        end.address,
        end.name,
        ca_file,
        deadline,
        trust=trust,
        starttls=end.starttls,
        proxied=end.proxied,
    )


def look(
    endpoints: Sequence[Endpoint], ca_file: str | None, timeout: float, progress: Progress
) -> tuple[ServedThere, ...]:
    """Return the chain that each endpoint presents. Probe many in parallel, each for at most ``timeout`` seconds."""
    if not endpoints:
        return ()
    trust = trust_of(ca_file)
    results: dict[int, Served | NotSeen] = {}
    waiting = iter(range(len(endpoints)))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(waiting, None)
            if number is None:
                return
            end = endpoints[number]
            results[number] = _served(end, ca_file, time.monotonic() + timeout, trust)

    count = min(WORKERS, len(endpoints))
    deadline = time.monotonic() + 2 * timeout * (len(endpoints) // count + 1) + 1
    tasks = [Task(f"endpoints {number}", work) for number in range(count)]
    for task in tasks:
        while not task.is_done and time.monotonic() < deadline:
            task.wait(min(deadline, time.monotonic() + 0.1))
            progress(len(results), len(endpoints))
    progress(len(endpoints), len(endpoints))
    late = NotSeen(reason=f"no answer within {timeout:g} s")
    return tuple(
        ServedThere(endpoint=end, served=results.get(number, late)) for number, end in enumerate(endpoints)
    )
