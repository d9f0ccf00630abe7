"""Installing rendered files: validate them first, keep the old ones beside them, and put those back if nginx refuses
the whole.

Each file is written under another name and renamed, so that nobody reads half of one.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import pwd
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ops.collect.host.schedule import parse_cron_line
from ops.deployment.render import (
    ACCOUNTS_FILE,
    CHECKS_ACCOUNT,
    DIRECTORIES_FILE,
    METRICS_FILES,
    DeploymentKind,
    RenderedFile,
    account_command,
    accounts_of,
)
from ops.errors import OpsError
from ops.files.atomic_file import taking_its_name
from ops.files.bounded_read import open_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.files.programs import refused_program, trusted_program
from ops.text.language import Text
from ops.text.reasons import NOTHING_CHANGED, chinese, system_error
from ops.text.sanitize import safe_line

TOOL_SECONDS = 60.0
# The directory that Debian's node_exporter reads (prometheus-node-exporter, --collector.textfile.directory).
TEXTFILES = Path("/var/lib/prometheus/node-exporter")
# The suffix of old copies, so that no program loads them: logrotate, run-parts and cron pass over names with a tilde,
# and an include of *.conf does not match.
KEPT = "~"
# The messages of systemd-analyze for another tree's file, whose programs are missing on this machine.
_NOT_HERE = re.compile(r"is not executable|[Nn]o such file or directory")
_ACCOUNTS = re.compile(r"(?m)^(\s+(?:su|create 0\d{3})) \S+ \S+$")
_CRON_WHEN = re.compile(r"(?:[\d*,/-]+ ){4}[\d*,/A-Za-z-]+|@\w+")


class RefusedError(OpsError):
    """A file did not pass its test, and nothing was changed."""

    exit_code = 2


class FileChange(StrEnum):
    """What an installation did to one file."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Installed:
    """One file after the installation. ``kept``: the path of the copy of its old content."""

    path: str
    state: FileChange
    kept: str | None = None


def place(file: RenderedFile, root: Path) -> Path:
    """The target path of a file: below ``root``, with a link there followed."""
    path = root / file.path.lstrip("/")
    return path.resolve() if path.is_symlink() and root == Path("/") else path


def changes(files: Sequence[RenderedFile], root: Path) -> Iterator[str]:
    """A unified diff from the present files to the new ones."""
    for file in files:
        path = place(file, root)
        old = present_text(path)
        before = (old or "").splitlines(keepends=True)
        after = file.text.splitlines(keepends=True)
        yield from difflib.unified_diff(
            before, after, str(path) if old is not None else "/dev/null", str(path)
        )


def install(
    kind: DeploymentKind, files: Sequence[RenderedFile], root: Path, nginx_test: Sequence[str]
) -> list[Installed]:
    """Install ``files`` below ``root``, and return the result for each. On a host with systemd, create the accounts and
    directories that units need.

    ``nginx_test``: the command that tests nginx's configuration on this host, empty if it must not be run. Raises
    RefusedError, after restoring the old state, if a file does not pass its test, or users other than root and the
    caller control its path; OpsError if it cannot be written."""
    on_host = root == Path("/")
    for file in files:
        refuse_shared(file, root)
    if kind == "nginx" and on_host and not nginx_test:
        raise RefusedError(
            Text(
                en="nginx -t is not run as root on what others may change (gte-ops doctor says what: NGX022), and"
                " without "
                "that test nothing is installed; nothing was changed",
                zh="他人可改动的内容不会以 root 执行 nginx -t（gte-ops doctor 会指出：NGX022），未经该测试则不安装；"
                "未作任何改动",
            )
        )
    validate(kind, files, on_host=on_host)
    results: list[Installed] = []
    try:
        for file in files:
            results.append(_put(file, place(file, root)))
        if kind == "nginx" and on_host and any(item.state != FileChange.UNCHANGED for item in results):
            accepted_by_nginx(nginx_test)
        if kind == "systemd" and on_host:
            _make_accounts()
    except OSError as error:
        _put_back(results)
        raise OpsError(system_error(error.filename or root, error, NOTHING_CHANGED)) from None
    except BaseException:
        _put_back(results)
        raise
    return results


