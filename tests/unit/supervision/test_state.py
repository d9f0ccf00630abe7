"""The state is a value: nothing changes it in place, and every name of it has a sentence."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from ops.supervision import sentences, state
from ops.supervision.state import ActionKind, Fault, ServiceState, Trouble, WatchdogState

STRUCTS = [
    value
    for value in vars(state).values()
    if inspect.isclass(value) and issubclass(value, msgspec.Struct) and value is not msgspec.Struct
]


def test_every_struct_of_the_state_is_frozen() -> None:
    assert WatchdogState in STRUCTS
    assert [struct.__name__ for struct in STRUCTS if not struct.__struct_config__.frozen] == []


def test_the_state_is_not_changed_in_place() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        WatchdogState().failures = 1  # type: ignore[misc]


def test_every_fault_action_and_state_has_a_sentence_in_both_languages() -> None:
    assert set(sentences.FAULTS) == set(Fault) - {Fault.NONE}
    assert set(sentences.ACTIONS) == set(ActionKind)
    assert set(sentences.STATES) == set(ServiceState)
    for text in (*sentences.FAULTS.values(), *sentences.ACTIONS.values(), *sentences.STATES.values()):
        assert text.en
        assert text.zh


def test_a_detail_is_one_bounded_line() -> None:
    trouble = Trouble(Fault.NOT_ANSWERING, 0.0, 0.0, detail_en="a\nb\x1b[31m", detail_zh="x" * 10_000)
    assert "\n" not in trouble.detail_en
    assert "\x1b" not in trouble.detail_en
    assert len(trouble.detail_zh) <= state.MAX_DETAIL_CHARS
