"""Diagnose a snapshot: run the checks, then separate causes from their consequences."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec
from msgspec.structs import replace

from ops.diagnosis.catalogue import Catalogue, CauseEntry, catalogue, fill_text
from ops.diagnosis.door import from_behind
from ops.diagnosis.finding import Check, Evidence, Finding, NotJudgedError, Severity
from ops.diagnosis.gunicorn_places import (
    SERVICE_MODULE,
    module_of,
    setting_places,
    variables_file,
    with_places,
)
from ops.diagnosis.model import (
    Cause,
    CheckResult,
    CheckStatus,
    Diagnosis,
    Ignored,
    LastGood,
    RankedChange,
    Status,
    Symptom,
)
from ops.diagnosis.steps import confirmation, has_a_hole, with_settings
from ops.diagnosis.symptom_evidence import evidence_of, log_commands, route_of
from ops.diagnosis.symptoms import Observed, observed_symptoms
from ops.facts.base import NotSeen
from ops.facts.changes import Changes
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Host, Processes
from ops.facts.logs import Logs
from ops.facts.nginx import Pidfile
from ops.facts.probes import Backend, Front
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.gunicorn import process_of
from ops.interpret.nginx import serving_masters
from ops.interpret.traffic import unclear_lines
from ops.settings import Ignore
from ops.text.language import Text, verbatim
from ops.text.reasons import reason
from ops.text.sanitize import safe_line
from ops.text.timestamps import local_time

# What users' requests depend on.
_DECIDING = ("logs", "backend", "processes", "nginx_config", "nginx_test")
_PASSED = Text(en="in order", zh="正常")


def diagnose(
    snapshot: Snapshot,
    checks: Sequence[Check],
    ignore: Sequence[Ignore] = (),
    added: Mapping[str, CauseEntry] | None = None,
) -> Diagnosis:
    """Judge ``snapshot`` with ``checks``, and set aside the causes that ``ignore`` names. ``added``: the causes of
    other packages' checks. Pure, but for the durations that it reports."""
    asked = read_by(checks)
    saw_service = has_seen_service(snapshot, asked)
    snapshot = from_behind(snapshot)
    all_causes = _catalogue_of(snapshot, added)
    results, findings = run_checks(snapshot, checks, all_causes)
    values = host_values(snapshot)
    observed = observed_symptoms(snapshot)
    causes = find_causes(findings, observed, values, all_causes)
    symptoms = tuple(_symptom(item, causes, snapshot, values, all_causes) for item in observed)
    ranked: tuple[RankedChange, ...] = ()
    changes = snapshot.changes
    if isinstance(changes, Changes) and changes.changes:
        from ops.diagnosis.changes import read_changes

        reading = read_changes(causes, symptoms, changes, snapshot, _utc_offset(snapshot), all_causes)
        causes, symptoms, ranked = reading.causes, reading.symptoms, reading.ranked
    causes, ignored = apply_ignores(causes, ignore, snapshot)
    return Diagnosis(
        status=overall_status(causes, symptoms, results, snapshot, asked, saw_service=saw_service),
        target=_described(snapshot.target),
        started_at=snapshot.taken_at,
        duration_ms=0.0,
        symptoms=symptoms,
        causes=causes,
        checks=results,
        unseen=_unseen(snapshot),
        ignored=ignored,
        utc_offset=_utc_offset(snapshot),
        last_good=_last_good(changes),
        changes=ranked,
    )


def _catalogue_of(snapshot: Snapshot, added: Mapping[str, CauseEntry] | None) -> Catalogue:
    """The catalogue, with the site's own causes and those of other packages if there are any."""
    own = catalogue().extended(added, ()) if added else catalogue()
    if isinstance(snapshot.site_causes, NotSeen):
        return own
    from ops.diagnosis.site_causes import extended_catalogue
    from ops.diagnosis.site_causes_file import definitions_in

    return extended_catalogue(definitions_in(snapshot.site_causes), own)


def _last_good(changes: Changes | NotSeen) -> LastGood | None:
    if isinstance(changes, NotSeen):
        return None
    return LastGood(changes.taken_at, changes.confirmed_at, changes.by, changes.omitted)


