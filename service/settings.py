"""Settings of the service, read once from ``GTE_*`` environment variables into typed, frozen values.

systemd (``EnvironmentFile=``), a shell and a container can all set the environment of a process, so it is the only
source. A field's variable is ``GTE_`` and its name in capitals. Each field is documented beside its type, in both
languages: ``scripts/reference`` generates ``docs/configuration.md`` from that.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from service.language import Message

PREFIX = "GTE_"
# Variables of the toolkit, which may share the environment.
_TOOLKIT_PREFIX = "GTE_OPS_"


class SettingsError(ValueError):
    """A variable has an unusable value; the message is one line with the variable and what it accepts. In logs, which
    programs read, it is English."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.en)
        self.message = message


def _unusable(name: str, value: str, en: str, zh: str) -> SettingsError:
    shown = f"{PREFIX}{name}={value!r}"
    return SettingsError(Message(en=f"{shown}: expected {en}", zh=f"{shown}：应为{zh}"))


@dataclass(frozen=True)
class Variable:
    """The meaning of a variable, in English and Chinese.

    ``example``: as in the environment; ``since``: the version that introduced it; ``unit``: of a number; ``default``:
    in both languages, if there is no default or it depends on something else."""

    en: str
    zh: str
    example: str
    since: str
    unit: str = ""
    default: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Settings:
    """The application's settings.

    ``max_concurrent`` predictions compute at once in a worker process and ``max_queue`` more may be inside, each
    waiting for at most ``queue_timeout`` seconds. Together they stay below ``threads``, so that a thread is always left
    for ``/health``, ``/ready`` and ``/metrics``.
    """

    engine: Annotated[
        str,
        Variable(
            "`auto`: the model in GTE_MODEL_DIR if that is set, else the embedded default; `embedded`:"
            " always the embedded default.",
            "`auto`：设了 GTE_MODEL_DIR 就用其中的模型，否则用内置默认；`embedded`：总用内置默认。",
            example="embedded",
            since="0.1.0",
        ),
    ]
    model_dir: Annotated[
        Path | None,
        Variable(
            "Directory of the GTE-large model.",
            "GTE-large 模型所在目录。",
            example="/srv/gte",
            since="0.1.0",
            default=("none: the embedded default serves", "无：使用内置默认"),
        ),
    ]
    model_download: Annotated[
        bool,
        Variable(
            "`1`: download a missing or empty GTE_MODEL_DIR or GTE_UNINLU_DIR from ModelScope's hub.",
            "`1`：GTE_MODEL_DIR 或 GTE_UNINLU_DIR 不存在或为空时从 ModelScope hub 下载。",
            example="1",
            since="0.1.0",
        ),
    ]
    uninlu_dir: Annotated[
        Path | None,
        Variable(
            "Directory of a UniNLU model, which then answers ner, relation, event, sentiment,"
            " classification and qa.",
            "UniNLU 模型目录；设置后由它回答 ner、relation、event、sentiment、classification、qa。",
            example="/srv/uninlu",
            since="0.1.0",
            default=("none", "无"),
        ),
    ]
    trust_remote_code: Annotated[
        bool,
        Variable(
            "`1`: code in a model's directory may run, as this service.",
            "`1`：允许运行模型目录中的代码，以本服务的身份运行。",
            example="1",
            since="0.1.0",
        ),
    ]
    extract_timeout: Annotated[
        float,
        Variable(
            "How long one answer of the UniNLU model may take; then 504 `timeout`.",
            "UniNLU 模型一次回答最多用的时间，超过则 504 `timeout`。",
            example="30",
            since="0.1.0",
            unit="seconds",
        ),
    ]
    model_threads: Annotated[
        int,
        Variable(
            "OpenMP threads of one encoder call.",
            "编码器一次调用的 OpenMP 线程数。",
            example="2",
            since="0.1.0",
            unit="threads",
            default=("1; with GTE_MODEL_DIR all cores", "1；设了 GTE_MODEL_DIR 时为全部核心"),
        ),
    ]
    precision: Annotated[
        str,
        Variable(
            "Precision of GTE-large's weights and products: `auto` (bfloat16 where it is faster, else"
            " float32), `float32`, `bfloat16` or `int8`.",
            "GTE-large 权重和运算的精度：`auto`（bfloat16 更快则用它，否则 float32）、`float32`、"
            "`bfloat16`、`int8`。",
            example="bfloat16",
            since="0.1.0",
        ),
    ]
    max_tokens: Annotated[
        int,
        Variable(
            "Tokens of a text that GTE-large reads, [CLS] and [SEP] included; never more than the model's"
            " own limit.",
            "GTE-large 读取一条文本的 token 数，含 [CLS] 和 [SEP]，不超过模型自身的上限。",
            example="256",
            since="0.1.0",
            unit="tokens",
        ),
    ]
    batch_tokens: Annotated[
        int,
        Variable(
            "Tokens of one batch of GTE-large.",
            "GTE-large 一个批次的 token 数。",
            example="1024",
            since="0.1.0",
            unit="tokens",
        ),
    ]
    result_cache: Annotated[
        int,
        Variable(
            "How many recent texts' vectors GTE-large caches; 0: none.",
            "GTE-large 缓存多少条最近文本的向量；0 表示不缓存。",
            example="10000",
            since="0.1.0",
            unit="vectors",
        ),
    ]
    load_wait: Annotated[
        float,
        Variable(
            "How long a prediction waits for engines that are still loading.",
            "引擎加载期间预测最多等待的时间。",
            example="10",
            since="0.1.0",
            unit="seconds",
        ),
    ]
    max_text_chars: Annotated[
        int,
        Variable(
            "Length limit of one text; a longer one is refused with 400 `text_too_long`.",
            "单条文本的最大长度，超过则 400 `text_too_long`。",
            example="2000",
            since="0.1.0",
            unit="characters",
        ),
    ]
    max_batch: Annotated[
        int,
        Variable(
            "Limit of texts in one request.",
            "一个请求最多的文本条数。",
            example="64",
            since="0.1.0",
            unit="texts",
        ),
    ]
    max_batch_chars: Annotated[
        int,
        Variable(
            "Limit of characters in all texts of one request. The body's size and GTE_PREDICTION_TIMEOUT bound a"
            " request anyway.",
            "一个请求所有文本的总字数上限。请求体大小和 GTE_PREDICTION_TIMEOUT 本来就限制了一个请求。",
            example="50000",
            since="0.1.0",
            unit="characters",
            default=("GTE_MAX_BODY_BYTES: no further bound", "GTE_MAX_BODY_BYTES：不再另设上限"),
        ),
    ]
    max_body_bytes: Annotated[
        int,
        Variable(
            "Largest request body; a larger one is refused with 413 `payload_too_large`. Whatever the limit, a chunked"
            " body has at most 8,191 chunks.",
            "请求体的最大字节数，超过则 413 `payload_too_large`。不论上限多大，分块传输最多 8191 个分块。",
            example="4194304",
            since="0.1.0",
            unit="bytes",
        ),
    ]
    threads: Annotated[
        int,
        Variable(
            "gunicorn's threads in each worker; each request that runs or waits holds one. A sync worker"
            " has 1.",
            "每个工作进程的 gunicorn 线程数；每个处理中或排队的请求占用一个。sync 工作进程只有 1 个。",
            example="64",
            since="0.1.0",
            unit="threads",
            default=("32; with GTE_MODEL_DIR 80", "32；设了 GTE_MODEL_DIR 时为 80"),
        ),
    ]
    max_concurrent: Annotated[
        int,
        Variable(
            "Predictions that compute at once in a worker: as many in request threads (LAC, rules) and as many texts in"
            " the embedded encoder's own threads. GTE-large and UniNLU compute in processes of their own.",
            "一个工作进程中同时计算的预测数：请求线程中（LAC、规则）这么多，内置编码器自己的线程中也是这么多条文本。"
            "GTE-large 和 UniNLU 在各自的进程中计算。",
            example="4",
            since="0.1.0",
            unit="predictions",
            default=("number of cores", "核心数"),
        ),
    ]
    max_queue: Annotated[
        int,
        Variable(
            "Further predictions that may be inside a worker. With GTE_MAX_CONCURRENT it stays below GTE_THREADS, so"
            " that a thread is left for /health. No client holds more than three quarters of the places of both.",
            "一个工作进程中还可容纳的预测数。与 GTE_MAX_CONCURRENT 之和须小于 GTE_THREADS，"
            "以便留出线程应答 /health。任何客户端最多占用二者名额总和的四分之三。",
            example="16",
            since="0.1.0",
            unit="predictions",
            default=("GTE_THREADS − 4 − GTE_MAX_CONCURRENT", "GTE_THREADS − 4 − GTE_MAX_CONCURRENT"),
        ),
    ]
    queue_timeout: Annotated[
        float,
        Variable(
            "How long a prediction waits in the queue at most.",
            "预测最多排队的时间。",
            example="5",
            since="0.1.0",
            unit="seconds",
            default=("10; with GTE_MODEL_DIR 20", "10；设了 GTE_MODEL_DIR 时为 20"),
        ),
    ]
    prediction_timeout: Annotated[
        float,
        Variable(
            "How long a prediction may take, its wait included; then 504 `timeout`. Keep nginx's"
            " `proxy_read_timeout` above it.",
            "一次预测最多用的时间，包括排队，超过则 504 `timeout`。nginx 的 `proxy_read_timeout` 要比它大。",
            example="30",
            since="0.1.0",
            unit="seconds",
        ),
    ]
    progress_dir: Annotated[
        Path,
        Variable(
            "Directory of the workers' progress records, one per instance, on tmpfs.",
            "工作进程进度记录的目录，每个实例一个，放在 tmpfs 上。",
            example="/run/gte-api-2/progress",
            since="0.1.0",
        ),
    ]
    api_keys_file: Annotated[
        Path | None,
        Variable(
            "File of API keys, made by `python -m service.keys`.",
            "API 密钥文件，由 `python -m service.keys` 生成。",
            example="/etc/gte-api/keys.json",
            since="0.1.0",
            default=("none: no key is needed", "无：不需要密钥"),
        ),
    ]
    rate: Annotated[
        str | None,
        Variable(
            "Predictions of one client per second (`10r/s`) or minute (`600r/m`), in each worker; others get 429"
            " `rate_limited`. A client is an accepted API key, else an address.",
            "每个客户端每秒（`10r/s`）或每分钟（`600r/m`）的预测数，按工作进程计；超出的得到 429 `rate_limited`。"
            "客户端指有效的 API 密钥，没有密钥时指地址。",
            example="600r/m",
            since="0.3.0",
            default=("none: nginx's limit alone", "无：只有 nginx 的限流"),
        ),
    ]
    burst: Annotated[
        int,
        Variable(
            "Predictions of one client above GTE_RATE that are taken at once; refused at the start without GTE_RATE.",
            "每个客户端超出 GTE_RATE 后仍立即接受的预测数；未设 GTE_RATE 时拒绝启动。",
            example="200",
            since="0.3.0",
            unit="predictions",
        ),
    ]
    cors_origins: Annotated[
        tuple[str, ...],
        Variable(
            "Origins whose pages may call the API from a browser, separated by commas (`https://app.example.com`), or"
            " `*` for all.",
            "允许其网页在浏览器中调用 API 的来源，以逗号分隔（`https://app.example.com`），`*` 表示全部。",
            example="https://app.example.com",
            since="0.3.0",
            default=("none", "无"),
        ),
    ]


