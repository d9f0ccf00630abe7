"""Signatures of archives, made and checked by OpenSSH's ssh-keygen.

``ARCHIVE.sig`` is a detached signature of the archive's bytes as stored, encrypted or not, so that anybody with the
file and the signers can check it without this program:

    ssh-keygen -Y verify -f SIGNERS -I PRINCIPAL -n gte-ops-backup -s ARCHIVE.sig <ARCHIVE

Sources: ssh-keygen(1), -Y and ALLOWED SIGNERS; OpenSSH, PROTOCOL.sshsig.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import msgspec

from ops.archive.name import signature_path
from ops.backups.staging_directory import scratch_directory
from ops.errors import OpsError
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.files.programs import refused_program, trusted_program
from ops.files.unprivileged import NOBODY, UnprivilegedAccount, drop_privileges, give
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import last_line, safe_line

NAMESPACE = "gte-ops-backup"
# Somebody may have to touch a hardware key; and an archive of many gigabytes takes long to hash.
SIGN_SECONDS = 120.0
CHECK_SECONDS = 600.0
MAX_SIGNATURE_BYTES = 64 << 10
MAX_SIGNERS_BYTES = 1 << 20
MAX_PRINCIPALS = 50
_HEADER = b"-----BEGIN SSH SIGNATURE-----"


class SignatureError(OpsError):
    """An archive was not signed, or its signature is not valid."""

    exit_code = 2


class SignatureState(StrEnum):
    """The result of checking a signature."""

    GOOD = "good"
    BAD = "bad"
    MISSING = "missing"


class SignatureCheck(msgspec.Struct, frozen=True):
    """The result of checking a signature. ``detail``: who made a good one, or the defect of a bad one."""

    state: SignatureState
    detail: str = ""


def check_signing_key(path: str) -> None:
    """Raises OpsError, one line, if ``path`` must not be used for signing: a private key that others may read, a file
    that others may write, no key at all."""
    content, mode = _trusted(path, "backup.signing_key")
    if b"PRIVATE KEY-----" in content:
        if mode & 0o077:
            raise OpsError(
                Text(
                    en=f"{path}: others than its owner may use this key of backup.signing_key (mode {mode:04o});"
                    " chmod 600 it",
                    zh=f"{path}：除属主外，其他用户也能使用 backup.signing_key 的这个密钥（权限 {mode:04o}）；请执行"
                    " chmod 600",
                )
            )
    elif not content.lstrip().startswith((b"ssh-", b"ecdsa-", b"sk-")):
        raise OpsError(
            Text(
                en=f"{path}, of backup.signing_key, is neither an SSH private key nor a public one",
                zh=f"backup.signing_key 的 {path} 既不是 SSH 私钥，也不是公钥",
            )
        )
    _program()


def sign(archive: Path, key: str) -> bytes:
    """The signature of the bytes of ``archive``. ``key``: a private key, or the public key of one that an agent holds.

    Raises SignatureError, one line."""
    check_signing_key(key)
    # A new session has no terminal, so that nobody is asked for a passphrase; that is left to the agent.
    environment = _environment() | {
        name: os.environ[name] for name in ("SSH_AUTH_SOCK",) if name in os.environ
    }
    with archive.open("rb") as content:
        result = _run(
            ["-Y", "sign", "-f", str(Path(key).absolute()), "-n", NAMESPACE], content, SIGN_SECONDS,
            env=environment, start_new_session=True,
        )  # fmt: skip
    if result.returncode != 0 or not result.stdout.startswith(_HEADER):
        raise SignatureError(
            Text(
                en=f"{key}: ssh-keygen did not sign: {last_line(result.stderr)}",
                zh=f"{key}：ssh-keygen 未能签名：{last_line(result.stderr)}",
            )
        )
    return result.stdout


def check_signature(archive: Path, allowed_signers: str) -> SignatureCheck:
    """Whether one of ``allowed_signers`` signed the bytes of ``archive``. Raises SignatureError if that cannot be
    determined, OpsError for signers that others may have written."""
    signers, _ = _trusted(allowed_signers, "backup.allowed_signers")
    try:
        signature = read_regular_file(str(signature_path(archive)), MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        return SignatureCheck(SignatureState.MISSING)
    except (OSError, ValueError) as error:
        return SignatureCheck(SignatureState.BAD, safe_line(getattr(error, "strerror", None) or str(error)))
    if not signature.is_whole or not signature.content.startswith(_HEADER):
        return SignatureCheck(
            SignatureState.BAD, f"{signature_path(archive).name} is no signature of ssh-keygen's"
        )
    try:
        with scratch_directory() as scratch, archive.open("rb") as content:
            # The signature is untrusted, so the program that reads it is not root. It needs no network and uses none;
            # keeping the network lets it run on hosts where namespaces cannot be created.
            place = scratch / "signature"
            place.mkdir(mode=0o700)
            (place / "signers").write_bytes(signers)
            (place / "sig").write_bytes(signature.content)
            account = _reader()
            give(place, account)
            return _check(content, place, drop=drop_privileges(account, network=True))
    except OSError as error:
        where = error.filename or archive
        raise SignatureError(
            Text(
                en=f"{where}: {error.strerror or error}; the signature was not checked",
                zh=f"{where}：{chinese(error.strerror or error)}；未核对签名",
            )
        ) from None


def _reader() -> UnprivilegedAccount | None:
    """The account that reads signatures: nobody, since ssh-keygen does not run as a user without a name."""
    if os.geteuid() != 0:
        return None
    try:
        return UnprivilegedAccount(NOBODY, pwd.getpwuid(NOBODY).pw_gid)
    except KeyError:
        raise SignatureError(
            Text(
                en=f"this host has no user {NOBODY} (nobody); ssh-keygen needs one",
                zh=f"本机没有用户 {NOBODY}（nobody）；ssh-keygen 需要它",
            )
        ) from None


def _check(content: BinaryIO, place: Path, drop: object) -> SignatureCheck:
    options = {"cwd": place, "env": _environment(), "preexec_fn": drop}
    signer_options = ["-s", "sig", "-f", "signers"]
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        principals_run = _run(["-Y", "find-principals", *signer_options], nothing, CHECK_SECONDS, **options)
    principals = [
        line.split(",")[0] for line in principals_run.stdout.decode(errors="replace").splitlines() if line
    ]
    if principals_run.returncode != 0 or not principals:
        return SignatureCheck(SignatureState.BAD, "none of the allowed signers made it")
    reason = ""
    for principal in principals[:MAX_PRINCIPALS]:
        content.seek(0)
        command = ["-Y", "verify", *signer_options, "-I", principal, "-n", NAMESPACE]
        result = _run(command, content, CHECK_SECONDS, **options)
        if result.returncode == 0:
            return SignatureCheck(SignatureState.GOOD, safe_line(principal, 200))
        reason = last_line(result.stderr or result.stdout)
    return SignatureCheck(SignatureState.BAD, reason)


def _trusted(path: str, setting: str) -> tuple[bytes, int]:
    """A file's content and mode. Raises OpsError if users other than root and the caller may have written it."""
    try:
        read = read_regular_file(path, MAX_SIGNERS_BYTES)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise OpsError(
            Text(
                en=f"{path}, of {setting}, cannot be read: {why}",
                zh=f"无法读取 {setting} 的 {path}：{chinese(why)}",
            )
        ) from None
    if (why_not := reason_not_to_trust(str(Path(path).absolute()))) is not None:
        raise OpsError(
            Text(
                en=f"{path}, of {setting}, is not used: {why_not}; only root, or who runs this, may be able to change"
                " it",
                zh=f"{setting} 的 {path} 不予使用：{chinese(why_not)}；它只能由 root 或当前用户改动",
            )
        )
    return read.content, read.mode


