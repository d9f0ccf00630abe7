"""The restore drill: restore a backup below a scratch directory, and run an nginx and a certbot on it.

It does not touch the host: the scratch directory belongs to this run, the ports are free ones on loopback, and
everything is removed however the run ends. The archive is untrusted: both programs are this host's own, run as a user
who owns nothing else, in a network namespace of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ops.archive.encryption import Identity
from ops.archive.manifest import Manifest, NginxUse
from ops.archive.reading import open_archive
from ops.backups.completeness import lacking
from ops.backups.nginx_dry_run import MAX_FILE_BYTES, HostNginx, host_nginx, unpack, untested
from ops.backups.nginx_probe import ProbedSite, emergency, leaf_problem, tls_sites
from ops.backups.staging import (
    ScratchError,
    SpareNginx,
    UntestedError,
    below,
    confine_links,
    make_ready,
    not_started,
    try_configuration,
)
from ops.backups.staging_directory import scratch_directory
from ops.collect.net.connection import Deadline
from ops.collect.net.http_probe import exchange
from ops.collect.services.nginx import parse_config
from ops.facts.nginx import NginxConfig
from ops.facts.status import Status
from ops.files.bounded_read import read_regular_file
from ops.files.child import end_with_us, stop
from ops.files.entry_kind import EntryKind
from ops.files.programs import refused_program, trusted_program
from ops.files.signals import undisturbed
from ops.files.unprivileged import drop_privileges, give, unprivileged_account
from ops.text.language import Text, verbatim
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

TEST_SECONDS = 30.0
# Everything that a host missed while it was off runs at once, and a drill that fails for want of time alarms somebody.
START_SECONDS = 30.0
SITE_SECONDS = 20.0
STOP_SECONDS = 5.0
CERTBOT_SECONDS = 120.0
# Ports are chosen before nginx binds them; another process may be faster.
STARTS = 3
MAX_LOG_BYTES = 1 << 20
CLONE_NEWNET = 0x40000000  # linux/sched.h


@dataclass(frozen=True)
class DrillCheck:
    """One check of a drill. ``name``: archive, complete, nginx_test, nginx_start, served or certbot."""

    name: str
    result: Status
    detail: Text


@dataclass
class Drill:
    """The results for ``archive``."""

    archive: Path
    checks: list[DrillCheck] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def result(self) -> Status:
        """``fail`` if anything failed, ``unknown`` if something could not be tried."""
        results = {check.result for check in self.checks}
        return (
            Status.FAIL
            if Status.FAIL in results
            else Status.UNKNOWN
            if Status.UNKNOWN in results or not results
            else Status.OK
        )

    def add(self, name: str, result: Status, en: str, zh: str) -> None:
        """Add one check."""
        self.checks.append(_check(name, result, Text(en=en, zh=zh)))


def _check(name: str, result: Status, words: Text) -> DrillCheck:
    """One check; ``words`` may quote a program or an archive."""
    return DrillCheck(name, result, Text(en=safe_line(words.en), zh=safe_line(words.zh)))


def rehearse(archive: Path, identities: Sequence[Identity], program: str) -> Drill:
    """Restore ``archive`` below a scratch directory, serve it by this host's nginx, and remove everything again.

    ``program``: that nginx, by name or path. Raises ArchiveError, OSError, and whatever interrupts it; nothing is left
    behind."""
    started = time.monotonic()
    drill = Drill(archive)
    with scratch_directory() as scratch:
        with open_archive(archive, identities) as reader:
            manifest = reader.manifest
        _serve(drill, manifest, identities, scratch, program)
        _complete(drill, manifest)
        if drill.checks and drill.checks[0].name == "archive":
            _certbot(drill, manifest, identities, scratch)
    drill.seconds = time.monotonic() - started
    return drill


def _complete(drill: Drill, manifest: Manifest) -> None:
    """Whether every file that the host's configuration named is in the archive."""
    paths = lacking(manifest)
    if not paths:
        count = len(manifest.asked)
        drill.add(
            "complete",
            Status.OK,
            f"all {count} paths that nginx, gunicorn, units and renewals name are in it",
            f"nginx、gunicorn、unit 和续期配置所指的 {count} 个路径都在其中",
        )
        return
    examples = "; ".join(f"{path}: {reason}" for path, reason in list(paths.items())[:5])
    chinese_examples = "；".join(f"{path}：{chinese(reason)}" for path, reason in list(paths.items())[:5])
    drill.add(
        "complete",
        Status.FAIL,
        f"{len(paths)} paths that the host needs are not in it: {examples}",
        f"其中缺少主机所需的 {len(paths)} 个路径：{chinese_examples}",
    )


