"""Read certbot's directory: lineages, renewal configurations and hooks, and the runs recorded in its logs.

The layout is certbot's (eff-certbot.readthedocs.io, "Where are my certificates?"): live/NAME/*.pem are links into
archive/NAME, and renewal/NAME.conf configures the renewal. A path out of the directory is reported and not followed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ops.collect.services.certificate_files import key_file, pem_file
from ops.facts.base import NotSeen
from ops.facts.certificates import (
    ArchivedPair,
    CertbotRuns,
    FileProblem,
    KeyFile,
    Lineage,
    Lineages,
    PemFile,
    RenewalAttempt,
    RenewalConf,
    RenewalOutcome,
)
from ops.files.bounded_read import open_regular_file, read_regular_file
from ops.text.sanitize import safe_line

MAX_CONF_BYTES = 256 << 10
MAX_LOG_BYTES = 4 << 20
MAX_LINEAGES = 2000
MAX_OTHERS = 20
MAX_LOGS = 5
MAX_ATTEMPTS = 2000
DEFAULT_LOGS = "/var/log/letsencrypt"
STEMS = ("cert", "privkey", "chain", "fullchain")
# Limits on file names checked in one archive, and on versions above the live one that are read.
MAX_ARCHIVED = 5000
MAX_NEWER = 3
_VERSION = re.compile(r"/(cert|privkey|chain|fullchain)(\d{1,6})\.pem$")

_ASSIGNMENT = re.compile(r"\s*([A-Za-z0-9_.*-]+)\s*=(.*)$")
_SECTION = re.compile(r"\s*+(\[++)([^\[\]]++)(\]++)\s*$")
_INTERVAL = re.compile(r"^\s*(\d{1,6})\s*(second|minute|hour|day|week|month|year)s?\s*$")
_UNIT_SECONDS = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
    "week": 7 * 86400.0,
    "month": 30.4 * 86400.0,
    "year": 365 * 86400.0,
}


def lineages(directory: str, only: str | None = None) -> Lineages | NotSeen:
    """Return every lineage below ``directory``, or the one called ``only``, and the first others beside it.

    NotSeen if the directory has no lineages, or cannot be read without root."""
    root = Path(directory)
    try:
        names = _names(root)
    except PermissionError as error:
        return NotSeen(reason=safe_line(f"{error.filename}: permission denied"), needs_root=True)
    except (OSError, ValueError) as error:
        return NotSeen(reason=safe_line(f"{directory}: {_words(error)}"))
    if names is None:
        return NotSeen(reason=safe_line(f"{directory} holds no certbot lineages"), is_lasting=True)
    selection = [name for name in names if only in (None, name)][:MAX_LINEAGES]
    found = tuple(_lineage(root, name) for name in selection)
    others = [name for name in names if only is not None and name != only][:MAX_OTHERS]
    by_own_server = any(lineage.renewal.authenticator == "standalone" for lineage in found)
    return Lineages(
        directory=directory,
        lineages=found,
        others=tuple(_lineage(root, name) for name in others),
        deploy_hooks=tuple(_hooks(root / "renewal-hooks" / "deploy")),
        pre_hooks=tuple(_hooks(root / "renewal-hooks" / "pre")) if by_own_server else (),
    )


def _names(root: Path) -> list[str] | None:
    """Return the lineages' names, from live/ and from the renewal configurations; None if neither folder exists."""
    names: set[str] = set()
    has_folder = False
    for folder, suffix in ((root / "live", ""), (root / "renewal", ".conf")):
        try:
            entries = os.listdir(folder)  # noqa: PTH208  names alone are wanted
        except (FileNotFoundError, NotADirectoryError):
            continue
        has_folder = True
        for entry in entries:
            if not suffix and (folder / entry).is_dir():
                names.add(entry)
            elif suffix and entry.endswith(suffix):
                names.add(entry.removesuffix(suffix))
    return sorted(names) if has_folder else None


def _lineage(root: Path, name: str) -> Lineage:
    live, archive = root / "live" / name, root / "archive" / name
    outside: list[str] = []
    renewal = _renewal_conf(root / "renewal" / f"{name}.conf")
    for path in (*renewal.files.values(), *([renewal.archive_dir] if renewal.archive_dir else ())):
        if not _is_within(path, root):
            outside.append(safe_line(path, 300))
    certificate, key = live / "fullchain.pem", live / "privkey.pem"
    return Lineage(
        name=safe_line(name, 255),
        live=str(live),
        linked=all(_leads_into(live / f"{stem}.pem", archive) for stem in ("cert", "privkey")),
        certificate=_guarded(certificate, root, outside) or pem_file(str(certificate)),
        key=_guarded(key, root, outside) or key_file(str(key)),
        renewal=renewal,
        renewed=_newest(archive),
        outside=tuple(outside),
        newer=tuple(_newer(archive, certificate, root)),
    )