def refuse_shared(file: RenderedFile, root: Path) -> None:
    """Raises RefusedError if other users control a file's path, or a link leads out of the tree."""
    path = place(file, root)
    why = reason_not_to_replace(root / file.path.lstrip("/")) or reason_not_to_replace(path)
    if why is None and not path.parent.resolve().is_relative_to(root.resolve()):
        why = f"a link leads out of {root}"
    if why is not None:
        raise RefusedError(
            Text(
                en=f"{path}: {safe_line(why)}; nothing was changed: give the directory to root alone, or write there"
                " what "
                "the command prints without --install",
                zh=f"{path}：{chinese(safe_line(why))}；未作任何改动：请让该目录只归 root，或把不带 --install"
                " 时的输出自行写入",
            )
        )


def reason_not_to_replace(path: Path, *, keeps_owner: bool = False) -> str | None:
    """Why no file is installed at this path: users other than root and the caller could change or replace it, or add
    files beside it. None if they could not. ``keeps_owner``: the file there may be another user's (a crontab), and
    stays so: a new one takes its name, in a directory where that user cannot put anything else in its place."""
    above = path.parent
    while not os.path.lexists(above):
        above = above.parent
    reason = reason_not_to_trust(str(above), listed=True)
    if reason or not os.path.lexists(path) or (keeps_owner and not path.is_symlink()):
        return reason
    return reason_not_to_trust(str(path))


def validate(kind: DeploymentKind, files: Sequence[RenderedFile], *, on_host: bool) -> None:
    """Raises RefusedError for a file that its program refuses; nginx tests its file once it is installed.

    If that program is not installed, there is no test. ``on_host`` False: the files are for another tree, and programs
    and users that they name may be missing here."""
    if kind == "cron":
        for file in files:
            _check_crontab(file)
    if kind == "systemd":
        _check_accounts(files)
    commands = {
        "systemd": ("systemd-analyze", "verify", "--man=no"),
        "logrotate": ("logrotate", "--debug", "--state", os.devnull),
        "prometheus": ("promtool", "check", "rules"),
    }
    command = commands.get(kind)
    if command is None or (program := _program(command[0])) is None:
        return
    with tempfile.TemporaryDirectory(prefix="gte-ops-render-") as folder:
        for file in files:
            if file.path.endswith((".scrape.yml", ".test.yml", ".alertmanager.yml", ".d/gte-ops.conf")):
                continue
            copy = Path(folder) / Path(file.path).name
            # Another tree's users do not exist on this machine.
            text = file.text if on_host else _ACCOUNTS.sub(r"\1 root root", file.text)
            copy.write_text(text, encoding="utf-8")
            copy.chmod(0o644)
        for copy in sorted(Path(folder).iterdir()):
            _ask(kind, [program, *command[1:], str(copy)], copy.name, on_host=on_host)


def _check_accounts(files: Sequence[RenderedFile]) -> None:
    """Create accounts and directories below a scratch root. Only root can; for others it is a dry run of the
    accounts."""
    texts = {file.path: file.text for file in files}
    make_accounts, make_directories = _program("systemd-sysusers"), _program("systemd-tmpfiles")
    if make_accounts is None:
        return
    with tempfile.TemporaryDirectory(prefix="gte-ops-render-") as folder:
        root = Path(folder, "root")
        (root / "etc").mkdir(parents=True)
        accounts, directories = Path(folder, "sysusers.conf"), Path(folder, "tmpfiles.conf")
        accounts.write_text(texts[ACCOUNTS_FILE], encoding="utf-8")
        directories.write_text(texts[DIRECTORIES_FILE], encoding="utf-8")
        dry = "--dry-run" if os.geteuid() else f"--root={root}"
        _run_for(ACCOUNTS_FILE, [make_accounts, dry, str(accounts)])
        if os.geteuid() == 0 and make_directories is not None:
            _run_for(DIRECTORIES_FILE, [make_directories, f"--root={root}", "--create", str(directories)])


def _make_accounts() -> None:
    """Both programs leave existing accounts and directories unchanged."""
    for name, arguments in (
        ("systemd-sysusers", [ACCOUNTS_FILE]),
        ("systemd-tmpfiles", ["--create", DIRECTORIES_FILE]),
    ):
        if (program := _program(name)) is not None:
            _run_for(arguments[-1], [program, *arguments])