@dataclass(frozen=True)
class ServerSettings:
    """Gunicorn's settings; ``gunicorn_conf.py`` explains the defaults."""

    bind: Annotated[
        str,
        Variable(
            "Address that gunicorn listens on, HOST:PORT or unix:PATH. Keep it private: the public side"
            " is nginx's.",
            "gunicorn 监听的地址，主机:端口 或 unix:路径。不要对外开放，对外由 nginx 负责。",
            example="unix:/run/gte-api/gunicorn.sock",
            since="0.1.0",
        ),
    ]
    pidfile: Annotated[
        str | None,
        Variable(
            "gunicorn's pidfile.",
            "gunicorn 的 pidfile。",
            example="/run/gte-api/gunicorn.pid",
            since="0.1.0",
            default=("none", "无"),
        ),
    ]
    access_log: Annotated[
        str | None,
        Variable(
            "Access log: a path, `-` for standard output, or `off`.",
            "访问日志：路径、`-`（标准输出）或 `off`。",
            example="/var/log/gte-api/access.log",
            since="0.1.0",
        ),
    ]
    error_log: Annotated[
        str,
        Variable(
            "Error log: a path, or `-` for standard error.",
            "错误日志：路径或 `-`（标准错误）。",
            example="/var/log/gte-api/error.log",
            since="0.1.0",
        ),
    ]
    log_level: Annotated[
        str,
        Variable(
            "Lowest level that is logged: `debug`, `info`, `warning`, `error` or `critical`.",
            "记录日志的最低级别：`debug`、`info`、`warning`、`error`、`critical`。",
            example="warning",
            since="0.1.0",
        ),
    ]
    workers: Annotated[
        int,
        Variable(
            "Worker processes. Each has its own engines; with GTE_MODEL_DIR or GTE_UNINLU_DIR each holds"
            " a copy of the weights.",
            "工作进程数。每个都有自己的引擎；设了 GTE_MODEL_DIR 或 GTE_UNINLU_DIR 时每个都持有一份权重。",
            example="2",
            since="0.1.0",
            unit="processes",
        ),
    ]
    worker_class: Annotated[
        str,
        Variable(
            "`gthread`, or `sync` (one thread, which answers /health only between predictions).",
            "`gthread`，或 `sync`（单线程，只在两次预测之间应答 /health）。",
            example="sync",
            since="0.1.0",
        ),
    ]
    timeout: Annotated[
        int,
        Variable(
            "Time without a heartbeat after which a worker is killed. Keep nginx's"
            " `proxy_read_timeout` above it.",
            "工作进程多久没有心跳就被杀掉。nginx 的 `proxy_read_timeout` 要比它大。",
            example="60",
            since="0.1.0",
            unit="seconds",
        ),
    ]
    graceful_timeout: Annotated[
        int,
        Variable(
            "How long requests in flight may take to end after a stop.",
            "停止后留给处理中请求的时间。",
            example="60",
            since="0.1.0",
            unit="seconds",
        ),
    ]
    keepalive: Annotated[
        int,
        Variable(
            "How long an idle connection is kept. Keep nginx's upstream `keepalive_timeout` below it.",
            "空闲连接保持的时间。nginx upstream 的 `keepalive_timeout` 要比它小。",
            example="120",
            since="0.1.0",
            unit="seconds",
        ),
    ]
    max_requests: Annotated[
        int,
        Variable(
            "Requests after which a worker is recycled; 0: never.",
            "工作进程处理这么多请求后更换；0 表示从不。",
            example="50000",
            since="0.1.0",
            unit="requests",
        ),
    ]
    max_requests_jitter: Annotated[
        int,
        Variable(
            "Up to so many requests are added to GTE_MAX_REQUESTS at random, so that workers are not"
            " recycled together.",
            "在 GTE_MAX_REQUESTS 上随机增加的请求数上限，避免工作进程同时更换。",
            example="5000",
            since="0.1.0",
            unit="requests",
        ),
    ]
    control_socket: Annotated[
        str | None,
        Variable(
            "Path of gunicorn's control socket (gunicorn 25 or later), one per instance; `off`: none.",
            "gunicorn（25 及以上）控制 socket 的路径，每个实例一个；`off` 表示不使用。",
            example="/run/gte-api/control.sock",
            since="0.1.0",
            default=("none", "无"),
        ),
    ]
    metrics_dir: Annotated[
        str | None,
        Variable(
            "Directory of the metrics' files, emptied at the start.",
            "指标文件的目录，启动时清空。",
            example="/run/gte-api/metrics",
            since="0.1.0",
            default=(
                "PROMETHEUS_MULTIPROC_DIR, else a temporary directory",
                "PROMETHEUS_MULTIPROC_DIR，否则为临时目录",
            ),
        ),
    ]
    forwarded_allow_ips: Annotated[
        str,
        Variable(
            "Proxies whose X-Forwarded-* headers are trusted: addresses separated by commas, or `*`.",
            "信任其 X-Forwarded-* 头的代理：以逗号分隔的地址，或 `*`。",
            example="10.0.0.2",
            since="0.1.0",
        ),
    ]


