"""Copies to other hosts by rclone, restic or ssh. Each copy is read back and compared.

Their passwords and keys are the operator's: environment (RESTIC_PASSWORD_FILE, RCLONE_CONFIG), ~/.ssh, an agent.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ops.archive.checksum import hash_stream
from ops.archive.name import companions
from ops.errors import OpsError
from ops.files.programs import refused_program, trusted_path, trusted_program
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import last_line, safe_line

# A gigabyte over a slow line takes long; a tool that runs for a day hangs.
MAX_SECONDS = 24 * 3600.0
_DIGEST = re.compile(r"\b([0-9a-f]{64})\b")


class CopyError(OpsError):
    """The backup was made, but could not be copied."""

    exit_code = 2


@dataclass(frozen=True)
class CopyDestination:
    """``tool`` is rclone, restic or ssh; ``place``: its argument; ``port``: ssh's, if given."""

    tool: str
    place: str
    host: str = ""
    port: int | None = None

    def __str__(self) -> str:
        """The destination, sanitised for display."""
        return safe_line(f"{self.tool}:{self.host + ':' if self.host else ''}{self.place}", 300)


def parse_destination(text: str) -> CopyDestination:
    """``rclone:REMOTE:PATH``, ``restic:REPOSITORY``, ``ssh:[USER@]HOST:DIR`` or ``ssh://[USER@]HOST[:PORT]/DIR``.

    Raises OpsError for anything else."""
    tool, colon, place = text.partition(":")
    forms = "rclone:REMOTE:PATH, restic:REPOSITORY, ssh:HOST:DIR, ssh://USER@HOST:PORT/DIR"
    hint = "write rclone:REMOTE:PATH, restic:REPOSITORY, ssh:HOST:DIR or ssh://USER@HOST:PORT/DIR"
    if not (colon and place and tool in ("rclone", "restic", "ssh")):
        raise OpsError(
            Text(
                en=f"{safe_line(text, 200)!r} is no destination; {hint}",
                zh=f"{safe_line(text, 200)!r} 不是有效的目标；写法：{forms}",
            )
        )
    # A leading minus would be taken for an option.
    if tool != "ssh":
        if place.startswith("-"):
            raise OpsError(
                Text(
                    en=f"{safe_line(text, 200)!r} is no destination; {hint}",
                    zh=f"{safe_line(text, 200)!r} 不是有效的目标；写法：{forms}",
                )
            )
        return CopyDestination(tool, place)
    port = None
    if place.startswith("//"):
        try:
            parts = urlsplit(text)
            host, place, port = (
                parts.netloc.rpartition(":")[0] if parts.port else parts.netloc,
                parts.path,
                parts.port,
            )
        except ValueError:
            host = ""
        place = unquote(place)
    else:
        host, _, place = place.partition(":")
    if (
        not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@:\[\]-]*", host)
        or not place
        or "\0" in place
        or "\n" in place
    ):
        raise OpsError(
            Text(
                en=f"{safe_line(text, 200)!r} is no destination; {hint}",
                zh=f"{safe_line(text, 200)!r} 不是有效的目标；写法：{forms}",
            )
        )
    return CopyDestination(tool, place, host, port)


def check_installed(destination: CopyDestination) -> None:
    """Raises OpsError if the tool is missing or must not be run, before a backup is made."""
    _program(destination)


def _program(destination: CopyDestination) -> str:
    """The tool's path. Raises OpsError if it is missing, or users other than root and the caller may change it."""
    tool = destination.tool
    program = trusted_program(tool)
    if program is None:
        package = "openssh-client" if tool == "ssh" else tool
        why = refused_program(tool) or f"{tool} is not installed; apt-get install {package}"
        raise OpsError(
            Text(en=f"{destination}: {safe_line(why)}", zh=f"{destination}：{chinese(safe_line(why))}")
        )
    return program


def _environment() -> dict[str, str]:
    """The caller's environment: the tools find each other on $PATH (restic starts rclone and ssh)."""
    return {**os.environ, "PATH": trusted_path(os.environ.get("PATH", os.defpath))}


def copy(archive: Path, digest: str, destination: CopyDestination) -> None:
    """Copy the archive with its checksum and signature, read the copy back and compare it with ``digest``.

    Raises CopyError."""
    check_installed(destination)
    {"rclone": _rclone, "restic": _restic, "ssh": _ssh}[destination.tool](archive, digest, destination)


def _beside(archive: Path) -> list[Path]:
    return [file for file in companions(archive) if file.exists()]


