"""Prepacked 8-bit weights are torch's own, byte for byte, or are left to torch."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the model extra is not installed")

from service.engines.gte import prepacking  # noqa: E402
from service.engines.gte.prepacking import Prepacking, _bytes  # noqa: E402


def levels(outputs: int, inputs: int, seed: int) -> Any:
    torch.manual_seed(seed)
    return torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)


def product(weight: Any, outputs: int, inputs: int) -> Any:
    torch.manual_seed(0)
    x = torch.randint(0, 256, (32, inputs)).to(torch.uint8)
    scales, zeros = torch.ones(outputs), torch.zeros(outputs, dtype=torch.long)
    return torch.ops.onednn.qlinear_pointwise(
        x, 1.0, 3, weight, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )


@pytest.mark.parametrize(("outputs", "inputs"), [(128, 64), (192, 256), (96, 64), (64, 100), (10, 7)])
def test_every_weight_is_packed_as_torch_packs_it(outputs: int, inputs: int) -> None:
    """The first of its shape and the following ones, of sizes that the layout fits and of others."""
    prepacked = Prepacking(512)
    for seed in range(3):
        found = prepacked(levels(outputs, inputs, seed))
        wanted = torch.ops.onednn.qlinear_prepack(levels(outputs, inputs, seed), [512, inputs])
        assert torch.equal(product(found, outputs, inputs), product(wanted, outputs, inputs))
        assert torch.equal(_bytes(found), _bytes(wanted))


def test_weights_of_one_shape_do_not_share_memory() -> None:
    prepacked = Prepacking(512)
    first, second, third = (prepacked(levels(128, 64, seed)) for seed in range(3))
    assert not torch.equal(_bytes(second), _bytes(third))
    assert torch.equal(_bytes(first), _bytes(torch.ops.onednn.qlinear_prepack(levels(128, 64, 0), [512, 64])))


@pytest.mark.parametrize("first", ["zeros", "ones", "rows alike", "columns alike", "symmetric"])
def test_weights_that_look_alike_in_another_layout_do_not_pass_it(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = levels(1, 64, 0)
    weights = {
        "zeros": torch.zeros(64, 64, dtype=torch.int8),
        "ones": torch.ones(64, 64, dtype=torch.int8),
        "rows alike": row.repeat(64, 1),
        "columns alike": row.t().repeat(1, 64),
        "symmetric": levels(64, 64, 0).triu() + levels(64, 64, 0).triu(1).t(),
    }[first]
    real = prepacking._fill
    others = [
        lambda content, levels: real(content, levels.flip(0)),
        lambda content, levels: real(content, levels.flip(1)),
        lambda content, levels: real(content, levels.t()),
    ]
    for other in others:
        monkeypatch.setattr(prepacking, "_fill", other)
        prepacked = Prepacking(512)
        for given in (weights, levels(64, 64, 1)):
            wanted = torch.ops.onednn.qlinear_prepack(given, [512, 64])
            assert torch.equal(_bytes(prepacked(given)), _bytes(wanted))


@pytest.mark.parametrize("fault", ["order", "size", "torch"])
def test_another_layout_is_left_to_torch(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = prepacking._bytes

    def other(packed: Any) -> Any:
        if fault == "torch":
            raise AttributeError("no attribute 'data_ptr'")
        content = real(packed).clone()
        return content.flip(0) if fault == "order" else content[:-4]

    monkeypatch.setattr(prepacking, "_bytes", other)
    prepacked = Prepacking(512)
    for seed in range(2):
        wanted = torch.ops.onednn.qlinear_prepack(levels(128, 64, seed), [512, 64])
        assert torch.equal(real(prepacked(levels(128, 64, seed))), real(wanted))
