"""Which requests the main loop has entered in the progress record, so that gunicorn's hooks must not do it again."""

from types import SimpleNamespace

import pytest

from service.gunicorn_patches import is_recorded


@pytest.mark.parametrize(
    ("request_of_gunicorn", "expected"),
    [
        (SimpleNamespace(unreader=SimpleNamespace(place=None)), True),
        (SimpleNamespace(unreader=SimpleNamespace()), False),  # over TLS, or in a sync worker
        (SimpleNamespace(), False),  # over HTTP/2
    ],
)
def test_only_what_came_by_the_main_loop_is_recorded(
    request_of_gunicorn: SimpleNamespace, expected: bool
) -> None:
    assert is_recorded(request_of_gunicorn) is expected
