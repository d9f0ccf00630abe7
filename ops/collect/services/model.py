"""The model directory on disk: whether it exists, is nested too deep, is still an archive, or is incomplete."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ops.facts.base import NotSeen
from ops.facts.files import ModelFile, ModelFiles, ModelProblem
from ops.files.bounded_read import open_regular_file
from ops.text.sanitize import safe_line

MAX_ENTRIES = 200
# Archives that `modelscope download` and people who copy models leave beside the directory.
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar")
CONFIG = "config.json"
# Files that a model is loaded from; README, licence and pictures are not.
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".onnx")
_TEXTS = ("vocab.txt", "merges.txt")
MAX_FILES = 64
# Git LFS leaves a text file of three lines in place of the content (its specification, "The Pointer").
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# Read limit for a JSON file or a safetensors header.
MAX_JSON_BYTES = 16 << 20
# A zip archive ends with a record of 22 bytes and a comment of at most 64 KiB (APPNOTE.TXT, 4.3.16).
_ZIP_BEGIN, _ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
_ZIP_TAIL = 22 + 65535


def model_files(path: str | None) -> ModelFiles | NotSeen:
    """Return the files at ``path`` and beside it; NotSeen if no directory is configured or it may not be read."""
    if not path:
        return NotSeen(reason="no model directory is configured", is_lasting=True)
    directory = Path(os.path.normpath(path))
    try:
        return _look(directory)
    except PermissionError as error:
        return NotSeen(reason=safe_line(f"{error.filename or path}: permission denied"), needs_root=True)
    except (OSError, ValueError) as error:
        return NotSeen(reason=safe_line(f"{path}: {getattr(error, 'strerror', None) or error}"))


def _look(directory: Path) -> ModelFiles:
    mode = _mode(directory)
    is_directory = mode is not None and stat.S_ISDIR(mode)
    entries = _names(directory) if is_directory else ()
    parent = directory.parent
    parent_mode = _mode(parent)
    beside = _names(parent) if parent_mode is not None and stat.S_ISDIR(parent_mode) else ()
    return ModelFiles(
        path=str(directory),
        exists=mode is not None,
        is_directory=is_directory,
        entries=tuple(safe_line(name, 255) for name in entries[:MAX_ENTRIES]),
        has_config=CONFIG in entries,
        nested=_mode(directory / directory.name / CONFIG) is not None,
        archives=tuple(
            safe_line(str(parent / name), 1000) for name in beside if is_archive(name, directory.name)
        ),
        parent_exists=parent_mode is not None,
        files=_files(directory, entries) if is_directory else (),
    )


def is_loaded(name: str) -> bool:
    """Return whether a model is loaded from a file of this name."""
    return not name.startswith(".") and (name.endswith((*WEIGHTS, ".json", ".model")) or name in _TEXTS)


def _files(directory: Path, names: tuple[str, ...]) -> tuple[ModelFile, ...]:
    files = []
    absent: dict[str, ModelFile] = {}
    for name in [name for name in names if is_loaded(name)][:MAX_FILES]:
        path = directory / name
        try:
            with open_regular_file(str(path)) as file:
                looked = _examined(path, file)
                shards = _named_by_index(file) if name.endswith(".index.json") else ()
        except IsADirectoryError:
            continue
        except OSError as error:
            is_gone = isinstance(error, FileNotFoundError)  # a dangling link
            files.append(
                ModelFile(
                    path=safe_line(str(path), 1000),
                    problem=ModelProblem.ABSENT if is_gone else ModelProblem.UNREADABLE,
                    detail=safe_line(error.strerror or str(error)),
                )
            )
            continue
        files.append(looked)
        for shard in shards:
            if not _is_there(directory / shard):
                place = safe_line(str(directory / shard), 1000)
                absent.setdefault(
                    place, ModelFile(path=place, problem=ModelProblem.ABSENT, detail=safe_line(name))
                )
    return (*files, *absent.values())


def _is_there(path: Path) -> bool:
    try:
        return _mode(path) is not None
    except (OSError, ValueError):
        return True  # unknown: do not report it as absent


def _examined(path: Path, file: BinaryIO) -> ModelFile:
    size = os.fstat(file.fileno()).st_size
    problem: ModelProblem | None = None
    detail = ""
    head = file.read(len(_LFS_POINTER))
    if size == 0:
        problem = ModelProblem.EMPTY
    elif head.startswith(_LFS_POINTER):
        problem = ModelProblem.LFS_POINTER
    elif path.name.endswith(".safetensors"):
        problem, detail = _safetensors(file, size)
    elif path.name.endswith(".json"):
        file.seek(0)
        if size <= MAX_JSON_BYTES and _decoded(file.read(size)) is None:
            problem = ModelProblem.NOT_JSON
    elif head.startswith(_ZIP_BEGIN):
        # torch.save writes a zip archive: if its end record is missing, the file was cut off.
        file.seek(max(0, size - _ZIP_TAIL))
        if _ZIP_END not in file.read(_ZIP_TAIL):
            problem, detail = ModelProblem.TRUNCATED, f"{size} bytes, the archive's end is missing"
    return ModelFile(path=safe_line(str(path), 1000), size=size, problem=problem, detail=detail)


def _safetensors(file: BinaryIO, size: int) -> tuple[ModelProblem | None, str]:
    """Compare the file's size with its header and return the problem and its detail. The file is 8 bytes with the
    header's length, the header, and the tensors one after another to the very end (safetensors' README, "Format")."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 + length:
        return ModelProblem.TRUNCATED, f"{size} bytes, its header alone has {8 + length}"
    if length > MAX_JSON_BYTES:
        return None, ""
    header = _decoded(file.read(length))
    if not isinstance(header, dict):
        return ModelProblem.TRUNCATED, "its header is not JSON"
    ends = [
        offsets[1]
        for tensor in header.values()
        if isinstance(tensor, dict)
        and isinstance(offsets := tensor.get("data_offsets"), list)
        and len(offsets) == 2
        and isinstance(offsets[1], int)
    ]
    expected_size = 8 + length + max(ends, default=0)
    if size == expected_size:
        return None, ""
    return (
        ModelProblem.TRUNCATED if size < expected_size else ModelProblem.OVERLONG,
        f"{size} bytes of {expected_size}",
    )


def _named_by_index(file: BinaryIO) -> tuple[str, ...]:
    """Return the weight files that an index names (Hugging Face: sharded checkpoints)."""
    file.seek(0)
    index = _decoded(file.read(MAX_JSON_BYTES))
    shards = index.get("weight_map") if isinstance(index, dict) else None
    names = {name for name in shards.values() if isinstance(name, str)} if isinstance(shards, dict) else set()
    return tuple(sorted(name for name in names if name and "/" not in name and "\0" not in name))[:MAX_FILES]


def _decoded(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return None


def is_archive(name: str, model: str) -> bool:
    """Return whether ``model`` would be unpacked from ``name``: the model's name with an archive's suffix."""
    lower, stem = name.lower(), model.lower()
    if not lower.startswith(stem) or lower == stem:
        return False
    rest = lower[len(stem) :]
    return ".tar." in rest or rest.endswith(ARCHIVE_SUFFIXES)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _names(directory: Path) -> tuple[str, ...]:
    with os.scandir(directory) as entries:
        return tuple(sorted(entry.name for entry in entries))