# --- nginx ------------------------------------------------------------------------------------------------------------


def _serve(
    drill: Drill, manifest: Manifest, identities: Sequence[Identity], scratch: Path, program: str
) -> None:
    use = manifest.nginx
    nginx = host_nginx(program) if use else None
    for attempt in range(STARTS):
        root, run = scratch / "root", scratch / f"run{attempt}"
        shutil.rmtree(root, ignore_errors=True)
        unpack(drill.archive, identities, root, MAX_FILE_BYTES)
        if not attempt:
            count = sum(entry.kind == EntryKind.FILE for entry in manifest.entries)
            drill.add(
                "archive",
                Status.OK,
                f"{count} files restored below a scratch root",
                f"已在临时目录恢复 {count} 个文件",
            )
        if use is None or nginx is None:
            drill.add(
                "nginx_test", Status.UNKNOWN, "there is no nginx configuration in it", "备份中没有 nginx 配置"
            )
            return
        if isinstance(nginx, Text):
            drill.add("nginx_test", Status.UNKNOWN, nginx.en, nginx.zh)
            return
        spare = _ready(drill, use, nginx, root, run, first=not attempt)
        if spare is None or _started(drill, spare, scratch, last=attempt == STARTS - 1):
            return


def _ready(
    drill: Drill, use: NginxUse, nginx: HostNginx, root: Path, run: Path, *, first: bool
) -> SpareNginx | None:
    try:
        spare = make_ready(
            root, run, use.config_file, prefix=use.prefix, binary=nginx.binary, build=nginx.build
        )
    except ScratchError as error:
        drill.add("nginx_test", Status.FAIL, error.words.en, error.words.to("zh"))
        return None
    except UntestedError as error:
        words = untested(error)
        drill.add("nginx_test", Status.UNKNOWN, words.en, words.zh)
        return None
    tested = try_configuration(spare, TEST_SECONDS)
    if tested.passed and not first:
        return spare
    result: Status = Status.OK if tested.passed else Status.FAIL if tested.passed is False else Status.UNKNOWN
    detail = "nginx -t" if tested.passed else f"nginx -t: {emergency(tested.reason) or tested.reason}"
    drill.add("nginx_test", result, detail, detail)
    return spare if tested.passed else None


def _started(drill: Drill, spare: SpareNginx, scratch: Path, *, last: bool) -> bool:
    """Start the spare nginx and request everything from it; False if another process took a port first."""
    config = parse_config(str(spare.config_file), str(spare.run), spare.command[0], None)
    sites = tuple(tls_sites(config)) if isinstance(config, NginxConfig) else ()
    # Not in `run`, which belongs to nginx: this process writes to nothing there.
    output = scratch / "output.log"
    try:
        with output.open("wb") as log:
            process = subprocess.Popen(
                spare.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Killed, it would leave nginx's workers running: SIGTERM ends them.
                **spare.options(end_with_us(signal.SIGTERM)),
            )
    except (OSError, subprocess.SubprocessError) as error:
        words = not_started(spare, error)
        drill.add("nginx_start", Status.UNKNOWN, words, words)
        return True
    try:
        if not _listens(process, spare):
            reason = _last_error(spare, output)
            if "bind()" in reason and not last:
                return False
            drill.add(
                "nginx_start", Status.FAIL, f"nginx did not start: {reason}", f"nginx 未能启动：{reason}"
            )
            return True
        drill.add(
            "nginx_start",
            Status.OK,
            f"nginx serves on {len(spare.addresses)} spare addresses",
            f"nginx 已在 {len(spare.addresses)} 个备用地址上运行",
        )
        if not sites:
            drill.add(
                "served",
                Status.UNKNOWN,
                "no server block has a certificate and a name to ask for",
                "没有可按域名检查证书的 server 块",
            )

        def ask() -> None:
            for site in sites:
                _ask(drill, spare, site)

        if spare.account is None:
            ask()
        else:
            in_network_of(process.pid, ask)
    finally:
        with undisturbed():
            stop(process, STOP_SECONDS)
    return True


