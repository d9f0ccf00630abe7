"""Settings of the service, read once from ``GTE_*`` environment variables into typed, frozen values.

The environment is the one thing that systemd (``EnvironmentFile=``), a shell and a container all hand to a
process, so it is the only source. ``docs/api.md`` lists every variable.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "GTE_"
# Variables of the toolkit, which may share the environment.
_TOOLKIT_PREFIX = "GTE_OPS_"


class SettingsError(ValueError):
    """A variable that cannot be used; the message is one line, names the variable and says what it takes."""


@dataclass(frozen=True)
class Settings:
    """What the application needs to know.

    ``max_concurrent`` predictions run at once in a worker process and ``max_queue`` more may wait, each for
    at most ``queue_timeout`` seconds. Together they stay below ``threads``, so that a thread is always left
    for ``/health``, ``/ready`` and ``/metrics``.
    """

    engine: str  # "auto": the model in model_dir, else the embedded default; "embedded": always the latter
    model_dir: Path | None
    model_download: bool  # whether the two directories are filled from ModelScope's hub where they are empty
    uninlu_dir: Path | None  # universal extraction model, for the tasks it can answer
    trust_remote_code: bool  # whether a model may bring code of its own
    extract_timeout: float  # seconds that one extraction may take
    model_threads: int  # OpenMP threads of one encoder call
    precision: str  # of GTE's weights and products: "auto", "float32", "bfloat16" or "int8"
    max_tokens: int  # tokens of one text that GTE reads, [CLS] and [SEP] included
    batch_tokens: int  # tokens of one batch of GTE
    result_cache: int  # GTE's vectors that are kept; 0: none
    load_wait: float  # seconds that a prediction waits for engines that are still loading
    max_text_chars: int  # Unicode characters of one text
    max_batch: int  # texts in one request
    max_batch_chars: int  # Unicode characters of all texts of one request
    max_body_bytes: int
    threads: int  # gunicorn's threads per worker; the bound for the two below
    max_concurrent: int
    max_queue: int
    queue_timeout: float  # seconds
    prediction_timeout: float  # seconds, see service/admission/deadline.py
    progress_dir: Path
    api_keys_file: Path | None  # None: whoever reaches the service may ask it for predictions


@dataclass(frozen=True)
class ServerSettings:
    """What gunicorn needs to know beside the application; ``gunicorn_conf.py`` says why for each default."""

    bind: str
    pidfile: str | None
    access_log: str | None
    error_log: str
    log_level: str
    workers: int
    worker_class: str
    timeout: int  # seconds without a heartbeat before a worker is killed
    graceful_timeout: int  # seconds that requests in flight may take to end after a stop
    keepalive: int  # seconds an idle connection is kept
    max_requests: int
    max_requests_jitter: int
    control_socket: str | None
    metrics_dir: str | None
    forwarded_allow_ips: str


_DEFAULT_THREADS = 32
# GTE's requests wait inside, so that a batch can be chosen among all of them; each holds a thread.
_DEFAULT_THREADS_GTE = 80
# Threads that predictions never take: one each for /health, /ready, /metrics and the page.
_RESERVED_THREADS = 4

_LARGEST = 2**31 - 1
_LONGEST = 86_400  # seconds

_SETTINGS_NAMES = frozenset(
    PREFIX + name
    for name in [
        "ENGINE",
        "MODEL_DIR",
        "MODEL_DOWNLOAD",
        "UNINLU_DIR",
        "TRUST_REMOTE_CODE",
        "EXTRACT_TIMEOUT",
        "MODEL_THREADS",
        "PRECISION",
        "MAX_TOKENS",
        "BATCH_TOKENS",
        "RESULT_CACHE",
        "LOAD_WAIT",
        "MAX_TEXT_CHARS",
        "MAX_BATCH",
        "MAX_BATCH_CHARS",
        "MAX_BODY_BYTES",
        "THREADS",
        "MAX_CONCURRENT",
        "MAX_QUEUE",
        "QUEUE_TIMEOUT",
        "PREDICTION_TIMEOUT",
        "PROGRESS_DIR",
        "API_KEYS_FILE",
        "BIND",
        "PIDFILE",
        "ACCESS_LOG",
        "ERROR_LOG",
        "LOG_LEVEL",
        "WORKERS",
        "WORKER_CLASS",
        "TIMEOUT",
        "GRACEFUL_TIMEOUT",
        "KEEPALIVE",
        "MAX_REQUESTS",
        "MAX_REQUESTS_JITTER",
        "CONTROL_SOCKET",
        "METRICS_DIR",
        "FORWARDED_ALLOW_IPS",
    ]
)


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The application's settings.

    Raises:
        SettingsError: a variable is malformed, out of range, or contradicts another.
    """
    # A sync worker has one thread, whatever else is asked for.
    is_sync = _worker_class(environ) == "sync"
    model_dir = environ.get(PREFIX + "MODEL_DIR", "")
    engine = _choice(environ, "ENGINE", "auto", ("auto", "embedded"))
    is_gte = engine == "auto" and bool(model_dir)
    default_threads = _DEFAULT_THREADS_GTE if is_gte else _DEFAULT_THREADS
    threads = 1 if is_sync else _integer(environ, "THREADS", default_threads, least=1)
    reserved = min(_RESERVED_THREADS, threads - 1)
    places = max(1, threads - reserved)
    # GTE has a queue of its own, which is bounded by the time it takes to compute what is in it.
    concurrent = _integer(
        environ, "MAX_CONCURRENT", places if is_gte else min(os.cpu_count() or 1, places), least=1
    )
    queue = _integer(environ, "MAX_QUEUE", max(0, threads - reserved - concurrent), least=0)
    if threads > 1 and concurrent + queue >= threads:
        raise SettingsError(
            f"{PREFIX}MAX_CONCURRENT + {PREFIX}MAX_QUEUE = {concurrent + queue} must stay below"
            f" {PREFIX}THREADS = {threads}, else no thread is left to answer /health"
        )
    keys_file = environ.get(PREFIX + "API_KEYS_FILE", "")
    uninlu_dir = environ.get(PREFIX + "UNINLU_DIR", "")
    model_download = _choice(environ, "MODEL_DOWNLOAD", "0", ("0", "1")) == "1"
    if model_download and not model_dir and not uninlu_dir:
        raise SettingsError(
            f"{PREFIX}MODEL_DOWNLOAD=1: set {PREFIX}MODEL_DIR, the directory to download into"
        )
    return Settings(
        engine=engine,
        model_dir=Path(model_dir) if model_dir else None,
        model_download=model_download,
        uninlu_dir=Path(uninlu_dir) if uninlu_dir else None,
        trust_remote_code=_choice(environ, "TRUST_REMOTE_CODE", "0", ("0", "1")) == "1",
        extract_timeout=_seconds(environ, "EXTRACT_TIMEOUT", 20.0),
        model_threads=_integer(
            environ, "MODEL_THREADS", len(os.sched_getaffinity(0)) if is_gte else 1, least=1
        ),
        precision=_choice(environ, "PRECISION", "auto", ("auto", "float32", "bfloat16", "int8")),
        max_tokens=_integer(environ, "MAX_TOKENS", 512, least=3),
        batch_tokens=_integer(environ, "BATCH_TOKENS", 512, least=1),
        result_cache=_integer(environ, "RESULT_CACHE", 0, least=0),
        load_wait=_seconds(environ, "LOAD_WAIT", 5.0),
        max_text_chars=_integer(environ, "MAX_TEXT_CHARS", 5000, least=1),
        max_batch=_integer(environ, "MAX_BATCH", 256, least=1),
        max_batch_chars=_integer(environ, "MAX_BATCH_CHARS", 10_000, least=1),
        max_body_bytes=_integer(environ, "MAX_BODY_BYTES", 1024 * 1024, least=1),
        threads=threads,
        max_concurrent=concurrent,
        max_queue=queue,
        queue_timeout=_seconds(environ, "QUEUE_TIMEOUT", 20.0 if is_gte else 10.0),
        prediction_timeout=_seconds(environ, "PREDICTION_TIMEOUT", 60.0),
        progress_dir=Path(environ.get(PREFIX + "PROGRESS_DIR") or "/run/gte-api/progress"),
        api_keys_file=Path(keys_file) if keys_file else None,
    )