def _symptom(
    item: Observed, causes: Sequence[Cause], snapshot: Snapshot, values: dict[str, str], all_causes: Catalogue
) -> Symptom:
    """``item`` with the causes that explain it; if there are none, with evidence, route and commands to try."""
    summary = fill_text(all_causes.symptom(item.id), {**values, **item.values})
    explained_by = tuple(cause.code for cause in causes if item.id in cause.explains)
    if explained_by:
        return Symptom(item.id, summary, explained_by)
    commands = all_causes.next_commands(item.id, {**values, **log_commands(snapshot), **item.values})
    return Symptom(
        item.id,
        summary,
        evidence=evidence_of(item.exchange, snapshot),
        route=route_of(item.exchange, snapshot),
        next=tuple(with_settings(verbatim(words), values.get("settings_file")) for words in commands),
    )


def _utc_offset(snapshot: Snapshot) -> int:
    return snapshot.host.utc_offset if isinstance(snapshot.host, Host) else 0


def apply_ignores(
    causes: Sequence[Cause], ignore: Sequence[Ignore], snapshot: Snapshot
) -> tuple[tuple[Cause, ...], tuple[Ignored, ...]]:
    """Separate the causes that count from those that are ignored. An expired entry only adds evidence."""
    today = local_time(snapshot.taken_at, _utc_offset(snapshot)).date()
    entries = {entry.code: entry for entry in sorted(ignore, key=lambda entry: entry.until)}
    counting: list[Cause] = []
    ignored: list[Ignored] = []
    for cause in causes:
        entry = entries.get(cause.code)
        if entry is None:
            counting.append(cause)
        elif entry.until < today:
            expired = Evidence(
                "doctor.ignore",
                Text(
                    en=f"was ignored until {entry.until}: {entry.reason}",
                    zh=f"曾忽略至 {entry.until}：{entry.reason}",
                ),
            )
            counting.append(replace(cause, evidence=(*cause.evidence, expired)))
        else:
            ignored.append(Ignored(cause, entry.reason, entry.until.isoformat()))
    return tuple(counting), tuple(ignored)


def run_checks(
    snapshot: Snapshot, checks: Iterable[Check], all_causes: Catalogue
) -> tuple[tuple[CheckResult, ...], tuple[Finding, ...]]:
    """Return every check's result and all findings, one per code. A crash of one check does not affect the others."""
    results: list[CheckResult] = []
    findings: dict[str, Finding] = {}
    for check in checks:
        started = time.perf_counter()
        inputs = check.inputs(snapshot)
        missing = next((inputs[name] for name in check.needs if isinstance(inputs[name], NotSeen)), None)
        status: CheckStatus = CheckStatus.PASS
        summary, skipped, is_gap = _PASSED, None, False
        check_findings: list[Finding] = []
        if missing is not None:
            status, summary, skipped = CheckStatus.SKIP, check.title, _reason(missing)
            is_gap = not missing.is_lasting
        else:
            try:
                for finding in check.judge(**inputs):
                    check_findings.append(finding)
            except NotJudgedError as unseen:
                status, summary, skipped = CheckStatus.SKIP, check.title, _reason(unseen.unseen)
                is_gap = not unseen.unseen.is_lasting
            except Exception as error:  # noqa: BLE001  a defect in one judge must not stop the others
                status, summary, is_gap = CheckStatus.ERROR, check.title, True
                skipped = verbatim(safe_line(f"{type(error).__name__}: {error}"))
        for finding in check_findings:
            earlier = findings.get(finding.code)
            # One cause per code: a second missing file is more evidence, not another cause.
            findings[finding.code] = (
                replace(earlier, evidence=(*earlier.evidence, *finding.evidence)) if earlier else finding
            )
        if check_findings and status is not CheckStatus.ERROR:
            severities = {
                finding.severity or all_causes.entry(finding.code).severity for finding in check_findings
            }
            status = CheckStatus.FAIL if Severity.FAIL in severities else CheckStatus.WARN
            summary = all_causes.entry(check_findings[0].code).title
        results.append(
            CheckResult(
                id=check.id,
                status=status,
                summary=check.title if status is CheckStatus.PASS else summary,
                duration_ms=round((time.perf_counter() - started) * 1000, 2),
                skipped_because=skipped,
                is_gap=is_gap,
            )
        )
    return tuple(results), tuple(findings.values())