def _program(name: str) -> str | None:
    """The path of a program; None if it is not installed. Raises RefusedError if users other than root and the caller
    may change it, because without its test nothing is installed."""
    program = trusted_program(name)
    if program is None and (refusal := refused_program(name)) is not None:
        raise RefusedError(
            Text(
                en=f"{safe_line(refusal)}; nothing was changed",
                zh=f"{chinese(safe_line(refusal))}；未作任何改动",
            )
        )
    return program


def _run_for(path: str, command: list[str]) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusedError(
            Text(
                en=f"{path}: {Path(command[0]).name} does not run: {safe_line(str(error))}; nothing was changed",
                zh=f"{path}：{Path(command[0]).name} 无法运行：{chinese(safe_line(str(error)))}；未作任何改动",
            )
        ) from None
    if ran.returncode:
        first_line = next(
            (line for line in ran.stderr.splitlines() if line.strip()), f"exit code {ran.returncode}"
        )
        raise RefusedError(
            Text(
                en=f"{path}: {Path(command[0]).name} refuses it: {safe_line(first_line)}; nothing was changed",
                zh=f"{path}：{Path(command[0]).name} 不接受它：{safe_line(first_line)}；未作任何改动",
            )
        )


def _ask(kind: DeploymentKind, command: list[str], name: str, *, on_host: bool) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusedError(
            Text(
                en=f"{name}: {Path(command[0]).name} could not test it: {safe_line(str(error))}; nothing was changed",
                zh=f"{name}：{Path(command[0]).name} 无法检查它：{chinese(safe_line(str(error)))}；未作任何改动",
            )
        ) from None
    lines = [line for line in (ran.stderr + ran.stdout).splitlines() if line.strip()]
    # systemd-analyze reports on other units too, logrotate on everything it would do.
    own = [line for line in lines if name in line] if kind == "systemd" else lines
    if kind == "logrotate":
        own = [line for line in lines if line.startswith("error:")]
    if kind == "prometheus":
        own = lines if ran.returncode else []
    if not on_host:
        own = [line for line in own if not _NOT_HERE.search(line)]
    if own:
        raise RefusedError(
            Text(
                en=f"{name}: {Path(command[0]).name} refuses it: {safe_line(own[0])}; nothing was changed",
                zh=f"{name}：{Path(command[0]).name} 不接受它：{safe_line(own[0])}；未作任何改动",
            )
        )