def read_server_settings(environ: Mapping[str, str] = os.environ) -> ServerSettings:
    """Gunicorn's settings.

    Raises:
        SettingsError: a variable is malformed or out of range.
    """
    return ServerSettings(
        bind=environ.get(PREFIX + "BIND") or "127.0.0.1:8000",
        pidfile=environ.get(PREFIX + "PIDFILE") or None,
        # "off" rather than an empty value: an empty line in an EnvironmentFile is a forgotten one.
        access_log=_optional(environ, "ACCESS_LOG", "-"),
        error_log=environ.get(PREFIX + "ERROR_LOG") or "-",
        log_level=_choice(environ, "LOG_LEVEL", "info", ("debug", "info", "warning", "error", "critical")),
        workers=_integer(environ, "WORKERS", 1, least=1),
        worker_class=_worker_class(environ),
        timeout=_integer(environ, "TIMEOUT", 30, least=1),
        graceful_timeout=_integer(environ, "GRACEFUL_TIMEOUT", 30, least=1),
        keepalive=_integer(environ, "KEEPALIVE", 75, least=0),
        max_requests=_integer(environ, "MAX_REQUESTS", 100_000, least=0),
        max_requests_jitter=_integer(environ, "MAX_REQUESTS_JITTER", 10_000, least=0),
        control_socket=_optional(environ, "CONTROL_SOCKET", ""),
        metrics_dir=environ.get(PREFIX + "METRICS_DIR") or environ.get("PROMETHEUS_MULTIPROC_DIR") or None,
        forwarded_allow_ips=environ.get(PREFIX + "FORWARDED_ALLOW_IPS") or "127.0.0.1,::1",
    )


def unknown_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """``GTE_*`` variables that nothing reads, sorted: most likely misspelt."""
    return sorted(
        name
        for name in environ
        if name.startswith(PREFIX) and not name.startswith(_TOOLKIT_PREFIX) and name not in _SETTINGS_NAMES
    )


def _worker_class(environ: Mapping[str, str]) -> str:
    return _choice(environ, "WORKER_CLASS", "gthread", ("gthread", "sync"))


def _optional(environ: Mapping[str, str], name: str, default: str) -> str | None:
    value = environ.get(PREFIX + name) or default
    return None if value in ("", "off") else value


def _choice(environ: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = environ.get(PREFIX + name) or default
    if value not in choices:
        raise SettingsError(f"{PREFIX}{name}={value!r}: expected one of {', '.join(choices)}")
    return value


def _integer(environ: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environ.get(PREFIX + name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise SettingsError(f"{PREFIX}{name}={text!r}: expected a whole number") from None
    if not least <= value <= _LARGEST:
        raise SettingsError(f"{PREFIX}{name}={text!r}: expected a whole number from {least} to {_LARGEST}")
    return value


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(PREFIX + name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{PREFIX}{name}={text!r}: expected a number of seconds") from None
    # Written so that "nan" fails it too.
    if not 0 <= value <= _LONGEST:
        raise SettingsError(f"{PREFIX}{name}={text!r}: expected a number of seconds from 0 to {_LONGEST}")
    return value
