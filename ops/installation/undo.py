"""Undo the steps of an installation, in the reverse order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ops.errors import OpsError
from ops.installation.assess import DAEMON_RELOAD
from ops.installation.host import HostTree
from ops.installation.steps import (
    Undo,
    UndoAccounts,
    UndoCertificate,
    UndoData,
    UndoDirectories,
    UndoDrain,
    UndoEnable,
    UndoEnvironment,
    UndoFile,
    UndoLink,
    UndoNginx,
    UndoRetire,
    UndoUnits,
    UndoVersions,
)
from ops.installation.store import InstallStore, digest_of
from ops.text.language import Text
from ops.text.reasons import chinese, root_hint


def is_data(item: Undo) -> bool:
    """Whether it is kept until --purge: settings, accounts, certificates, what the service wrote."""
    return isinstance(item, UndoData | UndoAccounts | UndoCertificate) or (
        isinstance(item, UndoFile) and item.is_data
    )


def data_words(item: Undo) -> tuple[str, ...]:
    """The paths, and the names of accounts, that are kept: a directory only if it holds something."""
    match item:
        case UndoData():
            return tuple(filter(_holds_data, item.paths))
        case UndoAccounts():
            return tuple(dict.fromkeys((*item.names, *item.groups)))
        case UndoFile():
            return tuple(filter(_holds_data, (item.path,)))
        case UndoCertificate():
            return tuple(filter(_holds_data, item.own))
    return ()


def _holds_data(name: str) -> bool:
    path = Path(name)
    if path.is_dir() and not path.is_symlink():
        return any(path.iterdir())
    return os.path.lexists(path)


def undo_all(
    items: Sequence[Undo], host: HostTree, store: InstallStore, *, purge: bool
) -> tuple[tuple[str, ...], list[Text]]:
    """Undo in the reverse order, whatever fails: the copies of edited files, and what failed."""
    copies: list[str] = []
    troubles: list[Text] = []
    for item in reversed(items):
        try:
            copies += _undo(item, host, store, purge=purge)
        except OpsError as error:
            troubles.append(error.words)
        except OSError as error:
            troubles.append(not_written(error).words)
        if troubles and isinstance(item, UndoRetire):
            break  # without the former service the new one goes on serving
    return tuple(copies), troubles


def _undo(item: Undo, host: HostTree, store: InstallStore, *, purge: bool) -> Iterator[str]:
    """Undo one step, whether it was applied wholly, in part or not at all; yields the copies of edited files."""
    match item:
        case UndoFile():
            yield from _undo_file(item, host, store)
        case UndoLink():
            path = Path(item.path)
            if path.is_symlink() and os.readlink(path) == item.target:  # noqa: PTH115
                if item.before is None:
                    host.remove(path)
                else:
                    host.link(path, item.before)
            host.remove_directories(item.made)
        case UndoData():
            for path in map(Path, item.paths if purge else ()):
                _remove_data(path, host, store)
        case UndoEnvironment():
            _undo_environment(item, host)
        case UndoVersions():
            _undo_versions(item, host)
        case UndoAccounts():
            for name in item.names:
                host.remove_account(name)
            for name in item.groups:
                host.remove_group(name)
        case UndoDirectories():
            host.remove_directories(item.paths)
        case UndoUnits():
            host.run(*DAEMON_RELOAD)
            for unit in item.restarted:
                host.run("systemctl", "restart", unit)
        case UndoEnable():
            _undo_enable(item, host)
        case UndoNginx():
            if not item.was_active:
                if host.nginx_runs():
                    host.run(
                        *(
                            ("systemctl", "stop", "nginx.service")
                            if host.has_systemd
                            else ("nginx", "-s", "stop")
                        )
                    )
            elif host.nginx_runs():
                host.run(*item.test)
                host.run(*item.reload)
        case UndoCertificate():
            _undo_certificate(item, host)
        case UndoDrain():
            host.drain(item.file, item.seconds)
        case UndoRetire():
            host.bring_back(item.former, item.seconds)


def _remove_data(path: Path, host: HostTree, store: InstallStore) -> None:
    if path.is_file():
        for file in (path, *path.parent.glob(f"{glob.escape(path.name)}.*")):  # and its rotated ones
            host.remove(file)
        return
    if path != store.directory.parent:
        host.remove_tree(path)
        return
    for inner in sorted(path.iterdir()) if path.is_dir() else ():
        if inner.is_dir() and not inner.is_symlink():
            if inner != store.directory:
                host.remove_tree(inner)
        else:
            host.remove(inner)


def _undo_file(item: UndoFile, host: HostTree, store: InstallStore) -> Iterator[str]:
    path = Path(item.path)
    original = item.original
    if path.is_file():
        digest = digest_of(path.read_bytes())
        if digest != item.digest and (original is None or digest != original.digest):
            yield host.keep_edited(path)
    if original is None:
        host.remove(path)
    else:
        host.put(path, store.kept(original), original.mode, (original.uid, original.gid))
        host.set_modified(path, original.modified_ns)
    host.remove_directories(item.made)


def _undo_certificate(item: UndoCertificate, host: HostTree) -> None:
    """nginx takes this up afterwards: the step before it is undone next (UndoNginx)."""
    host.remove(Path(item.site))
    _remove_all(item.own, host)
    if item.others is None or not glob.glob(item.others):  # noqa: PTH207  one pattern, of one's own
        _remove_all(item.shared, host)
    host.remove_directories(item.made)


def _remove_all(paths: Iterable[str], host: HostTree) -> None:
    for path in map(Path, paths):
        if path.is_dir() and not path.is_symlink():
            host.remove_tree(path)
        elif os.path.lexists(path):
            host.remove(path)


def _undo_environment(item: UndoEnvironment, host: HostTree) -> None:
    if item.packages is None:
        host.remove_tree(Path(item.directory))
        host.remove_directories(item.made)
        return
    added = [name for name in host.packages(item.python) if name not in item.packages]
    if added:
        host.run(item.python, "-m", "pip", "uninstall", "--quiet", "--yes", *added)


def _undo_versions(item: UndoVersions, host: HostTree) -> None:
    link, original = Path(item.link), Path(item.original)
    if link.is_symlink() and original.is_dir() and not original.is_symlink():
        host.exchange(link, original)
    host.remove_tree(Path(item.directory))


def _undo_enable(item: UndoEnable, host: HostTree) -> None:
    # A unit that is not enabled and not active is not touched: its file may not have been there at all.
    stopped = [unit for unit in item.stopped if host.is_active(unit)]
    if stopped:
        host.run("systemctl", "stop", *stopped)
    disabled = [unit for unit in item.disabled if host.is_enabled(unit)]
    if disabled:
        host.run("systemctl", "disable", *disabled)
    for unit in item.disabled:
        if unit.endswith(".timer"):  # when it last ran (systemd.timer(5), Persistent=)
            host.remove(host.place(f"/var/lib/systemd/timers/stamp-{unit}"))


def not_written(error: OSError) -> OpsError:
    """What the system refused, as an error for the reader."""
    hint = root_hint(error)
    where = f"{error.filename}: " if error.filename else ""
    return OpsError(
        Text(
            en=f"{where}{error.strerror or error}{hint.en}",
            zh=f"{where}{chinese(error.strerror or str(error))}{hint.zh}",
        )
    )