def _check_crontab(file: RenderedFile) -> None:
    """cron(8) ignores a file with a dot in its name, and the last line without its end."""
    name = Path(file.path).name
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not file.text.endswith("\n"):
        raise RefusedError(
            Text(
                en=f"{file.path}: cron would pass over it; nothing was changed",
                zh=f"{file.path}：cron 会忽略它；未作任何改动",
            )
        )
    for number, line in enumerate(file.text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#") or re.match(r"[A-Z_]+=", words):
            continue
        entry = parse_cron_line(line, file.path, number, users_own=False)
        if entry is None or not _CRON_WHEN.fullmatch(entry.when):
            raise RefusedError(
                Text(
                    en=f"{file.path}:{number}: no crontab entry: {safe_line(line)}; nothing was changed",
                    zh=f"{file.path}:{number}：不是有效的 crontab 条目：{safe_line(line)}；未作任何改动",
                )
            )


def _put(file: RenderedFile, path: Path) -> Installed:
    old = present_text(path)
    if old == file.text and path.stat().st_mode & 0o777 == file.mode:
        return Installed(str(path), FileChange.UNCHANGED)
    path.parent.mkdir(parents=True, exist_ok=True)
    copy = keep_copy(path) if old is not None and old != file.text else None
    with taking_its_name(path, path.with_name(f".{path.name}.{os.getpid()}{KEPT}")) as out:
        os.fchmod(out.fileno(), file.mode)
        out.write(file.text.encode())
    return Installed(
        str(path), FileChange.NEW if old is None else FileChange.CHANGED, str(copy) if copy else None
    )


def keep_copy(path: Path, *, hidden: bool = False) -> Path:
    """Make a dated copy beside the file, with owner, mode and times. ``hidden``: no include may match it, not even
    ``*``.

    Call `reason_not_to_replace` first. Raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    # An include of everything in sites-enabled would also load the copy, unless its name begins with a dot.
    dot = "." if hidden or path.parent.name == "sites-enabled" else ""
    copy_path = path.with_name(f"{dot}{path.name}.{stamp}{KEPT}")
    content, status = path.read_bytes(), path.stat()
    number = 1
    while True:
        try:
            # O_EXCL: nothing is written through a link that somebody placed under this name.
            copy = os.open(copy_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            break
        except FileExistsError:
            number += 1
            copy_path = path.with_name(f"{dot}{path.name}.{stamp}-{number}{KEPT}")
    with os.fdopen(copy, "wb") as file:
        file.write(content)
        with contextlib.suppress(PermissionError):
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
        for name in os.listxattr(path):
            with contextlib.suppress(OSError):
                os.setxattr(file.fileno(), name, os.getxattr(path, name))
        file.flush()
        os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    return copy_path


def _put_back(results: Sequence[Installed]) -> None:
    for item in reversed(results):
        with contextlib.suppress(OSError):
            if item.kept:
                Path(item.kept).replace(item.path)
            elif item.state == FileChange.NEW:
                Path(item.path).unlink()


def accepted_by_nginx(command: Sequence[str]) -> None:
    """Let nginx test its configuration. Raises RefusedError."""
    complaint = nginx_complaint(command)
    if complaint is not None:
        raise RefusedError(
            Text(
                en=f"nginx refuses its configuration with the new files: {complaint}; the old files are back",
                zh=f"nginx 不接受加入新文件后的配置：{chinese(complaint)}；已恢复原文件",
            )
        )


def nginx_complaint(command: Sequence[str]) -> str | None:
    """Why nginx, by its own test, would not load its configuration; None if it would, or if there is no nginx yet: it
    will read the files once it is installed."""
    program = _program(command[0])
    if program is None:
        return None
    try:
        ran = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return safe_line(f"nginx -t: {error}")
    if not ran.returncode:
        return None
    lines = ran.stderr.splitlines()
    return safe_line(next((line for line in lines if "[emerg]" in line), lines[0] if lines else "?"))


def present_text(path: Path) -> str | None:
    """The file's text, None if it does not exist. Raises OpsError if it is no text file."""
    try:
        with open_regular_file(str(path)) as file:
            return file.read().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise OpsError(
            Text(en=f"{path}: not UTF-8 text; move it away first", zh=f"{path}：不是 UTF-8 文本；请先移走它")
        ) from None
    except OSError as error:
        raise OpsError(system_error(path, error)) from None


def next_steps(
    kind: DeploymentKind, files: Sequence[RenderedFile], root: Path, *, changed: bool, reload_nginx: str
) -> list[str]:
    """The remaining manual steps, as commands. ``changed``: whether any file is new or changed."""
    if root != Path("/"):
        return [f"systemd-sysusers --root={root}"] if kind == "systemd" and changed else []
    accounts = accounts_of(files)
    steps = [" ".join(account_command(name)) for name in accounts if not _is_account(name)]
    if CHECKS_ACCOUNT in accounts:
        steps += _metrics_commands()
    return [*steps, *(_commands(kind, files, reload_nginx) if changed else [])]


def _commands(kind: DeploymentKind, files: Sequence[RenderedFile], reload_nginx: str) -> list[str]:
    if kind == "nginx":
        return [reload_nginx]
    if kind == "systemd":
        units = [Path(file.path).name for file in files]
        directories = [
            name for name in units if name.endswith(".timer") or f"{Path(name).stem}.timer" not in units
        ]
        services = [name for name in directories if not name.endswith(".conf")]
        return ["systemctl daemon-reload", f"systemctl enable --now {' '.join(services)}"]
    if kind == "prometheus":
        return ["promtool check config /etc/prometheus/prometheus.yml", "systemctl reload prometheus"]
    return []


def _is_account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _metrics_commands() -> Iterator[str]:
    """The directories of metrics files, and the links through which node_exporter finds them."""
    for file, owner in METRICS_FILES.items():
        metrics, link = Path(file), TEXTFILES / Path(file).name
        if not metrics.parent.is_dir():
            yield f"install -d -m 0755 -o {owner} -g {owner} {metrics.parent}"
        if TEXTFILES.is_dir() and not link.is_symlink():
            yield f"ln -sfn {metrics} {link}"
