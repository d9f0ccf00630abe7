"""What about a process explains an exception, and what does not."""

from __future__ import annotations

import pytest

from ops.diagnosis.checks.app_files import FileRefusal
from ops.diagnosis.checks.app_process import Circumstances, forked_steps, process_refusal
from ops.diagnosis.checks.log_reading import Raised, exception_in
from ops.facts.service_process import ServiceProcess
from ops.text.language import Text
from tests.unit.made_snapshot import TARGET, entry


def raised(exception: str, line: str = "work()", *frames: str) -> Raised:
    """An exception of the application's line ``line``, raised below it in the packages' ``frames``."""
    inner = "".join(f'  File "{frame}", line 7, in inner\n    call()\n' for frame in frames)
    text = (
        "Exception on /x [GET]\nTraceback (most recent call last):\n"
        f'  File "/srv/app/app.py", line 3, in x\n    {line}\n{inner}{exception}'
    )
    found = exception_in(text)
    assert found is not None
    return Raised(entry(text), *found)


def given(**facts: object) -> Circumstances:
    """Circumstances whose process was given ``facts``."""
    return Circumstances(given=ServiceProcess(pid=7, **facts))  # type: ignore[arg-type]


def words(found: FileRefusal | None) -> str:
    """Everything that is said."""
    assert found is not None
    steps = "\n".join(step if isinstance(step, str) else step.en for step in found.fix)
    return f"{found.words.en}\n{steps}\n{[(e.source, str(e.detail)) for e in found.evidence]}"


THREADS = Circumstances(kind="gthread", threads=8)
FORKED = Circumstances(
    is_preloaded=True, config="/srv/app/gunicorn.conf.py", given=ServiceProcess(pid=7, master_threads=3)
)
TERMINAL = given(outputs={"1": "/dev/pts/0 (deleted)", "2": "/dev/pts/0 (deleted)"})
SQLITE_THREAD = (
    "sqlite3.ProgrammingError: SQLite objects created in a thread can only be used in that same thread."
)
POOL = "sqlalchemy.exc.TimeoutError: QueuePool limit of size 2 overflow 1 reached, connection timed out, timeout 30.00"
BUNDLE = "OSError: Could not find a suitable TLS CA certificate bundle, invalid path: /etc/pki/corp.pem"
NO_ROOM = "OSError: [Errno 28] No space left on device"
_SSL = "/usr/lib/python3.12/ssl.py"
RECURSION = f'    w()\n  File "{_SSL}", line 561, in minimum_version\n    super(SSLContext, SSLContext)'