def _program() -> str:
    program = trusted_program("ssh-keygen")
    if program is None:
        refusal = refused_program("ssh-keygen")
        raise SignatureError(
            Text(
                en=refusal or "ssh-keygen is not installed; apt-get install openssh-client",
                zh=chinese(refusal)
                if refusal
                else "未安装 ssh-keygen；请执行 apt-get install openssh-client",
            )
        )
    return program


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "HOME": "/nonexistent", "SSH_ASKPASS_REQUIRE": "never"}


def _run(
    arguments: list[str], content: BinaryIO, seconds: float, **options: object
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [_program(), *arguments],
            stdin=content,
            capture_output=True,
            timeout=seconds,
            check=False,
            **options,
        )
    except subprocess.TimeoutExpired:
        raise SignatureError(
            Text(
                en=f"ssh-keygen {arguments[1]} was not done after {seconds:g} s",
                zh=f"ssh-keygen {arguments[1]} 在 {seconds:g} 秒内未完成",
            )
        ) from None
    except (OSError, subprocess.SubprocessError) as error:
        raise SignatureError(
            Text(
                en=f"ssh-keygen does not run: {getattr(error, 'strerror', None) or error}",
                zh=f"ssh-keygen 无法运行：{chinese(getattr(error, 'strerror', None) or error)}",
            )
        ) from None
