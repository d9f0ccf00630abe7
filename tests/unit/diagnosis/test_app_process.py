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
PIPE = given(outputs={"1": "pipe:[1]", "2": "pipe:[1]"})
PROXY = given(variables={"HTTP_PROXY": "http://proxy:3128"})
MISSING = "FileNotFoundError: [Errno 2] No such file or directory: '{}'"
_CLIENT = "/srv/venv/lib/python3.12/site-packages/client/api.py"
TERMINAL = given(outputs={"1": "/dev/pts/0 (deleted)", "2": "/dev/pts/0 (deleted)"})
SQLITE_THREAD = (
    "sqlite3.ProgrammingError: SQLite objects created in a thread can only be used in that same thread."
)
POOL = "sqlalchemy.exc.TimeoutError: QueuePool limit of size 2 overflow 1 reached, connection timed out, timeout 30.00"
BUNDLE = "OSError: Could not find a suitable TLS CA certificate bundle, invalid path: /etc/pki/corp.pem"
NO_ROOM = "OSError: [Errno 28] No space left on device"
_SSL = "/usr/lib/python3.12/ssl.py"
RECURSION = f'    w()\n  File "{_SSL}", line 561, in minimum_version\n    super(SSLContext, SSLContext)'


ENVIRON = '/usr/lib/python3.12/os.py", line 679, in __getitem__\n    raise KeyError(key)\n  File "/srv/x.py'
SPAWNS = "/usr/lib/python3.12/subprocess.py"
SHARED = "/usr/lib/python3.12/multiprocessing/synchronize.py"
NO_POOL = "psycopg_pool.PoolTimeout: couldn't get a connection after 30.00 sec"