def _reason(unseen: NotSeen) -> Text:
    return reason(f"{unseen.reason} (run as root to see)" if unseen.needs_root else unseen.reason)


def find_causes(
    findings: Sequence[Finding], observed: Sequence[Observed], values: dict[str, str], all_causes: Catalogue
) -> tuple[Cause, ...]:
    """Root findings, ordered by what to fix first.

    Each takes over the codes that only follow from it, and the worst severity among them."""
    if not findings:
        return ()
    proven = {finding.code: finding for finding in findings}
    roots = [f for f in findings if not any(_outranks(other, f, all_causes) for other in findings)]
    causes = [
        _cause(
            root,
            [finding for finding in proven.values() if _outranks(root, finding, all_causes)],
            observed,
            values,
            all_causes,
        )
        for root in roots
    ]
    order = {code: rank for rank, code in enumerate(all_causes.codes)}
    symptoms = {item.id for item in observed}
    return tuple(
        sorted(
            causes,
            key=lambda c: (
                c.severity is not Severity.FAIL,
                not symptoms.intersection(c.explains),
                order[c.code],
            ),
        )
    )


def _cause(
    root: Finding,
    followers: list[Finding],
    observed: Sequence[Observed],
    values: dict[str, str],
    all_causes: Catalogue,
) -> Cause:
    entry = all_causes.entry(root.code)
    facts = {**values, **root.facts}
    explained = [symptom for f in (root, *followers) for symptom in _explained_by(f, all_causes)]
    severities: set[Severity] = {f.severity or all_causes.entry(f.code).severity for f in (root, *followers)}
    return Cause(
        code=root.code,
        severity=Severity.FAIL if Severity.FAIL in severities else Severity.WARN,
        title=entry.title,
        summary=root.summary or entry.summary_with(facts),
        explains=(
            *(item.id for item in observed if item.id in explained),
            *(finding.code for finding in followers),
        ),
        # The same words at the same place may be found on two ways.
        evidence=tuple(dict.fromkeys(root.evidence)),
        verify=with_settings(_verify(root, entry, facts), values.get("settings_file")),
        fix=entry.printed((_step(step, values) for step in root.fix), facts)
        if root.fix
        else entry.fix_with(facts, tuple(_step(step, values) for step in root.fix_first)),
        kind=root.kind,
        subjects=root.subjects,
    )


def _verify(root: Finding, entry: CauseEntry, facts: Mapping[str, str | Text]) -> Text:
    """The command that shows the cause; the check itself where a value of the command was not seen."""
    command = verbatim(root.verify) if root.verify else entry.verify_with(facts)
    return verbatim(confirmation(root.code, is_fail=False)) if has_a_hole(command.en) else command


def _step(step: str | Text, values: Mapping[str, str]) -> Text:
    """A step that a judge wrote: a command, or a sentence with the places of gunicorn's settings filled in."""
    return with_places(step, values) if isinstance(step, Text) else verbatim(step)


def _outranks(left: Finding, right: Finding, all_causes: Catalogue) -> bool:
    """Whether ``left`` is the cause and ``right`` only follows from it: by a rule, or because the catalogue puts
    ``right`` last and both can explain the same symptom."""
    if all_causes.outranks(left.code, right.code):
        return True
    if right.code not in all_causes.last or left.code in all_causes.last:
        return False
    return bool(set(_explained_by(left, all_causes)) & set(_explained_by(right, all_causes)))


def _explained_by(finding: Finding, all_causes: Catalogue) -> tuple[str, ...]:
    return all_causes.entry(finding.code).explains if finding.explains is None else finding.explains


def read_by(checks: Iterable[Check]) -> frozenset[str]:
    """The snapshot's sections that one of ``checks`` reads."""
    return frozenset(name for check in checks for name in (*check.needs, *check.optional_inputs))


