"""The toolkit's metrics files as its own writers write them: of a host that is well, and of one where all is wrong."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from ops.archive.listing import ListedBackup
from ops.archive.name import ArchiveName
from ops.certificates.assess import review
from ops.diagnosis.model import Cause
from ops.facts.certificate_inventory import CertificateSource
from ops.facts.status import Status
from ops.report.backup import BackupListReport
from ops.report.certificates import CertificateReport
from ops.report.doctor.report import DoctorReport
from ops.report.formats.prometheus import write
from ops.report.model import CommandReport
from ops.supervision import metrics
from ops.supervision.state import ServiceState, WatchdogState
from ops.text.language import verbatim
from tests.unit.diagnosis.checks.test_inventory import certificate, host
from tests.unit.made_diagnosis import DOWN, HEALTHY
from tests.unit.supervision.made_observation import made_state

WATCHDOG, CERTIFICATES = "gte_ops_watchdog.prom", "gte_ops_cert.prom"
BACKUPS, DOCTOR, SYSTEMD = "gte_ops_backup.prom", "gte_ops_doctor.prom", "systemd.prom"
DAY = 86400.0


def write_files(directory: Path, *, well: bool) -> None:
    """All files, with times by the clock."""
    metrics.write(directory / WATCHDOG, _state(well), paused=not well)
    reports: dict[str, CommandReport] = {
        CERTIFICATES: _certificates(well),
        BACKUPS: _backups(well),
        DOCTOR: DoctorReport(HEALTHY if well else structs.replace(DOWN, causes=tuple(_causes()))),
    }
    for name, report in reports.items():
        page = io.StringIO()
        write(report, "en", page)
        _replace(directory / name, page.getvalue())
    # What node_exporter's own collector writes of a unit; there is no systemd here.
    unit = 'node_systemd_unit_state{name="gte-ops-backup.service",state="failed",type="oneshot"}'
    _replace(directory / SYSTEMD, f"# TYPE node_systemd_unit_state gauge\n{unit} {int(not well)}\n")


def _causes() -> Iterator[Cause]:
    """One that no other alert tells, and a balancer's, each of another server of its upstream."""
    yield structs.replace(DOWN.causes[0], code="GUN003")
    for number, code in enumerate(("NGX043", "NGX048", "NGX049")):
        yield structs.replace(DOWN.causes[1], code=code, subjects=(f"192.0.2.{number}:8000",))


def _replace(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.rename(path)


def _state(well: bool) -> WatchdogState:
    if well:
        return made_state(service_state=ServiceState.HEALTHY)
    return made_state(service_state=ServiceState.FAILING, failures=9, circuit_open=True, saturated=True)


def _certificates(well: bool) -> CertificateReport:
    now = time.time()
    judged = review(host())
    lifetime = 90 * DAY if well else 200 * DAY
    leaf = certificate(
        not_before=now - 10 * DAY if well else now - lifetime + DAY, not_after=now + (80 if well else 1) * DAY
    )
    each = tuple(
        replace(one, certificate=leaf, matches_disk=well if one.source is CertificateSource.SERVED else None)
        for one in judged.certificates
    )
    if not well:
        each += (replace(each[0], name="gone.example", certificate=None, status=Status.UNKNOWN),)
    return CertificateReport(replace(judged, certificates=each))


def _backups(well: bool) -> BackupListReport:
    made = ArchiveName(time.time() - (0 if well else 3 * DAY), 1, "web1", "zst", encrypted=False)
    good = ListedBackup(made, Path("/b") / str(made), 1234, good=True, reason=verbatim(""))
    older = structs.replace(made, created_at=made.created_at - DAY)
    bad = ListedBackup(older, Path("/b") / str(older), 12, good=False, reason=verbatim("cut off"))
    return BackupListReport([(good, None)] if well else [(good, None), (bad, None)], "/b")