def _newer(archive: Path, live: Path, root: Path) -> Iterator[ArchivedPair]:
    """Yield the complete versions above the one that ``live`` links to, the newest first, at most `MAX_NEWER`."""
    current = _VERSION.search(os.path.realpath(live))
    if current is None or not os.path.realpath(live).startswith(os.path.realpath(archive) + os.sep):
        return
    versions: dict[int, set[str]] = {}
    with contextlib.suppress(OSError, ValueError), os.scandir(archive) as entries:
        for entry, _ in zip(entries, range(MAX_ARCHIVED), strict=False):
            if (match := _VERSION.search(f"/{entry.name}")) and int(match[2]) > int(current[2]):
                versions.setdefault(int(match[2]), set()).add(match[1])
    whole = sorted((number for number, stems in versions.items() if stems == set(STEMS)), reverse=True)
    for number in whole[:MAX_NEWER]:
        chain, key = archive / f"fullchain{number}.pem", archive / f"privkey{number}.pem"
        if not (_is_within(str(chain), root) and _is_within(str(key), root)):
            continue
        certificate, private = pem_file(str(chain)), key_file(str(key))
        if isinstance(certificate, PemFile) and certificate.certificates and isinstance(private, KeyFile):
            leaf = certificate.certificates[0]
            yield ArchivedPair(
                version=number,
                certificate=leaf,
                matches=private.public_key == leaf.public_key,
                chain_path=certificate.path,
                key_path=private.path,
            )


def _guarded(path: Path, root: Path, outside: list[str]) -> NotSeen | None:
    """Return NotSeen if a file of a lineage links out of certbot's directory, and add it to ``outside``; else None."""
    real = os.path.realpath(path)
    if os.path.lexists(path) and not _is_within(real, root):
        outside.append(safe_line(f"{path} -> {real}", 600))
        return NotSeen(reason=safe_line(f"{path} leads to {real}, outside {root}: not followed", 600))
    return None


def _is_within(path: str, root: Path) -> bool:
    try:
        real, base = os.path.realpath(path), os.path.realpath(root)
    except (OSError, ValueError):
        return False
    return real == base or real.startswith(base + os.sep)