def overall_status(
    causes: Sequence[Cause],
    symptoms: Sequence[Symptom],
    results: Sequence[CheckResult],
    snapshot: Snapshot,
    asked: AbstractSet[str],
    *,
    saw_service: bool,
) -> Status:
    """fail if users are affected (an unexplained symptom too), unknown if it could not be judged, or if nothing is
    wrong in what was seen and that is not all: the users' prediction and the service were not seen, or the rest that
    users' requests depend on, because the time was over or reading it failed; else warn or ok. ``asked``: the sections
    that are judged; ``saw_service``: `has_seen_service`."""
    if any(cause.severity is Severity.FAIL for cause in causes) or any(not s.explained_by for s in symptoms):
        return Status.FAIL
    if isinstance(snapshot.target, NotSeen) or isinstance(snapshot.front, NotSeen):
        return Status.UNKNOWN
    statuses = {result.status for result in results}
    if CheckStatus.ERROR in statuses or statuses <= {CheckStatus.SKIP}:
        return Status.UNKNOWN
    if causes:
        return Status.WARN
    has_gap = any(_failed(getattr(snapshot, name)) for name in _DECIDING if name in asked)
    return Status.UNKNOWN if has_gap or not saw_service else Status.OK


def _failed(section: object) -> bool:
    """Whether a section was not seen though this user may see it on this host: another run may."""
    return isinstance(section, NotSeen) and not (
        section.is_lasting or section.needs_root or section.is_refused
    )


def has_seen_service(snapshot: Snapshot, asked: AbstractSet[str]) -> bool:
    """Whether the front door was asked for a prediction, as users do, and the service itself for anything. ``asked``:
    the sections that are judged; the others need not have been seen."""
    front, backend = snapshot.front, snapshot.backend
    if "front" in asked and isinstance(front, Front) and _is_gap(front.predict):
        return False
    if "backend" not in asked:
        return True
    if isinstance(backend, NotSeen):
        return backend.is_lasting
    return backend.connection.failure is not None or not (
        _is_gap(backend.health) and _is_gap(backend.predict)
    )


def _is_gap(value: object) -> bool:
    return isinstance(value, NotSeen) and not value.is_lasting


def host_values(snapshot: Snapshot) -> dict[str, str]:
    """The values of the catalogue's placeholders, by the target and the host's present state."""
    target = snapshot.target
    if isinstance(target, NotSeen):
        return {}
    values = target_values(target)
    runs = isinstance(snapshot.processes, Processes) and any(
        serving_masters(target, snapshot.processes, snapshot.nginx_pidfile)
    )
    # A reload fails if nginx does not run; a start fails if it does.
    values["apply_nginx"] = target.reload_nginx if runs else target.start_nginx
    pidfile = snapshot.gunicorn.pidfile if isinstance(snapshot.gunicorn, Gunicorn) else None
    if target.gunicorn_master is None and isinstance(pidfile, Pidfile) and pidfile.is_in_the_way:
        for name in ("start", "restart"):
            values[name] = f"rm -- {shlex.quote(pidfile.path)}\n{values[name]}" if name in values else ""
    has_systemd = isinstance(snapshot.host, Host) and snapshot.host.has_systemd
    values["install_schedule"] = f"gte-ops render {'systemd' if has_systemd else 'cron'} --install"
    if isinstance(snapshot.settings_file, str):
        values["settings_file"] = snapshot.settings_file
    values.update(_settings_of_module(snapshot, target))
    values.update(setting_places(snapshot, target))
    return {name: value for name, value in values.items() if value}


def _settings_of_module(snapshot: Snapshot, target: Target) -> dict[str, str]:
    """The file in which the service's settings are made if its own module takes them from variables."""
    if isinstance(snapshot.processes, NotSeen):
        return {}
    module = module_of(process_of(snapshot.processes, target.gunicorn_master))
    units = snapshot.units
    unit = None if isinstance(units, NotSeen) else units.unit(units.service)
    path = variables_file(unit) if module == SERVICE_MODULE else None
    return {} if path is None else {"gunicorn_config": path}