def _rclone(archive: Path, digest: str, destination: CopyDestination) -> None:
    for file in (archive, *_beside(archive)):
        _run(
            destination,
            [_program(destination), "copyto", "--", str(file), _joined(destination.place, file.name)],
        )
    there = _joined(destination.place, archive.name)
    # --download: many stores have no SHA-256 of their own, and the stored bytes are what counts.
    output = _run(destination, [_program(destination), "hashsum", "sha256", "--download", "--", there])
    _compare(output, digest, destination)


def _joined(place: str, name: str) -> str:
    return place + name if place.endswith((":", "/")) else f"{place}/{name}"


def _restic(archive: Path, digest: str, destination: CopyDestination) -> None:
    files = [str(file.absolute()) for file in (archive, *_beside(archive))]
    command = [_program(destination), "--repo", destination.place, "--json"]
    output = _run(destination, [*command, "backup", "--tag", "gte-ops", "--", *files])
    snapshot = next(
        (
            message.get("snapshot_id")
            for message in map(_message, output.splitlines())
            if message.get("snapshot_id")
        ),
        None,
    )
    if not isinstance(snapshot, str):
        raise CopyError(
            Text(
                en=f"{destination}: restic did not say which snapshot it made; look at it: restic snapshots",
                zh=f"{destination}：restic 没有说明生成了哪个快照；请用 restic snapshots 查看",
            )
        )
    dump = [_program(destination), "--repo", destination.place, "dump", snapshot, files[0]]
    try:
        with subprocess.Popen(
            dump,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=_environment(),
        ) as process:
            assert process.stdout is not None  # noqa: S101  piped
            copy_digest = hash_stream(process.stdout)  # type: ignore[arg-type]
            trouble = process.stderr.read() if process.stderr else b""
    except OSError as error:
        raise CopyError(
            Text(
                en=f"{destination}: restic does not run: {error.strerror}",
                zh=f"{destination}：restic 无法运行：{chinese(error.strerror)}",
            )
        ) from None
    if process.returncode != 0:
        raise CopyError(
            Text(
                en=f"{destination}: the copy cannot be read back: {last_line(trouble)}",
                zh=f"{destination}：无法读回副本：{last_line(trouble)}",
            )
        )
    _compare(copy_digest, digest, destination)


def _message(line: str) -> dict[str, object]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _ssh(archive: Path, digest: str, destination: CopyDestination) -> None:
    ssh = [
        _program(destination),
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=20",
        "-o",
        "ServerAliveInterval=30",
    ]
    if destination.port:
        ssh += ["-p", str(destination.port)]
    ssh += ["--", destination.host]
    directory = shlex.quote(
        destination.place if not destination.place.startswith("-") else f"./{destination.place}"
    )
    for file in (*_beside(archive), archive):
        place = f"{directory}/{shlex.quote(file.name)}"
        with file.open("rb") as content:
            _run(
                destination,
                [*ssh, f"umask 077; mkdir -p {directory} && cat >{place}.partial && sync {place}.partial"],
                stdin=content,
            )
        if file == archive:
            _compare(_run(destination, [*ssh, f"sha256sum <{place}.partial"]), digest, destination)
        _run(destination, [*ssh, f"mv -f {place}.partial {place}"])


def _compare(output: str, digest: str, destination: CopyDestination) -> None:
    match = _DIGEST.search(output)
    if match is None or match[1] != digest:
        raise CopyError(
            Text(
                en=f"{destination}: the copy is not what was sent; its SHA-256 differs. Copy it again",
                zh=f"{destination}：副本与原文件的 SHA-256 不符；请重新复制",
            )
        )


def _run(destination: CopyDestination, command: list[str], stdin: object = subprocess.DEVNULL) -> str:
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            stdin=stdin,
            env=_environment(),
            timeout=MAX_SECONDS,
            check=False,  # type: ignore[call-overload]
        )
    except OSError as error:
        raise CopyError(
            Text(
                en=f"{destination}: {destination.tool} does not run: {error.strerror}",
                zh=f"{destination}：{destination.tool} 无法运行：{chinese(error.strerror)}",
            )
        ) from None
    except subprocess.TimeoutExpired:
        raise CopyError(
            Text(
                en=f"{destination}: {destination.tool} was not done after a day",
                zh=f"{destination}：{destination.tool} 一天后仍未完成",
            )
        ) from None
    if result.returncode != 0:
        raise CopyError(
            Text(
                en=f"{destination}: {destination.tool} failed ({result.returncode}): {last_line(result.stderr)}",
                zh=f"{destination}：{destination.tool} 失败（{result.returncode}）：{last_line(result.stderr)}",
            )
        )
    return str(result.stdout.decode(errors="replace"))
