"""Exceptions whose cause is not the line that raises them."""

from __future__ import annotations

import pytest

from ops.diagnosis.checks.app_surroundings import surroundings
from ops.facts.target import Target
from tests.unit.made_snapshot import HEALTHY

CASES: list[object] = []


@pytest.mark.parametrize(
    ("exception", "step"),
    [
        ("UnicodeEncodeError: 'ascii' codec can't encode characters in position 28-29", "LC_ALL=C.UTF-8"),
        ("sqlite3.OperationalError: no such table: orders", "migrate"),
        ('psycopg2.errors.UndefinedTable: relation "orders" does not exist', "migrate"),
        ("sqlite3.OperationalError: database is locked", "WAL"),
        ("psycopg2.OperationalError: FATAL:  sorry, too many clients already", "max_connections"),
        ('psycopg2.OperationalError: FATAL:  password authentication failed for user "shop"', "password"),
        ("redis.exceptions.ConnectionError: Error 111 connecting to localhost:6379. Refused.", "ss -ltnp"),
        ("socket.gaierror: [Errno -2] Name or service not known", "getent hosts"),
        (
            "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
            "certifi",
        ),
        ("ValueError: Missing staticfiles manifest entry for 'css/app.css'", "collectstatic"),
        ("jinja2.exceptions.TemplateNotFound: mail.html", "template"),
        ("OSError: [Errno 28] No space left on device", "df -i"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 MiB", "nvidia-smi"),
    ],
)
def test_the_step_is_about_what_the_exception_is_about(exception: str, step: str) -> None:
    assert isinstance(HEALTHY.target, Target)
    advice = surroundings(exception, HEALTHY.target)
    assert advice is not None
    assert step in "\n".join(s if isinstance(s, str) else s.en for s in advice.fix)


@pytest.mark.parametrize(
    "exception",
    [
        "KeyError: 'entities'",
        "ValueError: invalid literal for int()",
        "UnicodeDecodeError: 'utf-8' codec can't decode",
    ],
)
def test_a_fault_of_the_code_stays_one(exception: str) -> None:
    assert isinstance(HEALTHY.target, Target)
    assert surroundings(exception, HEALTHY.target) is None