_DEFAULT_THREADS = 32
# GTE's requests wait in a queue inside, each in a thread, so that batches are chosen from all of them.
_DEFAULT_THREADS_GTE = 80
# Threads that predictions never use: one each for /health, /ready, /metrics and the page.
_RESERVED_THREADS = 4

_BIND = re.compile(r"unix:.+|fd://\d+|(?!\d+$)(?:\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]/\s]*)(?::(?P<port>\d{1,5}))?")
_RATE = re.compile(r"[1-9][0-9]{0,5}r/[sm]")
# Browsers send it in small letters and without a path; Electron's pages have schemes of their own (app://obsidian.md).
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:_-]+")

_LARGEST = 2**31 - 1
_LONGEST = 86_400  # seconds

_SETTINGS_NAMES = frozenset(
    PREFIX + field.name.upper() for kind in (Settings, ServerSettings) for field in fields(kind)
)


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The application's settings.

    Raises:
        SettingsError: a variable is malformed, out of range, or contradicts another.
    """
    model_dir = environ.get(PREFIX + "MODEL_DIR", "")
    engine = _choice(environ, "ENGINE", "auto", ("auto", "embedded"))
    is_gte = engine == "auto" and bool(model_dir)
    threads, concurrent, queue = _places(environ, is_gte)
    keys_file = environ.get(PREFIX + "API_KEYS_FILE", "")
    uninlu_dir = environ.get(PREFIX + "UNINLU_DIR", "")
    model_download = _choice(environ, "MODEL_DOWNLOAD", "0", ("0", "1")) == "1"
    if model_download and not model_dir and not uninlu_dir:
        raise SettingsError(
            Message(
                en=f"{PREFIX}MODEL_DOWNLOAD=1: set {PREFIX}MODEL_DIR, the directory to download into",
                zh=f"{PREFIX}MODEL_DOWNLOAD=1：请设置 {PREFIX}MODEL_DIR，即下载到的目录",
            )
        )
    rate, burst = _rate(environ), _integer(environ, "BURST", 20, least=0)
    body_bytes = _integer(environ, "MAX_BODY_BYTES", 1024 * 1024, least=1)
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
        max_batch=_integer(environ, "MAX_BATCH", 2048, least=1),
        # A character takes at least one byte.
        max_batch_chars=_integer(environ, "MAX_BATCH_CHARS", body_bytes, least=1),
        max_body_bytes=body_bytes,
        threads=threads,
        max_concurrent=concurrent,
        max_queue=queue,
        queue_timeout=_seconds(environ, "QUEUE_TIMEOUT", 20.0 if is_gte else 10.0),
        prediction_timeout=_seconds(environ, "PREDICTION_TIMEOUT", 60.0),
        progress_dir=Path(environ.get(PREFIX + "PROGRESS_DIR") or "/run/gte-api/progress"),
        api_keys_file=Path(keys_file) if keys_file else None,
        rate=rate,
        burst=burst,
        cors_origins=_origins(environ),
    )


def _places(environ: Mapping[str, str], is_gte: bool) -> tuple[int, int, int]:
    """``threads``, ``max_concurrent`` and ``max_queue``."""
    default_threads = _DEFAULT_THREADS_GTE if is_gte else _DEFAULT_THREADS
    # A sync worker has one thread, whatever GTE_THREADS is.
    is_sync = _worker_class(environ) == "sync"
    threads = 1 if is_sync else _integer(environ, "THREADS", default_threads, least=1)
    reserved = min(_RESERVED_THREADS, threads - 1)
    places = max(1, threads - reserved)
    concurrent = _integer(environ, "MAX_CONCURRENT", min(len(os.sched_getaffinity(0)), places), least=1)
    queue = _integer(environ, "MAX_QUEUE", max(0, threads - reserved - concurrent), least=0)
    if threads > 1 and concurrent + queue >= threads:
        places_words = f"{PREFIX}MAX_CONCURRENT + {PREFIX}MAX_QUEUE = {concurrent + queue}"
        raise SettingsError(
            Message(
                en=f"{places_words} must stay below {PREFIX}THREADS = {threads}, else no thread is left to answer"
                " /health",
                zh=f"{places_words} 必须小于 {PREFIX}THREADS = {threads}，否则没有线程可以回答 /health",
            )
        )
    return threads, concurrent, queue


def read_server_settings(environ: Mapping[str, str] = os.environ) -> ServerSettings:
    """Gunicorn's settings.

    Raises:
        SettingsError: a variable is malformed or out of range.
    """
    return ServerSettings(
        bind=_bind(environ),
        pidfile=environ.get(PREFIX + "PIDFILE") or None,
        # "off" and not an empty value, because an empty line in an EnvironmentFile is usually an oversight.
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
    """``GTE_*`` variables that nothing reads, sorted: probably misspelt."""
    return sorted(
        name
        for name in environ
        if name.startswith(PREFIX) and not name.startswith(_TOOLKIT_PREFIX) and name not in _SETTINGS_NAMES
    )


def per_second(rate: str) -> float:
    """Of a rate such as ``600r/m``."""
    count, _, unit = rate.partition("r/")
    return int(count) / (60 if unit == "m" else 1)


def _rate(environ: Mapping[str, str]) -> str | None:
    """``RATE``, as nginx's limit_req_zone writes it. ``BURST`` is refused without it."""
    text, burst = (environ.get(PREFIX + name, "").strip() for name in ("RATE", "BURST"))
    if not text and burst:
        raise SettingsError(
            Message(
                en=f"{PREFIX}BURST={burst}: set {PREFIX}RATE too, without which no rate is limited",
                zh=f"{PREFIX}BURST={burst}：请同时设置 {PREFIX}RATE，没有它就不限流",
            )
        )
    if not text:
        return None
    if not _RATE.fullmatch(text):
        raise _unusable("RATE", text, "a rate such as 10r/s or 600r/m", "速率，如 10r/s 或 600r/m")
    return text


