"""Attention by products is flash attention in bfloat16, whatever the text's length and wherever its keys lie."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the model extra is not installed")

from service.engines.gte.attention import LEAST_LENGTH, _rounded, by_products, flash  # noqa: E402


def text(tokens: int, kind: Any) -> Any:
    """Query, key and value side by side, as one product projects them."""
    torch.manual_seed(tokens)
    return torch.randn(tokens, 3, 4, 64).to(kind).permute(1, 2, 0, 3)


def difference(found: Any, wanted: Any) -> float:
    return float((found.float() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("tokens", [1, 2, 9, 48, 49, 64, 100, 129, 257, 512])
def test_the_result_is_that_of_flash_attention(tokens: int, kind: Any) -> None:
    parts = text(tokens, kind)
    found = by_products(*parts)
    assert found.dtype is torch.bfloat16
    assert difference(found, flash(*parts.float().unsqueeze(1))[0]) < 0.01


def test_what_all_keys_have_in_common_takes_no_digits() -> None:
    query, key, value = text(100, torch.float32)
    wanted = flash(*(part.unsqueeze(0) for part in (query, key, value)))[0]
    # Scores of some hundred: powers of them would overflow, and bfloat16 would leave them no digit after the point.
    assert difference(by_products(query, key + 40 * query.mean(1, keepdim=True).sign(), value), wanted) < 0.01


def test_scores_too_far_apart_give_no_number_instead_of_a_wrong_one() -> None:
    query, key, value = text(64, torch.float32)
    found = by_products(query * 5, key * 5, value)
    wanted = flash(*(part.unsqueeze(0) for part in (query * 5, key * 5, value)))[0]
    rows = found.isfinite().all(-1)
    assert rows.any()
    assert not rows.all()
    assert difference(found[rows], wanted[rows]) < 0.2


@pytest.mark.parametrize("above", [80.0, 86.0, 87.0, 88.2, 89.0, 200.0])
@pytest.mark.parametrize("size", [0.05, -3.0, 0.0])
def test_a_total_that_overflows_gives_no_number_though_the_product_is_finite(
    above: float, size: float
) -> None:
    """Half of the keys so far above the mean, the others as far below it: the result is ``size`` or no number."""
    query, key = torch.zeros(2, 1, 64, 64, dtype=torch.bfloat16)
    query[..., 0] = 1
    key[:, :32, 0], key[:, 32:, 0] = 8 * above, -8 * above
    found = by_products(query, key, torch.full_like(query, size)).float()
    if above < 85:
        assert torch.allclose(found, torch.full_like(found, size), rtol=0.02)
    else:
        assert not found.isfinite().any()


def test_texts_of_every_length_have_a_few_shapes() -> None:
    rounded = [_rounded(tokens) for tokens in range(LEAST_LENGTH, 513)]
    assert len(set(rounded)) < 30
    assert all(tokens <= rows < tokens * 1.15 + 8 for tokens, rows in enumerate(rounded, LEAST_LENGTH))
