"""The precision that a machine gets follows from the rates it measured."""

import pytest

pytest.importorskip("torch", reason="the model extra is not installed")

from service.engines.gte.precision import Measured, choose, products


@pytest.mark.parametrize(
    ("measured", "precision"),
    [
        (Measured(200, 400), "bfloat16"),
        (Measured(200, 239), "float32"),  # not worth its lower agreement
        (Measured(200, None), "float32"),
        (Measured(230, 45), "float32"),  # imitated
    ],
)
def test_bfloat16_is_chosen_unasked_where_its_products_are_a_fifth_faster(
    measured: Measured, precision: str
) -> None:
    assert choose(measured) == precision


@pytest.mark.parametrize(
    ("measured", "precision"),
    [
        (Measured(200, 400), "bfloat16"),
        (Measured(230, 45), "float32"),
        (Measured(200, None), "float32"),
        (None, "bfloat16"),
    ],
)
def test_bfloat16_weights_are_multiplied_in_float32_where_that_is_faster(
    measured: Measured | None, precision: str
) -> None:
    assert products("bfloat16", measured) == precision
    assert products("int8", measured) == "int8"
    assert products("float32", measured) == "float32"