def _origins(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Of ``CORS_ORIGINS``: ``*`` alone, or scheme://host[:port] each (RFC 6454, 6.2)."""
    origins = tuple(
        filter(None, (part.strip() for part in environ.get(PREFIX + "CORS_ORIGINS", "").split(",")))
    )
    for origin in origins:
        if not _ORIGIN.fullmatch(origin) and origins != ("*",):
            raise _unusable(
                "CORS_ORIGINS",
                origin,
                "* alone, or origins such as https://app.example.com",
                "单独一个 *，或 https://app.example.com 这样的来源",
            )
    return origins


def _bind(environ: Mapping[str, str]) -> str:
    """Addresses as gunicorn takes them, separated by commas. It takes a number alone for a host's name, and ends with
    a traceback where a port is none."""
    text = environ.get(PREFIX + "BIND", "").strip() or "127.0.0.1:8000"
    for address in text.split(","):
        match = _BIND.fullmatch(address.strip())
        if match is None or int(match["port"] or 0) > 65_535:
            raise _unusable(
                "BIND",
                address,
                "HOST:PORT (127.0.0.1:8000, [::1]:8000) or unix:PATH",
                "主机:端口（127.0.0.1:8000、[::1]:8000）或 unix:路径",
            )
    return text


def _worker_class(environ: Mapping[str, str]) -> str:
    return _choice(environ, "WORKER_CLASS", "gthread", ("gthread", "sync"))


def _optional(environ: Mapping[str, str], name: str, default: str) -> str | None:
    value = environ.get(PREFIX + name) or default
    return None if value in ("", "off") else value


def _choice(environ: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = environ.get(PREFIX + name) or default
    if value not in choices:
        raise _unusable(name, value, f"one of {', '.join(choices)}", f"下列之一：{'、'.join(choices)}")
    return value


def _integer(environ: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environ.get(PREFIX + name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise _unusable(name, text, "a whole number", "整数") from None
    if not least <= value <= _LARGEST:
        raise _unusable(
            name, text, f"a whole number from {least} to {_LARGEST}", f" {least} 到 {_LARGEST} 的整数"
        )
    return value


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(PREFIX + name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise _unusable(name, text, "a number of seconds", "秒数") from None
    # In this form it also refuses "nan".
    if not 0 <= value <= _LONGEST:
        raise _unusable(name, text, f"a number of seconds from 0 to {_LONGEST}", f" 0 到 {_LONGEST} 的秒数")
    return value