def _listens(process: subprocess.Popen[bytes], spare: SpareNginx) -> bool:
    """Whether the master has written its pidfile, which it does once it has bound all its sockets."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if (spare.run / "nginx.pid").exists():
            return True
        time.sleep(0.02)
    return False


def _last_error(spare: SpareNginx, output: Path) -> str:
    for log in (output, spare.run / "error.log"):
        with contextlib.suppress(OSError):
            content = read_regular_file(str(log), MAX_LOG_BYTES).content
            lines = spare.in_host_words(content.decode(errors="replace")).splitlines()
            errors = [emergency(line) for line in lines if "[emerg]" in line]
            if errors:
                return errors[0]
    return "it said nothing"


def _ask(drill: Drill, spare: SpareNginx, site: ProbedSite) -> None:
    deadline = time.monotonic() + SITE_SECONDS
    problem = leaf_problem(site, deadline, is_settled=True)
    if problem is None:
        answer = exchange(
            "GET", f"https://{site.name}/", site.address, Deadline(deadline), server_name=site.name
        )
        if answer.status is None:
            problem = f"{site.name}: no HTTP answer: {answer.detail}"
    if problem is not None:
        words = spare.in_host_words(problem)
        drill.add("served", Status.FAIL, words, words)
        return
    file = spare.in_host_words(site.certificates[0])
    drill.add(
        "served",
        Status.OK,
        f"{site.name}: HTTPS answers with the leaf of {file}",
        f"{site.name}：HTTPS 应答，证书即 {file} 中的证书",
    )


def in_network_of(pid: int, work: Callable[[], None]) -> None:
    """Run ``work`` in the network namespace of process ``pid``, whose loopback it needs. Raises OSError, and the
    exceptions of ``work``."""
    libc = ctypes.CDLL(None, use_errno=True)
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
                # setns(2) affects only the calling thread, which ends with the work.
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), f"/proc/{pid}/ns/net")
            work()
        except BaseException as error:  # noqa: BLE001  handed over to the caller
            failed.append(error)

    thread = threading.Thread(target=enter, name="drill", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


# --- certbot ----------------------------------------------------------------------------------------------------------


def relocate_renewals(root: Path, letsencrypt_dir: str) -> list[str]:
    """Rewrite the absolute paths in renewal/*.conf to the staged tree below ``root``; return the lineages' names.

    certbot keeps them as ``key = value`` (configobj); every value that is a path in its directory is rewritten."""
    names = []
    staged = below(root, letsencrypt_dir)
    for conf in sorted((staged / "renewal").glob("*.conf")):
        names.append(conf.stem)
        lines = []
        for line in conf.read_text(errors="surrogateescape").splitlines():
            key, equals, value = line.partition("=")
            value = value.strip()
            inside = value == letsencrypt_dir or value.startswith(f"{letsencrypt_dir}/")
            lines.append(f"{key}= {below(root, value)}" if equals and inside else line)
        mode = conf.stat().st_mode & 0o777
        conf.unlink()
        conf.write_text("\n".join(lines) + "\n", errors="surrogateescape")
        conf.chmod(mode)
    return names


def _certbot(drill: Drill, manifest: Manifest, identities: Sequence[Identity], scratch: Path) -> None:
    """Have certbot list the lineages of the restored tree."""
    if not any(entry.path == manifest.letsencrypt_dir.strip("/") for entry in manifest.entries):
        return
    # A separate tree, because the other one belonged to nginx.
    root = scratch / "certbot"
    unpack(drill.archive, identities, root, MAX_FILE_BYTES)
    confine_links(root)
    names = relocate_renewals(root, manifest.letsencrypt_dir)
    if not names:
        return
    program = trusted_program("certbot")
    if program is not None:
        drill.checks.append(
            _certbot_check(program, names, root, below(root, manifest.letsencrypt_dir), scratch)
        )
    elif (refusal := refused_program("certbot")) is not None:
        drill.checks.append(_check("certbot", Status.UNKNOWN, verbatim(refusal)))
    else:
        words = Text(
            en="certbot is not installed here: the lineages were not shown to it",
            zh="本机未安装 certbot：未让其检查证书",
        )
        drill.checks.append(_check("certbot", Status.OK, words))


def _certbot_check(
    program: str, names: Sequence[str], root: Path, config_dir: Path, scratch: Path
) -> DrillCheck:
    """Whether ``certbot certificates``, run as a user that owns nothing else, lists the lineages ``names``."""
    work = scratch / "certbot-work"
    work.mkdir(mode=0o700)
    account = unprivileged_account()
    for tree in (root, work):
        give(tree, account)
    places = {"--config-dir": config_dir, "--work-dir": work / "work", "--logs-dir": work / "logs"}
    command = [program, "certificates", *(str(word) for pair in places.items() for word in pair)]
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CERTBOT_SECONDS,
            check=False,
            cwd=work,
            env={"PATH": os.defpath, "HOME": str(work), "LC_ALL": "C.UTF-8"},
            preexec_fn=drop_privileges(account, network=False),
        )
    except subprocess.TimeoutExpired:
        words = Text(
            en=f"certbot certificates did not finish within {CERTBOT_SECONDS:g} s",
            zh=f"certbot certificates 未在 {CERTBOT_SECONDS:g} 秒内结束",
        )
        return _check("certbot", Status.UNKNOWN, words)
    except (OSError, subprocess.SubprocessError):
        words = Text(
            en="certbot cannot be run here without privileges and network",
            zh="本机无法在无特权、无网络的条件下运行 certbot",
        )
        return _check("certbot", Status.UNKNOWN, words)
    return _judged_listing(names, ended.returncode, ended.stdout, ended.stderr, root)


def _judged_listing(names: Sequence[str], status: int, output: str, errors: str, root: Path) -> DrillCheck:
    """The check by the output of ``certbot certificates``, which lists the lineages that it recognises."""
    lineages = set(re.findall(r"^\s*Certificate Name: (\S+)", output, re.MULTILINE))
    missing = [name for name in names if name not in lineages]
    if status == 0 and not missing:
        examples = ", ".join(names[:5])
        words = Text(
            en=f"certbot takes {len(names)} lineages as its own: {examples}",
            zh=f"certbot 认可 {len(names)} 张证书：{examples}",
        )
        return _check("certbot", Status.OK, words)
    lines = [line.strip() for line in (output + errors).replace(str(root), "").strip().splitlines()]
    denied = next((line for line in lines if "PermissionError" in line), None)
    if denied is not None:
        # For example this host's own cli.ini, which only root may read: that says nothing about the backup.
        words = Text(en=f"certbot did not run: {denied}", zh=f"certbot 未能运行：{denied}")
        return _check("certbot", Status.UNKNOWN, words)
    reason = next((line for line in lines if "rror" in line or "invalid" in line), None)
    examples = ", ".join(missing)
    words = Text(
        en=f"certbot does not take {examples or 'the tree'}: {reason or 'it does not list it'}",
        zh=f"certbot 不接受 {examples or '该目录'}：{reason or '列表中没有'}",
    )
    return _check("certbot", Status.FAIL, words)
