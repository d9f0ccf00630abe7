"""Install and remove packages of the service's Python environment, as the environment's owner."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ops.control.account import UserAccount, become
from ops.files.programs import reason_not_to_run
from ops.repair.apply.session import blocked, failed
from ops.text.reasons import reason
from ops.text.sanitize import safe_line

PIP_SECONDS = 300.0
# PyPA, "Names and normalization" and "Version specifiers".
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")


def set_version(python: str, name: str, version: str) -> None:
    """Install ``version`` of ``name`` by pip, without what it depends on; remove the package for an empty version.
    Raises NotAppliedError."""
    if not _NAME.fullmatch(name) or (version and not _VERSION.fullmatch(version)):
        raise blocked(
            f"{name} {version} is no package's name and version", f"{name} {version} 不是包名和版本"
        )
    words = ["install", "--no-deps", f"{name}=={version}"] if version else ["uninstall", "--yes", name]
    _pip(python, words)


def _pip(python: str, words: Sequence[str]) -> None:
    owner = _owner(python)
    try:
        ran = subprocess.run(
            [python, "-m", "pip", "--no-input", "--disable-pip-version-check", *words],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PIP_SECONDS,
            preexec_fn=None if owner is None else lambda: become(owner),
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise failed(f"pip: {error}", f"pip：{error}") from None
    if ran.returncode != 0:
        lines = (ran.stderr or ran.stdout).decode(errors="replace").strip().splitlines()
        last = safe_line(lines[-1]) if lines else f"exit code {ran.returncode}"
        raise failed(f"pip {words[0]}: {last}", f"pip {words[0]}：{last}")


def _owner(python: str) -> UserAccount | None:
    """The user who owns the environment, None for this one. Raises NotAppliedError if root would run what others may
    change."""
    uid = os.stat(Path(python).parent.parent).st_uid  # noqa: PTH116
    if os.geteuid() == 0 and uid != 0:
        account = pwd.getpwuid(uid)
        return UserAccount(uid, account.pw_gid)
    if (why := reason_not_to_run(python)) is not None:
        raise blocked(f"root does not run {python}: {why}", f"root 不会运行 {python}：{reason(why).to('zh')}")
    return None
