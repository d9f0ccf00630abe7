"""Which gte-ops.toml is read, and its bytes, if nobody else could have written them."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ops.errors import OpsError, SettingsError
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.files.presence import is_there
from ops.settings.document import Settings, parse_settings
from ops.text.language import Text
from ops.text.reasons import chinese

SEARCH_PATH = ("./gte-ops.toml", "/etc/gte-ops/gte-ops.toml")
# A configuration is written by hand; anything larger is a mistake or an attack on memory.
MAX_FILE_BYTES = 1 << 20


class SettingsFile(msgspec.Struct, frozen=True):
    """Which file is read, None for none, and those that are not though they are there: each as one line, with why."""

    path: Path | None
    passed_over: tuple[str, ...] = ()

    @property
    def config_argument(self) -> str | None:
        """What a command run from another directory needs after --config to read this file; None if nothing."""
        if self.path is None or str(self.path) == SEARCH_PATH[-1]:
            return None
        return str(self.path.absolute())


def find_settings_file(option: str | None, environ: Mapping[str, str] | None = None) -> SettingsFile:
    """The file to read: --config, $GTE_OPS_CONFIG, ./gte-ops.toml, /etc/gte-ops/gte-ops.toml; None if none is there.

    One that is only looked for and that others than root and the caller could have written is passed over. Raises
    SettingsError when a file was named that does not exist.
    """
    values = os.environ if environ is None else environ
    for path, origin in ((option, "--config"), (values.get("GTE_OPS_CONFIG"), "$GTE_OPS_CONFIG")):
        if path:
            if is_there(path) is False:
                raise SettingsError(
                    Text(
                        en=f"{path}: no such file (named by {origin}); check the path",
                        zh=f"{path}：文件不存在（由 {origin} 指定）；请检查路径",
                    )
                )
            return SettingsFile(Path(path))
    passed_over: list[str] = []
    for name in SEARCH_PATH:
        # A working directory that is closed to us, as sudo or runuser leave it, proves no file.
        if is_there(name) or (is_there(name) is None and name.startswith("/")):
            why = reason_not_to_read(Path(name))
            if why is None:
                return SettingsFile(Path(name), tuple(passed_over))
            passed_over.append(f"{Path(name).absolute()}: not read: {why}")
    return SettingsFile(None, tuple(passed_over))


def reason_not_to_read(path: Path) -> str | None:
    """Why somebody else than root and the caller decides what a configuration says; None where nobody does.

    It names programs that are run. As with ssh's and logrotate's, it and its directory must not be others' to write."""
    places = dict.fromkeys((path.absolute().parent, Path(os.path.realpath(path)).parent))
    reasons = (reason_not_to_trust(str(place), listed=True) for place in places)
    return next(filter(None, (reason_not_to_trust(str(path.absolute())), *reasons)), None)


def load_settings(path: Path | None) -> Settings:
    """The settings in ``path``, or all defaults for None.

    Raises SettingsError naming the file, the key or line, and what would be right; also for a file that others than
    root and the caller could have written.
    """
    return Settings() if path is None else parse_settings(read_settings_file(path), str(path))


def read_settings_file(path: Path) -> bytes:
    """The bytes of a configuration file. Raises SettingsError, also for a file that others could have written."""
    if is_there(path) is not False and (why_not := reason_not_to_read(path)) is not None:
        raise SettingsError(
            Text(
                en=f"{path}: not read: {why_not}, and what it names is run; give both to root, or to who runs this:"
                " chown and chmod go-w",
                zh=f"{path}：不予读取：{chinese(why_not)}，而其中写明的程序会被运行；请让文件和目录归 root"
                " 或当前用户所有（chown），并去掉他人的写权限（chmod go-w）",
            )
        )
    too_large = Text(
        en=f"{path}: larger than 1 MiB; this is not a gte-ops.toml",
        zh=f"{path}：超过 1 MiB，不是 gte-ops.toml",
    )
    return bounded_content(path, MAX_FILE_BYTES, SettingsError, too_large)


def bounded_content(path: Path, limit: int, error: Callable[[Text], OpsError], too_large: Text) -> bytes:
    """The bytes of a file of at most ``limit`` bytes. Raises ``error`` with the reason; with ``too_large`` if it is
    larger."""
    try:
        file = read_regular_file(str(path), limit)
    except (OSError, ValueError) as failure:
        why = getattr(failure, "strerror", None) or failure
        raise error(
            Text(
                en=f"{path}: cannot be read: {why}; check the path and its mode",
                zh=f"{path}：无法读取：{chinese(why)}；请检查路径及其权限",
            )
        ) from None
    if not file.is_whole:
        raise error(too_large)
    return file.content
