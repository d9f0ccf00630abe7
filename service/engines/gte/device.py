"""Where the model is computed: the CPU, or a GPU that torch sees."""

from collections.abc import Callable

import torch

# Attention of all texts of a batch in one call: (query, key, value, edges of the queries, edges of the keys, longest of
# either); rows are tokens, edges the rows at which a text begins, and the end.
RaggedAttention = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int, int], torch.Tensor
]


def available() -> torch.device:
    """The GPU if torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def ragged_attention(device: torch.device, kind: torch.dtype) -> RaggedAttention | None:
    """torch's flash attention over texts of different lengths, where there is one: on a GPU of compute capability 8.0
    (Ampere) or higher, of 16-bit numbers. Else None: texts of one length are attended to together."""
    if device.type == "cpu" or kind not in (torch.bfloat16, torch.float16):
        return None
    if device.type == "cuda" and not (
        torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(device) >= (8, 0)
    ):
        return None
    return _flash


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    of_queries: torch.Tensor,
    of_keys: torch.Tensor,
    longest_query: int,
    longest_key: int,
) -> torch.Tensor:
    # What torch.nn.attention.varlen.varlen_attn calls. Importing that takes 7 s of processor time: torch's compiler.
    answer: torch.Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, of_queries, of_keys, longest_query, longest_key, 0.0, False, False
    )[0]
    return answer


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of this process on the device. To a GPU from pinned memory, without waiting for it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's values as float32 in this process; from a GPU by way of pinned memory."""
    if tensor.device.type != "cuda":
        return tensor.float().cpu()
    values = torch.empty(tensor.shape, dtype=torch.float32, pin_memory=True)
    values.copy_(tensor.float(), non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return values