def target_values(target: Target) -> dict[str, str]:
    """The values of the catalogue's placeholders, by the target alone."""
    host, _, port = (target.connect_to or f"{target.domain}:").rpartition(":")
    if target.backend.startswith("unix:"):
        socket = shlex.quote(target.backend.removeprefix("unix:"))
        backend_url, backend_curl = "http://localhost", f"curl -v --unix-socket {socket} http://localhost"
    else:
        backend_url = f"http://{target.backend}"
        backend_curl = f"curl -v {shlex.quote(backend_url)}"
    present = {
        "domain": target.domain,
        "url": target.url,
        "host": host or target.domain,
        "port": port,
        "front": target.connect_to,
        "backend": target.backend,
        "backend_url": backend_url,
        "backend_curl": backend_curl,
        "health_path": target.health_path,
        "ready_path": target.ready_path,
        "predict_path": target.predict_path,
        "predict_body": target.predict_body,
        "predict_url": target.url + target.predict_path,
        "certificate": target.certificate,
        "private_key": target.private_key,
        "ca_file": target.ca_file,
        "site_file": target.site_file,
        "nginx_config": target.nginx_config_file,
        "nginx_error_log": next(iter(target.nginx_error_logs), None),
        "nginx_access_log": target.nginx_access_log,
        "gunicorn_config": target.gunicorn_config_file,
        "gunicorn_error_log": target.gunicorn_error_log,
        "gunicorn_access_log": target.gunicorn_access_log,
        "gunicorn_pidfile": target.gunicorn_pidfile,
        "start": target.start_command,
        "restart": target.restart_command,
        "start_nginx": target.start_nginx,
        "reload_nginx": target.reload_nginx,
        "test_nginx": target.test_nginx,
        "model_dir": target.model_dir,
        "app_dir": target.app_dir,
        "letsencrypt_dir": target.letsencrypt_dir,
        "python": target.python,
        "python_command": target.python_command or shlex.quote(target.python),
    }
    return {name: value for name, value in present.items() if value}


def _described(target: Target | NotSeen) -> dict[str, str]:
    if isinstance(target, NotSeen):
        return {}
    described = {
        "url": target.url,
        "domain": target.domain,
        "front": target.connect_to,
        "backend": target.backend,
        "site_file": target.site_file,
        "certificate": target.certificate,
        "gunicorn_pid": str(target.gunicorn_master) if target.gunicorn_master else None,
    }
    return {name: value for name, value in described.items() if value}


def _unseen(snapshot: Snapshot) -> tuple[tuple[str, Text], ...]:
    """Everything not seen, by its place in the snapshot, with the reason."""
    entries: list[tuple[str, Text]] = []

    def walk(place: str, value: object) -> None:
        if isinstance(value, NotSeen):
            entries.append((place, reason(value.reason)))
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(f"{place}.{key}", item)
        elif isinstance(value, msgspec.Struct) and place.count(".") < 2:
            for name in value.__struct_fields__:
                walk(f"{place}.{name}" if place else name, getattr(value, name))

    walk("", snapshot)
    if isinstance(snapshot.processes, Processes) and snapshot.processes.unread:
        pids = ", ".join(map(str, snapshot.processes.unread))
        entries.append(("processes.unread", reason(f"reading these processes did not end: {pids}")))
    if isinstance(snapshot.logs, Logs):
        entries += [(place, reason(lines.reason)) for place, lines in unclear_lines(snapshot.logs)]
    # If the backend refuses the connection, nothing behind it can be seen: the connection's failure reports that. The
    # expected sections are unseen on a healthy host: the name leads nowhere else, and the service answers. OPS006
    # reports a missing watchdog.
    failure = isinstance(snapshot.backend, Backend) and snapshot.backend.connection.failure
    expected = ("elsewhere", "watchdog", "last_start", "changes", "site_causes")
    expected_unseen = (*expected, "backend.") if failure else expected
    return tuple((place, words) for place, words in entries if not place.startswith(expected_unseen))


def with_duration(diagnosis: Diagnosis, seconds: float) -> Diagnosis:
    """Return ``diagnosis`` with the duration of the whole run."""
    return replace(diagnosis, duration_ms=seconds * 1000)
