"""The precision that a machine gets follows from the rates it measured."""

import pytest

pytest.importorskip("torch", reason="the model extra is not installed")

from service.engines.gte.precision import Measured, Precision, attends_by_products, choose, products


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


@pytest.mark.parametrize(
    ("products", "measured"),
    [
        ("float32", Measured(200, 400)),
        ("int8", Measured(200, 400)),
        ("bfloat16", None),  # a GPU
        ("bfloat16", Measured(230, 45)),  # imitated
        ("bfloat16", Measured(200, None)),
    ],
)
def test_attention_is_by_products_only_where_bfloat16_is_quick_and_wanted(
    products: Precision, measured: Measured | None
) -> None:
    assert not attends_by_products(products, measured)


@pytest.mark.parametrize("seconds", [(1.0, 2.0), (2.0, 1.0)])
def test_the_quicker_form_of_attention_is_taken(
    seconds: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.engines.gte import precision as module

    rates = iter(seconds)
    monkeypatch.setattr(module, "_best_of", lambda _times, _run: next(rates))
    assert attends_by_products("bfloat16", Measured(200, 400)) == (seconds[0] < seconds[1])
