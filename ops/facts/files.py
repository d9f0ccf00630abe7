"""The model's, the application's and its packages' files."""

from __future__ import annotations

from ops.facts.base import Facts


class ModelFile(Facts, frozen=True):
    """One file that a model is loaded from. ``problem``: empty, lfs_pointer, truncated, overlong, not_json, absent (an
    index names it), unreadable (not seen by us); ``detail`` says more, in numbers or names."""

    path: str
    size: int = 0
    problem: str | None = None
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
    """One directory to pass through, or file to read, on the way into the model. ``has_acl``: an access control list
    decides for all but the owner, and was not read. ``changed``: when its owner, its mode or its content changed last
    (Unix seconds)."""

    path: str
    is_directory: bool
    uid: int
    gid: int
    mode: int
    has_acl: bool = False
    changed: float = 0.0


class Reader(Facts, frozen=True):
    """As whom the service reads files. ``overrides``: a capability lets it read everything (capabilities(7))."""

    pid: int
    user: str
    uid: int
    gids: tuple[int, ...]
    overrides: bool = False


class ModelAccess(Facts, frozen=True):
    """The way to every file of the model, from the root, and who has to go it. ``complete``: seen to its end."""

    reader: Reader
    steps: tuple[AccessStep, ...]
    complete: bool = True


class Environment(Facts, frozen=True):
    """The packages an interpreter finds, version by normal name: of those that the service may need only.

    ``required``: what `app.requires` lists, None where it is not set. ``nvidia_devices``: signs of a GPU."""

    python: str
    directories: tuple[str, ...]
    required: tuple[str, ...] | None
    packages: dict[str, str]
    nvidia_packages: tuple[str, ...] = ()
    nvidia_devices: tuple[str, ...] = ()


class SourceFile(Facts, frozen=True):
    """A file that is read once, when the service starts: its path and when it was last written."""

    path: str
    modified: float


class Application(Facts, frozen=True):
    """gunicorn's configuration file, and the application's modules, those changed last first."""

    config: SourceFile | None
    modules: tuple[SourceFile, ...]
