"""Discovering what to back up on this host: paths, key pairs, versions."""

from __future__ import annotations

import glob
import os
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ops import __version__
from ops.archive.manifest import NginxUse
from ops.backups.certbot_lock import LOCK_NAME
from ops.collect import host_files
from ops.collect.host.schedule import schedule
from ops.collect.host.versions import certbot_version, installed, libraries
from ops.collect.host_files import Source
from ops.collect.services.acme_clients import scheduled_clients
from ops.collect.surroundings import Surroundings, look_around
from ops.errors import OpsError
from ops.facts.base import NotSeen
from ops.facts.nginx import NginxConfig
from ops.files.bounded_read import read_regular_file
from ops.interpret.nginx import compiled_path
from ops.interpret.target import gunicorn_hints
from ops.settings import LogrotateSettings, Settings
from ops.text.language import Text
from ops.text.reasons import chinese

# Time limit of the discovery, seconds.
# A backup can wait for a busy host; one without nginx's files looks whole and is not.
LOOK_SECONDS = 60.0
MAX_TEXT_BYTES = 1 << 20
MAX_RENEWALS = 5000


@dataclass(frozen=True)
class BackupPlan:
    """``wanted`` paths; ``excluded`` ones; ``pairs`` of certificate and key paths (certbot's lineages come with the
    tree); nginx's configuration arguments; versions by program."""

    wanted: tuple[Source, ...]
    excluded: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    nginx: NginxUse | None
    letsencrypt_dir: str
    versions: dict[str, str]


def make_plan(settings: Settings, settings_file: Path | None) -> BackupPlan:
    """Inspect processes and configurations of this host; read no key. Raises OpsError if that took too long."""
    # nginx -V that is slow ends the look instead of a backup of the wrong file.
    around = look_around(settings, time.monotonic() + LOOK_SECONDS, nginx_seconds=2 * LOOK_SECONDS)
    for section in (around.processes, around.config):
        if isinstance(section, NotSeen) and section.is_unfinished:
            raise OpsError(
                Text(
                    en=f"what belongs into a backup was not found within {LOOK_SECONDS:g} s: {section.reason}",
                    zh=f"{LOOK_SECONDS:g} 秒内未能查明备份应包含的内容：{chinese(section.reason)}",
                )
            )
    certbot = os.path.abspath(settings.tls.letsencrypt_dir)  # noqa: PTH100  links are to be kept
    texts = tuple(_certbot_texts(Path(certbot)))
    config = around.config if isinstance(around.config, NginxConfig) else None
    backups = os.path.abspath(settings.backup.dir)  # noqa: PTH100
    locks = [f"{place}/{LOCK_NAME}" for place in dict.fromkeys((certbot, os.path.realpath(certbot)))]
    return BackupPlan(
        wanted=tuple(dict.fromkeys(_wanted(settings, settings_file, around, config, certbot, texts))),
        excluded=tuple(dict.fromkeys((backups, os.path.realpath(backups), *locks, *_signing_key(settings)))),
        pairs=tuple(dict.fromkeys(host_files.nginx_key_pairs(config))) if config else (),
        nginx=NginxUse(
            binary=config.binary or settings.nginx.binary, config_file=config.file, prefix=config.prefix
        )
        if config
        else None,
        letsencrypt_dir=certbot,
        versions=_versions(around, texts),
    )


def _signing_key(settings: Settings) -> Iterator[str]:
    """The private key that signs: whoever gets hold of an archive must not be able to sign another."""
    if key := settings.backup.signing_key:
        yield os.path.abspath(key)  # noqa: PTH100