@pytest.mark.parametrize(
    ("item", "around", "said"),
    [
        (
            raised("OSError: [Errno 5] Input/output error", 'print("x")'),
            TERMINAL,
            ("terminal", "capture_output"),
        ),
        (raised("BrokenPipeError: [Errno 32] Broken pipe", "sys.stdout.flush()"), Circumstances(), ("pipe",)),
        (raised(SQLITE_THREAD), THREADS, ("threads = 8", "check_same_thread", "worker_class = 'sync'")),
        (
            raised("RuntimeError: There is no current event loop in thread 'ThreadPoolExecutor-0_0'."),
            THREADS,
            ("asyncio.run(", "/srv/app/app.py:3"),
        ),
        (
            raised("ValueError: signal only works in main thread of the main interpreter"),
            THREADS,
            ("post_worker_init",),
        ),
        (raised(POOL), THREADS, ("fewer connections (3)", "threads = 8", "pool_size")),
        (raised(POOL), Circumstances(kind="sync"), ("never given back",)),
        (raised(POOL), Circumstances(kind="gevent"), ("fewer connections (3)", "worker_class gevent")),
        (raised("_queue.Empty", "answer.get(timeout=1)"), FORKED, ("preload_app", "3 threads", "fork")),
        (raised("TimeoutError", "future.result(timeout=1)"), FORKED, ("preload_app",)),
        (
            raised("RecursionError: maximum recursion depth exceeded", RECURSION),
            Circumstances(kind="gevent", config="/srv/gunicorn.conf.py"),
            ("monkey.patch_all()", "/srv/gunicorn.conf.py"),
        ),
        (
            raised(BUNDLE),
            given(variables={"REQUESTS_CA_BUNDLE": "/etc/pki/corp.pem"}),
            ("REQUESTS_CA_BUNDLE",),
        ),
        (
            raised("PermissionError: [Errno 13] Permission denied: '/home/a/.cache/models'"),
            given(variables={"HOME": "/home/a", "XDG_CACHE_HOME": "/home/a/.cache"}),
            ("XDG_CACHE_HOME",),
        ),
        (
            raised("requests.exceptions.ProxyError: Unable to connect to proxy"),
            given(variables={"HTTPS_PROXY": "http://proxy:3128"}),
            ("HTTPS_PROXY", "NO_PROXY", "http://proxy:3128"),
        ),
        (
            raised(NO_ROOM, "request.files", "/usr/lib/python3.12/tempfile.py"),
            given(temporary="/tmp", temporary_bytes=1 << 20),
            ("/tmp, 1 MiB", "TMPDIR"),
        ),
        (raised(NO_ROOM), given(temporary="/tmp", temporary_bytes=1 << 20), ("most likely", "TMPDIR")),
    ],
    ids=lambda value: value.exception[:40] if isinstance(value, Raised) else "",
)
def test_the_process_explains_the_exception(
    item: Raised, around: Circumstances, said: tuple[str, ...]
) -> None:
    found = words(process_refusal(item, around, TARGET))
    assert [word for word in said if word not in found] == []


def test_the_place_of_a_setting_is_worded_in_each_language() -> None:
    around = Circumstances(is_preloaded=True, given=ServiceProcess(pid=7, master_threads=3))
    (first, *_) = [step for step in forked_steps(around, TARGET) if isinstance(step, Text)]
    assert "gunicorn's command line" in first.en
    assert "gunicorn 的命令行" in first.zh
    assert FORKED.place.zh == "/srv/app/gunicorn.conf.py"


@pytest.mark.parametrize(
    ("item", "around"),
    [
        # Not what is printed: a client, or a device.
        (raised("BrokenPipeError: [Errno 32] Broken pipe", "connection.sendall(data)"), TERMINAL),
        (raised("OSError: [Errno 5] Input/output error", "file.read()"), TERMINAL),
        (
            raised("OSError: [Errno 5] Input/output error", 'print("x")'),
            given(outputs={"1": "/var/log/shop.log"}),
        ),
        # No thread that the master has and the workers have not.
        (
            raised("_queue.Empty"),
            Circumstances(is_preloaded=True, given=ServiceProcess(pid=7, master_threads=1)),
        ),
        (raised("_queue.Empty"), Circumstances(given=ServiceProcess(pid=7, master_threads=3))),
        (raised("TimeoutError: the read operation timed out"), Circumstances(kind="gthread")),
        # A recursion of the application's own, and one without gevent.
        (raised("RecursionError: maximum recursion depth exceeded"), Circumstances(kind="gevent")),
        (raised("RecursionError: maximum recursion depth exceeded", RECURSION), THREADS),
        # A file in the home is there for many reasons; words that are of no file.
        (
            raised("FileNotFoundError: [Errno 2] No such file or directory: '/home/a/app/rates.csv'"),
            given(variables={"HOME": "/home/a"}),
        ),
        (raised("ValueError: bad row 3 of /srv/data/rates.csv"), given(variables={"DATA_DIR": "/srv/data"})),
        # The file is named, or a full file system is seen.
        (raised(f"{NO_ROOM}: '/srv/media/a.wav'"), given(temporary="/tmp")),
        (raised(NO_ROOM), given(temporary="/tmp")._replace(is_disk_full=True)),
    ],
    ids=lambda value: value.exception[:40] if isinstance(value, Raised) else "",
)
def test_it_is_not_blamed_for_others(item: Raised, around: Circumstances) -> None:
    assert process_refusal(item, around, TARGET) is None
