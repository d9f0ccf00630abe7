"""The model's, the application's and its packages' files."""

from __future__ import annotations

from enum import StrEnum

from ops.facts.base import Facts


class ModelProblem(StrEnum):
    """Why a file of a model cannot be used."""

    EMPTY = "empty"
    LFS_POINTER = "lfs_pointer"  # Git LFS has not fetched the file itself
    TRUNCATED = "truncated"
    OVERLONG = "overlong"
    NOT_JSON = "not_json"
    ABSENT = "absent"  # an index names it
    UNREADABLE = "unreadable"  # for this user


class ModelFile(Facts, frozen=True):
    """One file that a model is loaded from. ``detail``: numbers or names."""

    path: str
    size: int = 0
    problem: ModelProblem | None = None
    detail: str = ""


class ModelFiles(Facts, frozen=True):
    """The model directory. ``archives`` beside it, ``nested``: config.json lies in <dir>/<same name>/.

    ``files``: those a model is loaded from."""

    path: str
    exists: bool
    is_directory: bool
    entries: tuple[str, ...]
    has_config: bool
    nested: bool
    archives: tuple[str, ...]
    parent_exists: bool
    files: tuple[ModelFile, ...] = ()


class AccessStep(Facts, frozen=True):
    """A directory to traverse, or a file to read, when the model is loaded. ``has_acl``: it has an access control list,
    which decides for everybody but the owner and was not read. ``changed``: when its owner, its mode or its content
    changed last (Unix seconds)."""

    path: str
    is_directory: bool
    uid: int
    gid: int
    mode: int
    has_acl: bool = False
    changed: float = 0.0


class Reader(Facts, frozen=True):
    """The user and groups with which the service reads files. ``overrides``: a capability lets it read everything
    (capabilities(7))."""

    pid: int
    user: str
    uid: int
    gids: tuple[int, ...]
    overrides: bool = False


class ModelAccess(Facts, frozen=True):
    """The directories from the root to every file of the model, and the user who reads them. ``complete``: all of them
    were seen."""

    reader: Reader
    steps: tuple[AccessStep, ...]
    complete: bool = True


class Environment(Facts, frozen=True):
    """The packages an interpreter finds, version by normalised name, only those that the service may need.

    ``required``: the list in `app.requires`, None if it is not set. ``nvidia_devices``: devices that indicate a GPU."""

    python: str
    directories: tuple[str, ...]
    required: tuple[str, ...] | None
    packages: dict[str, str]
    nvidia_packages: tuple[str, ...] = ()
    nvidia_devices: tuple[str, ...] = ()


class SourceFile(Facts, frozen=True):
    """A file that is read once, when the service starts: its path and the time of its last change."""

    path: str
    modified: float


class Application(Facts, frozen=True):
    """gunicorn's configuration file and the application's modules, the most recently changed first."""

    config: SourceFile | None
    modules: tuple[SourceFile, ...]