def _wanted(
    settings: Settings,
    settings_file: Path | None,
    around: Surroundings,
    config: NginxConfig | None,
    certbot: str,
    texts: tuple[str, ...],
) -> Iterator[Source]:
    if config is not None:
        own = compiled_path(around.build, "conf-path")
        yield from host_files.nginx_wanted(config, os.path.dirname(own) if own else None)  # noqa: PTH120
    elif settings.nginx.config_file:
        yield Source("nginx", settings.nginx.config_file, named=True)
    for path in (settings.tls.certificate, settings.tls.private_key):
        if path:
            yield Source("certificate", path.replace("<domain>", around.target.domain), named=True)
    yield from host_files.certbot_wanted(certbot, texts, str(Path.home()))
    yield from host_files.acme_wanted(
        scheduled_clients(schedule(settings.schedule), has_systemd=Path("/run/systemd/system").is_dir())
    )
    yield from _gunicorn_wanted(settings, around)
    for place in settings.schedule.cron:
        yield Source("cron", place)
    for file in settings.logrotate.config_files:
        is_chosen = settings.logrotate.config_files != LogrotateSettings().config_files
        yield Source("logrotate", file, named=is_chosen)
    # Beside gte-ops.toml: headers, signers, authorities; beside the environment: API keys.
    for directory in ("/etc/gte-ops", "/etc/gte-api"):
        yield Source("gte-ops", directory)
    if settings_file is not None:
        yield Source("gte-ops", os.path.abspath(settings_file), named=True)  # noqa: PTH100
    for pattern in settings.backup.include:
        yield from _included(pattern)


def _gunicorn_wanted(settings: Settings, around: Surroundings) -> Iterator[Source]:
    units = list(host_files.unit_wanted(settings.gunicorn.unit, settings.schedule.systemd))
    own_units = [
        path
        for unit in units[: 2 * len(settings.schedule.systemd)]
        for path in (unit.path, *sorted(glob.glob(f"{glob.escape(unit.path)}/*.conf")))  # noqa: PTH207
    ]
    unit_texts = [_text(Path(path)) for path in own_units]
    file = around.target.gunicorn_config_file
    if file and file.startswith("/"):
        configured = gunicorn_hints(settings, None, None).config_files
        named_by_root = file in configured or any(host_files.unit_names(text, file) for text in unit_texts)
        yield Source(
            "gunicorn",
            file,
            named=settings.gunicorn.config_file is not None,
            only_file=True,
            namer=None if named_by_root else around.target.gunicorn_log_namer,
        )
    yield from host_files.start_command_wanted(settings.gunicorn.start_command)
    if around.target.app_dir.startswith("/"):
        yield Source("gunicorn", f"{around.target.app_dir}/start-prod.sh")
    yield from units
    for text in unit_texts:
        yield from host_files.environment_files(text)


def _included(pattern: str) -> Iterator[Source]:
    path = os.path.abspath(os.path.expanduser(pattern))  # noqa: PTH100, PTH111
    matches = sorted(glob.glob(path)) if glob.has_magic(path) else []  # noqa: PTH207
    # A pattern that matches nothing is reported like a missing path.
    for match in matches or [path]:
        yield Source("include", match, named=True)


def _certbot_texts(directory: Path) -> Iterator[str]:
    yield _text(directory / "cli.ini")
    yield _text(Path.home() / ".config" / "letsencrypt" / "cli.ini")
    try:
        renewals = sorted((directory / "renewal").glob("*.conf"))
    except OSError:
        return
    for path in renewals[:MAX_RENEWALS]:
        yield _text(path)


def _text(path: Path) -> str:
    """A text file's content; empty if it does not exist, which is reported when it is captured."""
    try:
        return read_regular_file(str(path), MAX_TEXT_BYTES).content.decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


# --- versions ---


def _versions(around: Surroundings, certbot_texts: Iterable[str]) -> dict[str, str]:
    """Versions by program, as far as known without running it: starting certbot alone takes half a second."""
    versions = {
        "gte-ops": __version__,
        "python": platform.python_version(),
        "nginx": around.build.get("version", ""),
        "gunicorn": installed("gunicorn", libraries(around.target.python)),
        "certbot": certbot_version(),
    }
    if not versions["certbot"]:
        # Each renewal configuration names the certbot version that wrote it.
        versions_in_texts = (
            value for text in certbot_texts for key, value in host_files.ini_values(text) if key == "version"
        )
        versions["certbot"] = max(versions_in_texts, default="")
    return {name: version for name, version in versions.items() if version}