@pytest.mark.parametrize(
    ("item", "around", "said"),
    [
        (raised(NO_POOL), THREADS, ("cannot be reached", "or every connection is in use", "pg_isready")),
        (
            raised("KeyError: 'PAY_KEY'", "os.environ['PAY_KEY']", ENVIRON),
            given(),
            ("PAY_KEY", "Environment="),
        ),
        (
            raised(MISSING.format("pdf-convert"), "run()", SPAWNS),
            given(path="/usr/bin:/bin", programs={"pdf-convert": ""}),
            ("pdf-convert", "PATH=/usr/bin:/bin", "Install pdf-convert"),
        ),
        (
            raised(MISSING.format("ffmpeg"), "run()", SPAWNS),
            given(path="/usr/bin", programs={"ffmpeg": "/opt/bin/ffmpeg"}),
            ("/opt/bin/ffmpeg", "not on the PATH", "Add /opt/bin"),
        ),
        (
            raised("PermissionError: [Errno 13] Permission denied", "Lock()", SHARED),
            given(shared_memory="0700, uid 65534"),
            ("/dev/shm", "0700, uid 65534", "mode=1777"),
        ),
        (raised(NO_ROOM, "Lock()", SHARED), given(), ("/dev/shm", "full")),
        (
            raised("OSError: [Errno 5] Input/output error", 'print("x")'),
            TERMINAL,
            ("terminal", "capture_output"),
        ),
        (raised("BrokenPipeError: [Errno 32] Broken pipe", "sys.stdout.flush()"), Circumstances(), ("pipe",)),
        (raised("BrokenPipeError: [Errno 32] Broken pipe", 'print("x")'), PIPE, ("pipe",)),
        (
            raised(
                "TimeoutError", "job.result(timeout=1)", "/usr/lib/python3.12/concurrent/futures/_base.py"
            ),
            FORKED,
            ("preload_app",),
        ),
        (
            raised("_queue.Empty", "answer.get(timeout=1)", "/usr/lib/python3.12/queue.py"),
            FORKED,
            ("preload_app",),
        ),
        (raised("OSError: Tunnel connection failed: 403 Forbidden"), PROXY, ("HTTP_PROXY",)),
        (raised("httpx.ProxyError: 407 Proxy Authentication Required"), PROXY, ("HTTP_PROXY",)),
        (raised(MISSING.format("/srv/rates")), given(variables={"RATES": "/srv/rates/"}), ("RATES",)),
        (raised(MISSING.format("/srv/rates/a.csv")), given(variables={"RATES": "/srv/rates"}), ("RATES",)),
        (raised("psycopg2.pool.PoolError: connection pool exhausted"), THREADS, ("threads = 8",)),
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
        # Another file's, a file that is read, a client's answer, or a descriptor of another kind.
        (raised("BrokenPipeError: [Errno 32] Broken pipe", "print(x, file=conn)"), PIPE),
        (
            raised("BrokenPipeError: [Errno 32] Broken pipe", 'print("x")'),
            given(outputs={"1": "/var/log/shop.log"}),
        ),
        (raised("BrokenPipeError: [Errno 32] Broken pipe", "print(client.call(x))", _CLIENT), PIPE),
        (raised("BrokenPipeError: [Errno 32] Broken pipe", "print("), Circumstances()),
        (raised("OSError: [Errno 5] Input/output error", "print(open(p).read())"), TERMINAL),
        (raised("OSError: [Errno 5] Input/output error", 'print("x")'), PIPE),
        (raised("OSError: [Errno 9] Bad file descriptor", "print(x, file=self.f)"), PIPE),
        # A connection that timed out, a loop's own limit, and what does not wait.
        (raised("TimeoutError: [Errno 110] Connection timed out"), FORKED),
        (raised("TimeoutError: timed out", "answer.result(timeout=1)"), FORKED),
        (
            raised("TimeoutError: The read operation timed out", "call()", "/usr/lib/python3.12/ssl.py"),
            FORKED,
        ),
        (raised("TimeoutError", "await call()", "/usr/lib/python3.12/asyncio/timeouts.py"), FORKED),
        (raised("TimeoutError", "client.get(url)", _CLIENT), FORKED),
        (raised("_queue.Empty", "jobs.get_nowait()", "/usr/lib/python3.12/queue.py"), FORKED),
        (raised("queue.Empty", "answers.get()", "/usr/lib/python3.12/multiprocessing/queues.py"), FORKED),
        # Proxies of another kind.
        (raised("TypeError: Object of type LocalProxy is not JSON serializable"), PROXY),
        (raised("AttributeError: 'mappingproxy' object has no attribute 'pop'"), PROXY),
        (raised("ReferenceError: weakly-referenced object no longer exists (proxy)"), PROXY),
        (raised("ValueError: SECURE_PROXY_SSL_HEADER must be a tuple"), PROXY),
        # A directory far above the path, a variable that nobody set, a file's own permission, a missing upload.
        (raised(MISSING.format("/srv/app/uploads/42.png")), given(variables={"APP_HOME": "/srv/app"})),
        (raised(MISSING.format("/tmp/42.png")), given(variables={"TMPDIR": "/tmp"})),
        (raised(MISSING.format("/opt/conda/x")), given(variables={"CONDA_PREFIX": "/opt/conda"})),
        (
            raised("PermissionError: [Errno 13] Permission denied: '/var/log/shop/audit.log'"),
            given(variables={"LOGS_DIRECTORY": "/var/log/shop", "LOG_DIR": "/var/log/shop"}),
        ),
        # Another limit of the same number, another program's disk, a file system that no request fills.
        (raised("OSError: [Errno 28] inotify watch limit reached"), given(temporary_bytes=1 << 20)),
        (
            raised('psycopg2.errors.DiskFull: could not extend file "base/1": No space left on device'),
            given(temporary_bytes=1 << 20),
        ),
        (raised(NO_ROOM), given(temporary_bytes=32 << 30)),
        (raised(NO_ROOM, "request.files", "/usr/lib/python3.12/tempfile.py"), given(temporary=None)),
        # A key of a dictionary, a file of the application's that has a bare name.
        (raised("KeyError: 'PAY_KEY'", "settings['PAY_KEY']"), given()),
        (raised(MISSING.format("rates.csv"), "open('rates.csv')"), given(path="/usr/bin")),
        # A pool that is not used up.
        (raised("psycopg2.pool.PoolError: trying to put unkeyed connection"), THREADS),
        (raised("psycopg2.pool.PoolError: connection pool is closed"), THREADS),
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
