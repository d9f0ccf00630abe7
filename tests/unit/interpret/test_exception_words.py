"""Which kinds of exceptions their own words tell, and which words tell nothing."""

from __future__ import annotations

import pytest

from ops.interpret.exception_words import explained, known_kinds

WORDS = [
    ("locale.Error: unsupported locale setting", "locale"),
    ("sqlite3.DatabaseError: database disk image is malformed", "integrity_check"),
    ("django.db.utils.DatabaseError: file is not a database", "integrity_check"),
    ("jwt.exceptions.ImmatureSignatureError: The token is not yet valid (iat)", "timedatectl"),
    ("google.auth.exceptions.InvalidValue: Token used too early, 1 < 2", "timedatectl"),
    ("smtplib.SMTPServerDisconnected: please run connect() first", "pool_pre_ping"),
    ("psycopg2.OperationalError: server closed the connection unexpectedly", "pool_pre_ping"),
    ('pymysql.err.OperationalError: (2006, "MySQL server has gone away (BrokenPipeError)")', "pool_recycle"),
    ("_pickle.UnpicklingError: Weights only load failed. This file can still be loaded", "weights_only"),
    ("RuntimeError: Attempting to deserialize object on a CUDA device but", "map_location"),
    ("ImportError: /v/_x.so: failed to map segment from shared object", "noexec"),
    ("ValueError: numpy.dtype size changed, may indicate binary incompatibility", "--force-reinstall"),
    ("redis.exceptions.ResponseError: MISCONF Redis is configured to save RDB snapshots", "stop-writes"),
    (
        "redis.exceptions.OutOfMemoryError: OOM command not allowed when used memory > 'maxmemory'.",
        "maxmemory-policy",
    ),
    ("redis.exceptions.ReadOnlyError: READONLY You can't write against a read only replica.", "primary"),
    ("psycopg2.OperationalError: FATAL:  the database system is starting up", "primary"),
    ("psycopg.errors.InsufficientPrivilege: permission denied for table orders", "GRANT"),
    ('psycopg2.OperationalError: FATAL:  database "shop" does not exist', "psql -l"),
    ('psycopg2.OperationalError: FATAL:  no pg_hba.conf entry for host "10.0.0.4"', "pg_hba.conf"),
    ("requests.exceptions.SSLError: [SSL: WRONG_VERSION_NUMBER] wrong version number", "http://"),
    ("ssl.SSLError: [SSL: UNSAFE_LEGACY_RENEGOTIATION_DISABLED] unsafe legacy", "SECLEVEL"),
    ("pymysql.err.DataError: (1366, \"Incorrect string value: '\\\\xF0\\\\x9F' for column\")", "utf8mb4"),
    ("psycopg2.errors.DeadlockDetected: deadlock detected", "pg_blocking_pids"),
    ("sqlite3.IntegrityError: UNIQUE constraint failed: orders.number", "409"),
    ("OSError: We couldn't connect to 'https://huggingface.co' to load the files", "HF_HOME"),
    ("RuntimeError: The session is unavailable because no secret key was set.", "SECRET_KEY"),
    ("RuntimeError: Working outside of application context.", "app.app_context()"),
    ("subprocess.CalledProcessError: Command '['x']' returned non-zero exit status 3.", "stderr"),
    ("requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://a/", "renewed"),
    ("requests.exceptions.HTTPError: 502 Server Error: Bad Gateway for url: https://a/", "curl"),
    ("requests.exceptions.ReadTimeout: Read timed out. (read timeout=5)", "nc -vz"),
    ("OSError: [Errno 99] Cannot assign requested address", "::1"),
    ("OSError: [Errno 101] Network is unreachable", "ip route get"),
    ("ConnectionResetError: [Errno 104] Connection reset by peer", "log of the same second"),
    ("OSError: [Errno 36] File name too long: 'aaa'", "3 bytes"),
    ("OSError: [Errno 27] File too large", "LimitFSIZE"),
    ("OSError: [Errno 122] Disk quota exceeded", "quota -u"),
    ("OSError: [Errno 116] Stale file handle", "findmnt"),
    ("PermissionError: [Errno 1] Operation not permitted: '/srv/a'", "lsattr"),
    ("ModuleNotFoundError: No module named 'openpyxl'", "pip"),
    (
        "redis.exceptions.ConnectionError: Error 111 connecting to 127.0.0.1:6379. Connection refused.",
        "ss -ltnp",
    ),
]


@pytest.mark.parametrize(("exception", "word"), WORDS, ids=lambda value: value[:40])
def test_the_words_tell_the_kind_and_its_step(exception: str, word: str) -> None:
    kind = explained(exception)
    assert kind is not None
    assert word in f"{kind.what.en} {kind.step.en}"


@pytest.mark.parametrize(
    "exception",
    [
        "ValueError: could not convert string to float: 'x'",
        "KeyError: 'entities'",
        "TypeError: 'NoneType' object is not subscriptable",
        "ZeroDivisionError: division by zero",
        "AttributeError: module 'app' has no attribute 'connection'",
        "RuntimeError: the future was cancelled",
        # What the application says itself, of its own data or to its own visitors.
        "ValueError: the date must not be in the future",
        "shop.errors.NotFound: Resource 17 not found",
        "shop.errors.AuthenticationError: wrong password",
        "werkzeug.exceptions.InternalServerError: 500 Internal Server Error: it failed",
        "werkzeug.exceptions.ServiceUnavailable: 503 Service Unavailable: come again",
        "flask_limiter.errors.RateLimitExceeded: 429 Too Many Requests: 5 per 1 minute",
    ],
)
def test_words_of_the_code_alone_tell_nothing(exception: str) -> None:
    assert explained(exception) is None


def test_every_kind_is_told_in_both_languages_and_once() -> None:
    kinds = known_kinds()
    assert len({kind.words.pattern for kind in kinds}) == len(kinds)
    for kind in kinds:
        for text in (kind.what, kind.step):
            assert text.en
            assert any("一" <= letter <= "鿿" for letter in text.zh), text.zh