def _leads_into(link: Path, archive: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return link.is_symlink() and _is_within(os.path.realpath(link), archive)
    return False


def _newest(archive: Path) -> float | None:
    """Return the modification time of the archive's newest certificate."""
    newest: float | None = None
    with contextlib.suppress(OSError, ValueError), os.scandir(archive) as entries:
        for entry in entries:
            if re.fullmatch(r"cert\d+\.pem", entry.name):
                modified = entry.stat(follow_symlinks=False).st_mtime
                newest = modified if newest is None else max(newest, modified)
    return newest


def _hooks(directory: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(directory))[:100]:  # noqa: PTH208
            if os.access(directory / name, os.X_OK) and not name.endswith("~"):
                yield safe_line(str(directory / name), 300)


# --- renewal configuration ---


def _renewal_conf(path: Path) -> RenewalConf:
    display_path = safe_line(str(path), 600)
    try:
        read = read_regular_file(str(path), MAX_CONF_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return RenewalConf(path=display_path, problem=FileProblem.MISSING, detail="there is no such file")
    except (OSError, ValueError) as error:
        return RenewalConf(path=display_path, problem=FileProblem.UNREADABLE, detail=_words(error))
    if not read.is_whole:
        return RenewalConf(
            path=display_path, problem=FileProblem.MALFORMED, detail=f"larger than {MAX_CONF_BYTES >> 10} KiB"
        )
    try:
        return parse_renewal_conf(read.content.decode("utf-8"), display_path)
    except UnicodeDecodeError:
        return RenewalConf(path=display_path, problem=FileProblem.MALFORMED, detail="not UTF-8 text")


def parse_renewal_conf(text: str, path: str) -> RenewalConf:
    """Parse certbot's renewal configuration (ConfigObj: assignments, sections in brackets, comment lines after #)."""
    values: dict[str, str] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (heading := _SECTION.match(line)) and len(heading[1]) == len(heading[3]):
            section = "" if len(heading[1]) > 1 else heading[2].strip()
            if len(heading[1]) > 1:
                section = "nested"
        elif assignment := _ASSIGNMENT.match(line):
            values[f"{section}.{assignment[1]}"] = _unquoted(assignment[2].strip())
        else:
            return RenewalConf(
                path=path,
                problem=FileProblem.MALFORMED,
                detail=safe_line(f"line {number} is neither a section nor an assignment: {line}", 200),
            )
    of = values.get
    missing = [stem for stem in STEMS if not of(f".{stem}")]
    problem, detail = None, ""
    if missing:
        problem, detail = FileProblem.MALFORMED, f"it does not say where {', '.join(missing)} lie"
    elif not any(key.startswith("renewalparams.") for key in values):
        problem, detail = FileProblem.MALFORMED, "it has no [renewalparams]"
    interval = _INTERVAL.match(of(".renew_before_expiry", ""))
    kinds = {"pre": "pre_hook", "post": "post_hook", "deploy": "renew_hook"}
    return RenewalConf(
        path=path,
        version=_line(of(".version")),
        archive_dir=_line(of(".archive_dir"), 600),
        files={stem: safe_line(of(f".{stem}", ""), 600) for stem in STEMS if of(f".{stem}")},
        authenticator=_line(of("renewalparams.authenticator")),
        server=_line(of("renewalparams.server"), 300),
        logs_dir=_line(of("renewalparams.logs_dir"), 600),
        webroot=_line(of("renewalparams.webroot_path", "").split(",")[0].strip(), 600),
        renew_before=int(interval[1]) * _UNIT_SECONDS[interval[2]] if interval else None,
        own_port=int(port)
        if (port := of("renewalparams.http01_port", "80")).isdecimal() and len(port) < 6
        else 80,
        autorenew=of("renewalparams.autorenew", "True").lower() not in ("false", "no", "off", "0"),
        hooks={
            kind: safe_line(of(f"renewalparams.{key}", ""), 300)
            for kind, key in kinds.items()
            if of(f"renewalparams.{key}") not in (None, "", "None")
        },
        problem=problem,
        detail=detail,
    )


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'" else value


def _line(value: str | None, limit: int = 100) -> str | None:
    return safe_line(value, limit) if value else None


def _words(error: OSError | ValueError) -> str:
    return safe_line(
        (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).lower()
    )


# --- certbot's logs ---

_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{1,6}:[A-Z]+:([\w.]+):(.*)$")
_CONF = re.compile(r"Processing \S*/renewal/\S+\.conf\s*$")
_FAILED = re.compile(r"Failed to renew certificate (\S+) with error: (.*)$")
_OUTCOME = re.compile(r"/live/([^/\s]+)/fullchain\.pem(?: expires on \S+)? \((success|failure|skipped)\)")
_DETAIL = re.compile(r"^\s*Detail:\s*(.*)$")


def certbot_runs(directory: str) -> CertbotRuns | NotSeen:
    """Return certbot's runs by its logs in ``directory``; NotSeen if there are none, or if they need root to read."""
    names = ["letsencrypt.log", *(f"letsencrypt.log.{number}" for number in range(1, MAX_LOGS))]
    texts: list[str] = []
    for name in names:
        path = str(Path(directory) / name)
        try:
            texts.append(_tail(path))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            return NotSeen(reason=safe_line(f"{path}: permission denied"), needs_root=True)
        except (OSError, ValueError) as error:
            return NotSeen(reason=safe_line(f"{path}: {_words(error)}"))
    if not texts:
        return NotSeen(
            reason=safe_line(f"{directory} holds no log of certbot: none has run, or it logs elsewhere")
        )
    return parse_certbot_log("\n".join(reversed(texts)), str(Path(directory) / names[0]))


def _tail(path: str) -> str:
    with open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - MAX_LOG_BYTES))
        return file.read(MAX_LOG_BYTES).decode("utf-8", "replace")


def parse_certbot_log(text: str, path: str) -> CertbotRuns:
    """Return the runs in ``text``, oldest first. Times are in the host's local time, as certbot writes them."""
    attempts: list[RenewalAttempt] = []
    version: str | None = None
    last: float | None = None
    since: float | None = None
    moment = 0.0
    detail = ""

    def note(lineage: str, outcome: RenewalOutcome, reason: str = "") -> None:
        attempts.append(
            RenewalAttempt(
                lineage=safe_line(lineage, 255), time=moment, outcome=outcome, reason=safe_line(reason, 400)
            )
        )

    for line in text.splitlines():
        if match := _STAMP.match(line):
            at = _moment(match[1])
            if at is None:
                continue
            moment, message = at, match[3]
            since = moment if since is None else since
            if message.startswith("certbot version: "):
                version, last = safe_line(message.removeprefix("certbot version: "), 40), moment
                detail = ""
                continue
        else:
            message = line
        if _CONF.search(message):
            detail = ""
        elif detail_match := _DETAIL.match(message):
            detail = detail or detail_match[1]
        elif failed := _FAILED.search(message):
            reason = f"{detail} ({failed[2]})" if detail else failed[2]
            note(failed[1], RenewalOutcome.FAILED, reason)
            detail = ""
        elif (ended := _OUTCOME.search(message)) and ended[2] != "failure":
            renewed = ended[2] == "success"
            note(ended[1], RenewalOutcome.RENEWED if renewed else RenewalOutcome.NOT_DUE)
    return CertbotRuns(
        path=path, last_run=last, version=version, attempts=tuple(attempts[-MAX_ATTEMPTS:]), since=since
    )


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
