"""Read the tensors of a checkpoint one at a time, each in memory only while it is used."""

import ctypes
import json
import math
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

_HEADER_LIMIT = 16 << 20  # bytes of a safetensors header
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
_MADV_DONTNEED = 4
# Names in older checkpoints, which transformers still reads.
_OLD_NAMES = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}


class CheckpointError(Exception):
    """The files do not contain the model; the message names the file or the tensor, without its directory."""


class _WeightsFile(Protocol):
    def names(self) -> list[str]: ...

    def read(self, name: str) -> torch.Tensor: ...

    def release(self, name: str) -> None: ...


class Weights:
    """The tensors of a directory's checkpoint by their names in the encoder (``embeddings....``)."""

    def __init__(self, directory: Path) -> None:
        """Open the checkpoint: safetensors if there is one, else ``pytorch_model.bin``; whole or in shards.

        Raises:
            CheckpointError: a file is missing or torn.
        """
        self._files: dict[str, _WeightsFile] = {}
        for path in _parts(directory):
            file: _WeightsFile = _Safetensors(path) if path.suffix == ".safetensors" else _Pickled(path)
            for name in file.names():
                self._files[name] = file
        anchor = "embeddings.word_embeddings.weight"
        prefixes = sorted((name[: -len(anchor)] for name in self._files if name.endswith(anchor)), key=len)
        if not prefixes:
            raise CheckpointError(f"the checkpoint has no tensor {anchor}")
        self._prefix = prefixes[0]

    @contextmanager
    def tensor(self, name: str, *shape: int) -> Iterator[torch.Tensor]:
        """The tensor ``name`` as float32, for the duration of the block.

        Raises:
            CheckpointError: it does not exist, or not with ``shape``.
        """
        key = self._prefix + name
        for new, old in _OLD_NAMES.items():
            if key not in self._files and key.endswith(new):
                key = key.removesuffix(new) + old
        if key not in self._files:
            raise CheckpointError(f"the checkpoint has no tensor {name}")
        tensor = self._files[key].read(key)
        if tuple(tensor.shape) != shape:
            raise CheckpointError(f"{name} has the shape {tuple(tensor.shape)}, config.json says {shape}")
        yield tensor.to(torch.float32)
        del tensor
        self._files[key].release(key)

    @contextmanager
    def stacked(
        self, names: Sequence[str], rows: int, columns: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Weights and biases of the linear layers ``names``, of the shapes [rows, columns] and [rows], one below the
        other, for the duration of the block.

        Raises:
            CheckpointError: see ``tensor``.
        """
        bias = torch.cat([self.copy(f"{name}.bias", rows) for name in names])
        if len(names) == 1:
            with self.tensor(f"{names[0]}.weight", rows, columns) as weight:
                yield weight, bias
            return
        stack = torch.empty(len(names) * rows, columns)
        for place, name in enumerate(names):
            with self.tensor(f"{name}.weight", rows, columns) as weight:
                stack[place * rows : (place + 1) * rows] = weight
        yield stack, bias

    def copy(self, name: str, *shape: int) -> torch.Tensor:
        """A copy of a tensor, to keep."""
        with self.tensor(name, *shape) as tensor:
            return tensor.clone()


def _parts(directory: Path) -> list[Path]:
    for whole in ("model.safetensors", "pytorch_model.bin"):
        if (directory / whole).is_file():
            return [directory / whole]
        index = directory / f"{whole}.index.json"
        if index.is_file():
            try:
                names = set(json.loads(index.read_bytes())["weight_map"].values())
            except (ValueError, KeyError, TypeError, AttributeError):
                raise CheckpointError(f"{index.name} is not an index of a checkpoint's parts") from None
            # A part must be a file of this directory: an index must not lead elsewhere.
            if not all(isinstance(name, str) and Path(name).name == name for name in names):
                raise CheckpointError(f"{index.name} names a part outside the model's directory")
            missing = [name for name in sorted(names) if not (directory / name).is_file()]
            if missing:
                raise CheckpointError(f"{missing[0]}, named by {index.name}, is missing")
            return [directory / name for name in sorted(names)]
    raise CheckpointError("there is neither model.safetensors nor pytorch_model.bin")


class _Safetensors:
    """A safetensors file: 8 bytes with the header's length, the header in JSON, the tensors (its README, "Format").

    Read and not mapped: mapped pages count as this process's memory until they are unmapped.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = path.open("rb", buffering=0)
        size = os.fstat(self._file.fileno()).st_size
        length = int.from_bytes(self._file.read(8), "little")
        if length > min(_HEADER_LIMIT, size):
            raise CheckpointError(f"{path.name} is not a safetensors file, or was cut off")
        try:
            header = json.loads(self._file.read(length))
            header.pop("__metadata__", None)
            self._tensors: dict[str, tuple[str, list[int], int, int]] = {
                name: (entry["dtype"], entry["shape"], *entry["data_offsets"])
                for name, entry in header.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CheckpointError(f"the header of {path.name} cannot be read") from None
        self._start = 8 + length
        if self._start + max((end for *_, end in self._tensors.values()), default=0) > size:
            raise CheckpointError(f"{path.name} was cut off: it has {size} bytes")

    def names(self) -> list[str]:
        return list(self._tensors)

    def read(self, name: str) -> torch.Tensor:
        kind, shape, begin, end = self._tensors[name]
        if kind not in _DTYPES:
            raise CheckpointError(f"{name} is of the type {kind[:10]}")
        tensor = torch.empty(shape, dtype=_DTYPES[kind])
        if begin < 0 or end - begin != tensor.numel() * tensor.element_size():
            raise CheckpointError(f"{name} has another size than its shape in {self._name}")
        if end == begin:
            return tensor
        buffer = memoryview(tensor.view(-1).view(torch.uint8).numpy())
        offset = 0
        while offset < len(buffer):
            count = os.preadv(self._file.fileno(), [buffer[offset:]], self._start + begin + offset)
            if count == 0:
                raise CheckpointError(f"{self._name} ended in the middle of {name}")
            offset += count
        return tensor

    def release(self, name: str) -> None:
        """Nothing to release."""


class _Pickled:
    """A file of ``torch.save``. Only tensors are read from the pickle (``weights_only``): it runs no code."""

    def __init__(self, path: Path) -> None:
        self._is_mapped = True
        try:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:
                # The format before torch 1.6 cannot be mapped.
                state = torch.load(path, map_location="cpu", weights_only=True)
                self._is_mapped = False
        except Exception as error:  # noqa: BLE001  a torn pickle fails in any way
            raise CheckpointError(f"{path.name} cannot be read ({type(error).__name__})") from None
        if not isinstance(state, dict):
            raise CheckpointError(f"{path.name} holds no tensors by name")
        self._tensors: dict[str, Any] = {
            name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)
        }

    def names(self) -> list[str]:
        return list(self._tensors)

    def read(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._tensors[name]
        return tensor

    def release(self, name: str) -> None:
        """Release the mapped pages, which would count as this process's memory for ever."""
        tensor = self._tensors[name]
        size = tensor.numel() * tensor.element_size()
        # Whole pages only. The mapping is private and unmodified, so they can be read again.
        begin = math.ceil(tensor.data_ptr() / mmap.PAGESIZE) * mmap.PAGESIZE
        end = (tensor.data_ptr() + size) // mmap.PAGESIZE * mmap.PAGESIZE
        if self._is_mapped and end > begin:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)
