"""gunicorn's pidfile written anew or removed, by who has a say in where it lies and never by more than that."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import PurePosixPath

from ops.collect.services.logrotate import user_groups
from ops.control.account import UserAccount, as_account
from ops.control.pidfile import deciders
from ops.files.nofollow import resolve, trusted_users
from ops.text.language import Text, verbatim

_MOST_DIGITS = 20


def put_pidfile(path: str, found: int, namer: int | None, content: bytes | None) -> Text | None:
    """Give a pidfile that holds ``found`` other content, or remove it (None); why it was left alone, None where not.

    ``namer``: the user whose process named it, None where settings did. Where another user than root and the caller
    decides what the path leads to, it is done as that user: the kernel refuses what that user could not do itself. No
    link is followed; only a regular file of one name that holds the number is touched. Raises OSError."""
    place = PurePosixPath(path)
    directory, entries = resolve(str(place.parent))
    try:
        status = os.stat(place.name, dir_fd=directory, follow_symlinks=False)
        users = deciders((*(entry.uid for entry in entries), status.st_uid, namer), trusted_users())
        if len(users) > 1:
            return Text(en="several users decide where it lies", zh="它的位置由多个用户决定")
        if users and status.st_uid not in users:
            return Text(
                en=f"user {min(users)} decides what lies there, and the file is user {status.st_uid}'s",
                zh=f"那里放什么由用户 {min(users)} 决定，而文件属于用户 {status.st_uid}",
            )
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            return Text(en="it is no regular file of one name", zh="它不是只有一个名字的普通文件")
        do = _change(directory, place.name, status, found, content)
        if not users or os.geteuid() != 0:
            do()
            return None
        (uid,) = users
        groups = [member.gid for member in user_groups(uid)]
        failed = as_account(UserAccount(uid, groups[0], tuple(groups)), do)
        return None if failed is None else verbatim(f"user {uid}: {failed.strerror}")
    finally:
        os.close(directory)


def _change(
    directory: int, name: str, status: os.stat_result, found: int, content: bytes | None
) -> Callable[[], None]:
    def change() -> None:
        descriptor = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
        )
        try:
            now = os.fstat(descriptor)
            words = os.read(descriptor, _MOST_DIGITS + 1).strip()
        finally:
            os.close(descriptor)
        if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino) or words != str(found).encode():
            raise FileNotFoundError
        if content is None:
            os.unlink(name, dir_fd=directory)
            return
        beside = f".{name}.{os.getpid()}~"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(beside, flags, 0o600, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode) & 0o777)
                file.flush()
                os.fsync(file.fileno())
            os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(beside, dir_fd=directory)
            raise

    return change
