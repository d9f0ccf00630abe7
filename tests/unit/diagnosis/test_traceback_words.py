"""What is taken from a traceback: the exceptions that led to the last one, and the application's line."""

from __future__ import annotations

import pytest

from ops.diagnosis.checks.log_reading import earlier_exceptions, innermost_own

FIRST = 'Traceback (most recent call last):\n  File "/srv/shop/app.py", line 4, in rates\n    read()\n{}\n'
LAST = 'Traceback (most recent call last):\n  File "/srv/shop/app.py", line 6, in rates\n    {}\nRuntimeError: none\n'
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
HANDLED = "\nDuring handling of the above exception, another exception occurred:\n\n"
REFUSED = "ConnectionRefusedError: [Errno 111] Connection refused"


@pytest.mark.parametrize(
    ("exception", "words", "told"),
    [
        (REFUSED, CAUSE, (REFUSED,)),
        (REFUSED, HANDLED, (REFUSED,)),
        (
            "ModuleNotFoundError: No module named 'ujson'",
            CAUSE,
            ("ModuleNotFoundError: No module named 'ujson'",),
        ),
        # Code tries, and goes on another way: what fails there is another matter.
        ("ModuleNotFoundError: No module named 'ujson'", HANDLED, ()),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/srv/shop/cache'", HANDLED, ()),
        ("KeyError: 'SHOP_URL'", HANDLED, ()),
    ],
)
def test_an_exception_that_was_handled_on_the_way_is_no_cause(
    exception: str, words: str, told: tuple[str, ...]
) -> None:
    assert earlier_exceptions(FIRST.format(exception) + words + LAST.format("raise")) == told


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('mail.login("a@example.com", "geheim")', "mail.login('***', '***')"),
        ("requests.get(URL, auth=('bob', 'Tr0ub4dor'))", "requests.get(URL, auth=('***', '***'))"),
        ('requests.get("http://10.0.0.5/rates")', 'requests.get("http://10.0.0.5/rates")'),
    ],
)
def test_credentials_in_a_source_line_are_hidden(line: str, shown: str) -> None:
    assert innermost_own(LAST.format(line)) == shown
