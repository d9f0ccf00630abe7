"""gte-ops.toml as typed settings.

Every key is optional. ``None`` means: find it on the host; where nothing is found, the deployment guide's
own value is used (``ops/interpret/target.py``).

What a key means stands beside it, in both languages. Annotations are evaluated at import, for which they are compiled,
and not from strings when the first file is read: with this many texts that takes longer.
"""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from ops.errors import OpsError, SettingsError
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.text.duration import Seconds, parse_duration, parse_margin
from ops.text.language import Text
from ops.text.reasons import chinese

DEFAULT_PREDICT_BODY = '{"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}'
SEARCH_PATH = ("./gte-ops.toml", "/etc/gte-ops/gte-ops.toml")
# A configuration is written by hand; anything larger is a mistake or an attack on memory.
MAX_FILE_BYTES = 1 << 20
# Longer than any URL that a service gives out.
MAX_URL_CHARS = 2000
# What doctor.budget and --budget may be, seconds.
MIN_BUDGET, MAX_BUDGET = 1.0, 300.0


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


def key(
    en: str,
    zh: str,
    *,
    example: Any,
    since: str,
    unit: str = "",
    unset: tuple[str, str] = ("", ""),
    secret: bool = False,
) -> Meta:
    """What a key of the file means, in English and Chinese: the source of `gte-ops config` and docs/configuration.md.

    ``example``: a value as TOML has it; ``since``: the version that brought the key; ``unit``: of a bare number
    (`ops.report.config_reference.UNITS`); ``unset``: what is used without the key, in both languages, where its default
    is None or empty; ``secret``: its value opens a door and is never shown."""
    extra = {"zh": zh, "since": since, "unit": unit, "unset": unset, "secret": secret}
    return Meta(description=en, examples=[example], extra=extra)


def table(en: str, zh: str) -> Meta:
    """What a table of the file is about, in English and Chinese."""
    return Meta(description=en, extra={"zh": zh})


_FOUND = ("found on the host", "在主机上查找")
_NONE = ("none", "无")


class TargetSettings(Section, frozen=True):
    """What users reach, and how to reach it from here."""

    domain: Annotated[
        str | None,
        key(
            "Host name that users reach the service by: sent as SNI and Host, looked for in nginx and the certificate.",
            "用户访问服务所用的域名：作为 SNI 和 Host 发送，并据此查找 nginx 站点和证书。",
            example="gte-api.example.com",
            since="0.1.0",
            unset=("the server name of nginx's site", "nginx 站点的 server_name"),
        ),
    ] = None
    url: Annotated[
        str | None,
        key(
            "Address of the service as users write it, http or https. The paths below are appended to it.",
            "用户使用的服务地址（http 或 https），下面的各个路径接在它后面。",
            example="https://gte-api.example.com",
            since="0.1.0",
            unset=("https://DOMAIN", "https://域名"),
        ),
    ] = None
    connect_to: Annotated[
        str | None,
        key(
            "HOST:PORT to dial instead of the URL's own address, as `curl --connect-to` does. Set it where the host"
            " cannot reach its own public address.",
            "不连接 URL 自身的地址，改为连接此 主机:端口（同 `curl --connect-to`）。主机访问不到自己的公网地址时设置。",
            example="127.0.0.1:443",
            since="0.1.0",
            unset=("the port of nginx's site on this host", "nginx 站点在本机的端口"),
        ),
    ] = None
    connect_to_http: Annotated[
        str | None,
        key(
            "HOST:PORT to dial for plain HTTP.",
            "明文 HTTP 要连接的 主机:端口。",
            example="127.0.0.1:80",
            since="0.1.0",
            unset=(
                "127.0.0.1:80; with `connect_to` port 80 of that host",
                "127.0.0.1:80；设了 `connect_to` 则为该主机的 80 端口",
            ),
        ),
    ] = None
    expected_addresses: Annotated[
        tuple[str, ...],
        key(
            "IP addresses that the name should resolve to. Set it behind a load balancer.",
            "域名应解析到的 IP 地址。前面有负载均衡时设置。",
            example=["203.0.113.10"],
            since="0.1.0",
            unset=("this host's own addresses", "本机的地址"),
        ),
    ] = ()
    resolver: Annotated[
        str | None,
        key(
            "DNS server to ask, IP or IP:PORT.",
            "要查询的 DNS 服务器，IP 或 IP:端口。",
            example="127.0.0.1:5353",
            since="0.1.0",
            unset=("/etc/hosts, then /etc/resolv.conf", "先 /etc/hosts，再 /etc/resolv.conf"),
        ),
    ] = None
    health_path: Annotated[
        str,
        key(
            "Path that answers 200 while the application's process runs.",
            "应用进程在运行时返回 200 的路径。",
            example="/healthz",
            since="0.1.0",
        ),
    ] = "/health"
    ready_path: Annotated[
        str,
        key(
            "Path that answers 200 once the application can serve predictions.",
            "应用可以提供预测时返回 200 的路径。",
            example="/readyz",
            since="0.1.0",
        ),
    ] = "/ready"
    predict_path: Annotated[
        str,
        key(
            "Path that the test prediction is posted to.",
            "测试预测请求 POST 到的路径。",
            example="/v2/score",
            since="0.1.0",
        ),
    ] = "/predict"
    predict_body: Annotated[
        str,
        key(
            "JSON body of the test prediction.",
            "测试预测请求的 JSON 正文。",
            example='{"text": "hello"}',
            since="0.1.0",
        ),
    ] = DEFAULT_PREDICT_BODY
    expect_key: Annotated[
        str,
        key(
            "Key that the JSON object in the answer to the test prediction must have.",
            "测试预测的应答（JSON 对象）中必须有的键。",
            example="score",
            since="0.1.0",
        ),
    ] = "result"
    headers_file: Annotated[
        str,
        key(
            "File of lines `Name: value`: headers that the doctor and the watchdog send if a path requires a key. Only"
            " its owner may read it (mode 0600). They are sent to the service's own gunicorn and, over verified TLS, to"
            " the front door before it; never shown.",
            "每行一个 `名称: 值` 的文件：路径需要密钥时，doctor 和 watchdog 发送的请求头。只能由属主读取（权限 0600）。"
            "只发给本服务自己的 gunicorn，以及它前面证书校验通过的入口；绝不显示。",
            example="/etc/gte-ops/headers",
            since="0.3.0",
            unset=_NONE,
        ),
    ] = ""
    slow_after_s: Annotated[
        float,
        key(
            "A prediction that takes longer than this is reported as slow (APP005).",
            "预测耗时超过此值即报告为慢（APP005）。",
            example=5.0,
            since="0.1.0",
            unit="seconds",
        ),
    ] = 3.0


class Ignore(Section, frozen=True):
    """A cause that is known and accepted: why, and through which day. From the day after it counts again."""

    code: Annotated[
        str, key("Code of the cause to ignore.", "要忽略的原因代码。", example="GUN013", since="0.1.0")
    ]
    reason: Annotated[
        str,
        key(
            "Why it is accepted; the report shows it.",
            "接受它的理由，会显示在报告中。",
            example="the workers do not grow; measured in October",
            since="0.1.0",
        ),
    ]
    until: Annotated[
        date,
        key(
            "Last day on which it is ignored.",
            "忽略到哪一天为止（含当天）。",
            example=date(2027, 1, 31),
            since="0.1.0",
        ),
    ]


class DoctorSettings(Section, frozen=True):
    """How far back the doctor reads, how long it may take, and which causes it ignores."""

    since: Annotated[
        Seconds, key("How far back logs are read.", "日志回溯的时长。", example="1h", since="0.1.0")
    ] = Seconds(900)
    budget: Annotated[
        Seconds,
        key(
            "How long one run may take, 1s to 5m.",
            "一次诊断最多用的时间，1s 至 5m。",
            example="20s",
            since="0.1.0",
        ),
    ] = Seconds(10)
    ignore: Annotated[
        tuple[Ignore, ...],
        key(
            "Causes that are known and accepted until a day. The report lists them with the reason; they do not count.",
            "已知并接受、到某日为止的原因。报告会列出它们及理由，但不计入结果。",
            example=[{"code": "GUN013", "reason": "measured in October", "until": date(2027, 1, 31)}],
            since="0.1.0",
            unset=_NONE,
        ),
    ] = ()
    causes_dir: Annotated[
        str,
        key(
            "Directory of the site's own causes, *.toml: docs/site-causes.md. Only root may write it.",
            "存放站点自定义故障原因（*.toml）的目录，见 docs/site-causes.zh-CN.md。只有 root 可写。",
            example="/srv/runbook/causes.d",
            since="0.2.0",
        ),
    ] = "/etc/gte-ops/causes.d"
    plugins: Annotated[
        tuple[str, ...],
        key(
            "Installed packages whose judges run too: names of entry points of the group gte_ops.checks.",
            "一并运行其判断的已安装软件包：gte_ops.checks 组中的入口点名称。",
            example=["our_runbook"],
            since="0.2.0",
            unset=_NONE,
        ),
    ] = ()


class AppSettings(Section, frozen=True):
    """The application and the interpreter it runs on."""

    dir: Annotated[
        str | None,
        key(
            "Directory of the application's code.",
            "应用代码所在目录。",
            example="/srv/shop",
            since="0.1.0",
            unset=(
                "the working directory of gunicorn's master; without one /root/build",
                "gunicorn 主进程的工作目录；没有运行则为 /root/build",
            ),
        ),
    ] = None
    python: Annotated[
        str | None,
        key(
            "Python interpreter that the service runs on.",
            "服务所用的 Python 解释器。",
            example="/srv/shop/venv/bin/python",
            since="0.1.0",
            unset=_FOUND,
        ),
    ] = None
    wsgi: Annotated[
        str,
        key(
            "WSGI application in gunicorn's form, MODULE:NAME. Used if no running gunicorn names one.",
            "交给 gunicorn 的 WSGI 应用，模块:名称。没有运行中的 gunicorn 可查时使用。",
            example="service.app:create_app()",
            since="0.1.0",
        ),
    ] = "app:app"
    requires: Annotated[
        tuple[str, ...] | None,
        key(
            "Python packages that the service needs in its environment; a missing one is ENV001.",
            "服务的 Python 环境必须安装的包，缺失则报 ENV001。",
            example=["flask", "gunicorn"],
            since="0.1.0",
            unset=(
                "flask and gunicorn, and what the GTE model needs where it is served",
                "flask 和 gunicorn；若提供 GTE 模型则还有其依赖",
            ),
        ),
    ] = None
    progress_dir: Annotated[
        str | None,
        key(
            "Directory of the workers' progress records (the service's GTE_PROGRESS_DIR).",
            "工作进程进度记录的目录（即服务的 GTE_PROGRESS_DIR）。",
            example="/run/gte-api/progress",
            since="0.1.0",
            unset=("workers are judged without records", "不凭进度记录判断工作进程"),
        ),
    ] = None
    request_deadline: Annotated[
        Seconds,
        key(
            "A worker whose request has been in flight for longer is stuck.",
            "请求处理超过此时长的工作进程视为卡死。",
            example="3m",
            since="0.1.0",
        ),
    ] = Seconds(120)
    boot_deadline: Annotated[
        Seconds,
        key(
            "A worker that has been starting for longer is stuck.",
            "启动超过此时长的工作进程视为卡死。",
            example="10m",
            since="0.1.0",
        ),
    ] = Seconds(300)


class GunicornSettings(Section, frozen=True):
    """Where gunicorn listens, logs and is started from."""

    bind: Annotated[
        str | None,
        key(
            "Address that gunicorn listens on, HOST:PORT or unix:PATH. Tells the service from other gunicorns here.",
            "gunicorn 监听的地址，主机:端口 或 unix:路径。用来与主机上的其他 gunicorn 区分。",
            example="unix:/run/gte-api.sock",
            since="0.1.0",
            unset=_FOUND,
        ),
    ] = None
    config_file: Annotated[
        str | None,
        key(
            "gunicorn's configuration file.",
            "gunicorn 的配置文件。",
            example="/srv/shop/gunicorn.conf.py",
            since="0.1.0",
            unset=("the one on gunicorn's command line", "gunicorn 命令行指定的文件"),
        ),
    ] = None
    pidfile: Annotated[
        str | None,
        key(
            "gunicorn's pidfile.",
            "gunicorn 的 pidfile。",
            example="/run/gte-api/gunicorn.pid",
            since="0.1.0",
            unset=("from gunicorn's own settings", "gunicorn 自身的设置"),
        ),
    ] = None
    access_log: Annotated[
        str | None,
        key(
            "gunicorn's access log.",
            "gunicorn 的访问日志。",
            example="/var/log/gte-api/access.log",
            since="0.1.0",
            unset=("from gunicorn's own settings", "gunicorn 自身的设置"),
        ),
    ] = None
    error_log: Annotated[
        str | None,
        key(
            "gunicorn's error log.",
            "gunicorn 的错误日志。",
            example="/var/log/gte-api/error.log",
            since="0.1.0",
            unset=("from gunicorn's own settings", "gunicorn 自身的设置"),
        ),
    ] = None
    control_socket: Annotated[
        str,
        key(
            "gunicorn's control socket (gunicorn 25 or later; the service's GTE_CONTROL_SOCKET). The watchdog asks it"
            " for the workers.",
            "gunicorn 的控制 socket（gunicorn 25 及以上，即服务的 GTE_CONTROL_SOCKET），watchdog 由此查询工作进程。",
            example="/run/gte-api/control.sock",
            since="0.1.0",
            unset=("none", "不使用"),
        ),
    ] = ""
    unit: Annotated[
        str,
        key(
            "systemd unit that runs the service. Used to start and restart it.",
            "运行服务的 systemd unit，用它启动和重启服务。",
            example="shop.service",
            since="0.1.0",
        ),
    ] = "gte-api.service"
    start_command: Annotated[
        str | list[str],
        key(
            "Command that starts the service where no systemd unit does: an argument list, or a string split as a shell"
            " would; no shell runs it.",
            "没有 systemd unit 时启动服务的命令：参数列表，或按 shell 规则拆分的字符串（不经 shell 执行）。",
            example=["/srv/shop/start-prod.sh"],
            since="0.1.0",
            unset=("none", "无"),
        ),
    ] = ""


class UpstreamSettings(Section, frozen=True):
    """One host behind this host's nginx."""

    address: Annotated[
        str,
        key(
            "HOST:PORT where the host's gunicorn listens.",
            "该主机的 gunicorn 监听的 主机:端口。",
            example="192.0.2.11:8000",
            since="0.3.0",
        ),
    ]
    weight: Annotated[
        int,
        key(
            "Its share of the requests, against the others' weights.",
            "它分得的请求份额，与其他主机的权重相比。",
            example=2,
            since="0.3.0",
            unit="shares",
        ),
    ] = 1
    backup: Annotated[
        bool,
        key(
            "Used only while every other host fails.",
            "只在其他主机全部不可用时使用。",
            example=True,
            since="0.3.0",
        ),
    ] = False
    max_fails: Annotated[
        int,
        key(
            "Failed attempts within `fail_timeout` that take it out; 0: it is never taken out.",
            "在 `fail_timeout` 内失败多少次即停用；0 表示从不停用。",
            example=3,
            since="0.3.0",
            unit="attempts",
        ),
    ] = 1
    fail_timeout: Annotated[
        Seconds,
        key(
            "How long failures count, and how long it is then taken out.",
            "失败计数的时长，也是停用的时长。",
            example="30s",
            since="0.3.0",
        ),
    ] = Seconds(10)


class NginxSettings(Section, frozen=True):
    """nginx's program and its files."""

    binary: Annotated[
        str,
        key(
            "nginx's program, a name to be found in PATH or a path. The program of a running nginx comes first.",
            "nginx 程序：PATH 中的名字或路径。有运行中的 nginx 时以其程序为准。",
            example="/usr/local/nginx/sbin/nginx",
            since="0.1.0",
        ),
    ] = "nginx"
    config_file: Annotated[
        str | None,
        key(
            "nginx's main configuration file.",
            "nginx 的主配置文件。",
            example="/usr/local/nginx/conf/nginx.conf",
            since="0.1.0",
            unset=(
                "the one nginx runs with, or was built for",
                "运行中的 nginx 所用的文件，或其编译时的默认值",
            ),
        ),
    ] = None
    site_file: Annotated[
        str | None,
        key(
            "File that holds the service's server block.",
            "服务的 server 块所在的文件。",
            example="/etc/nginx/conf.d/shop.conf",
            since="0.1.0",
            unset=("found in nginx's configuration", "在 nginx 配置中查找"),
        ),
    ] = None
    pidfile: Annotated[
        str | None,
        key(
            "nginx's pidfile.",
            "nginx 的 pidfile。",
            example="/run/nginx.pid",
            since="0.1.0",
            unset=("from nginx's configuration, else from `nginx -V`", "按 nginx 配置，否则按 `nginx -V`"),
        ),
    ] = None
    access_log: Annotated[
        str | None,
        key(
            "nginx's access log of the site.",
            "该站点的 nginx 访问日志。",
            example="/var/log/nginx/shop-access.log",
            since="0.1.0",
            unset=("from nginx's configuration", "按 nginx 配置"),
        ),
    ] = None
    error_log: Annotated[
        str | None,
        key(
            "An error log of nginx, read before those of its configuration.",
            "nginx 的错误日志，先于配置中的错误日志读取。",
            example="/var/log/nginx/shop-error.log",
            since="0.1.0",
            unset=("from nginx's configuration", "按 nginx 配置"),
        ),
    ] = None
    upstream: Annotated[
        tuple[UpstreamSettings, ...],
        key(
            "Hosts among which nginx shares the requests: docs/deployment.md.",
            "nginx 在哪些主机之间分发请求，见 docs/deployment.zh-CN.md。",
            example=[{"address": "192.0.2.11:8000"}, {"address": "192.0.2.12:8000", "backup": True}],
            since="0.3.0",
            unset=("this host's gunicorn alone", "只用本机的 gunicorn"),
        ),
    ] = ()
    scanner_filter: Annotated[
        bool,
        key(
            "`render nginx`: nginx itself answers 404 to paths of other software that scanners try, and to programs "
            "that name themselves as scanners. curl, browsers, libraries and health checks pass.",
            "`render nginx`：扫描器探测的其他软件的路径，以及自报为扫描器的程序，由 nginx 直接返回 404。"
            "curl、浏览器、各类 HTTP 库和健康检查不受影响。",
            example=True,
            since="0.3.0",
        ),
    ] = False
    rate: Annotated[
        str,
        key(
            "`render nginx`: requests of one address per second (`10r/s`) or minute (`600r/m`); others get 429.",
            "`render nginx`：每个客户端地址每秒（`10r/s`）或每分钟（`600r/m`）的请求数，超出时返回 429。",
            example="600r/m",
            since="0.3.0",
        ),
    ] = "60r/m"
    burst: Annotated[
        int,
        key(
            "`render nginx`: requests of one address above `rate` that are passed on at once.",
            "`render nginx`：每个地址超出 `rate` 后仍立即放行的请求数。",
            example=200,
            since="0.3.0",
            unit="requests",
        ),
    ] = 20


class TlsThreshold(Section, frozen=True):
    """When certificates for some names are told as ending soon. ``names``: patterns as a shell has them, tried on every
    name in the certificate; ``warn`` and ``fail``: time left (``20d``) or share of the lifetime (``25%``)."""

    names: Annotated[
        tuple[str, ...],
        key(
            "Shell patterns, matched against every name in the certificate.",
            "通配符（同 shell），与证书中的每个域名比较。",
            example=["*.corp.example.com"],
            since="0.1.0",
        ),
    ]
    warn: Annotated[
        str | None,
        key(
            "Warn below this time left: a duration, or a share of the certificate's lifetime.",
            "剩余时间低于此值时警告：时长，或占有效期的百分比。",
            example="45d",
            since="0.1.0",
            unset=("judged by the certificate's lifetime", "按证书有效期判断"),
        ),
    ] = None
    fail: Annotated[
        str | None,
        key(
            "Fail below this time left: a duration, or a share of the certificate's lifetime.",
            "剩余时间低于此值时判为故障：时长，或占有效期的百分比。",
            example="10%",
            since="0.1.0",
            unset=("judged by the certificate's lifetime", "按证书有效期判断"),
        ),
    ] = None


class TlsSettings(Section, frozen=True):
    """The certificate on disk, what to trust, and which further endpoints `cert check` looks at."""

    certificate: Annotated[
        str | None,
        key(
            "File of the certificate chain. `<domain>` stands for target.domain.",
            "证书链文件。`<domain>` 代表 target.domain。",
            example="/etc/letsencrypt/live/<domain>/fullchain.pem",
            since="0.1.0",
            unset=(
                "nginx's `ssl_certificate`, else certbot's",
                "nginx 的 `ssl_certificate`，否则取 certbot 的",
            ),
        ),
    ] = None
    private_key: Annotated[
        str | None,
        key(
            "File of the certificate's private key. `<domain>` stands for target.domain.",
            "证书私钥文件。`<domain>` 代表 target.domain。",
            example="/etc/letsencrypt/live/<domain>/privkey.pem",
            since="0.1.0",
            unset=(
                "nginx's `ssl_certificate_key`, else certbot's",
                "nginx 的 `ssl_certificate_key`，否则取 certbot 的",
            ),
        ),
    ] = None
    letsencrypt_dir: Annotated[
        str,
        key(
            "certbot's configuration directory.",
            "certbot 的配置目录。",
            example="/srv/letsencrypt",
            since="0.1.0",
        ),
    ] = "/etc/letsencrypt"
    letsencrypt_logs: Annotated[
        str | None,
        key(
            "certbot's log directory, read to say why a renewal failed.",
            "certbot 的日志目录，用来说明续期失败的原因。",
            example="/var/log/letsencrypt",
            since="0.1.0",
            unset=(
                "the one in the renewal configuration, else /var/log/letsencrypt",
                "按续期配置，否则为 /var/log/letsencrypt",
            ),
        ),
    ] = None
    ca_file: Annotated[
        str,
        key(
            "PEM file of roots that are trusted beside the system's: a private certificate authority.",
            "除系统根证书外还信任的根证书（PEM 文件）：私有 CA。",
            example="/etc/ssl/our-root.pem",
            since="0.1.0",
            unset=_NONE,
        ),
    ] = ""
    client_certificate: Annotated[
        str,
        key(
            "PEM file of the certificate that the doctor shows where nginx asks for one (`ssl_verify_client`).",
            "nginx 要求客户端证书（`ssl_verify_client`）时，doctor 出示的证书（PEM 文件）。",
            example="/etc/ssl/doctor.pem",
            since="0.3.0",
            unset=_NONE,
        ),
    ] = ""
    client_key: Annotated[
        str,
        key(
            "PEM file of its private key, not encrypted.",
            "该证书的私钥（PEM 文件，未加密）。",
            example="/etc/ssl/doctor.key",
            since="0.3.0",
            unset=("in the certificate's file", "与证书在同一文件中"),
        ),
    ] = ""
    endpoints: Annotated[
        tuple[str, ...],
        key(
            "Further endpoints that `gte-ops cert check` examines: HOST, HOST:PORT or PROTOCOL://HOST for STARTTLS.",
            "`gte-ops cert check` 另外检查的端点：主机、主机:端口，或 协议://主机（STARTTLS）。",
            example=["mail.example.com:465", "smtp://mail.example.com"],
            since="0.1.0",
            unset=_NONE,
        ),
    ] = ()
    thresholds: Annotated[
        tuple[TlsThreshold, ...],
        key(
            "Other limits of the time left, for some names. The first entry that matches a name counts.",
            "某些域名的剩余时间界限。按顺序取第一个匹配的条目。",
            example=[{"names": ["*.corp.example.com"], "warn": "45d", "fail": "10%"}],
            since="0.1.0",
            unset=_NONE,
        ),
    ] = ()


class ModelSettings(Section, frozen=True):
    """Where the production model's files lie."""

    dir: Annotated[
        str | None,
        key(
            "Directory of the production model's files (the service's GTE_MODEL_DIR).",
            "生产模型文件所在的目录（即服务的 GTE_MODEL_DIR）。",
            example="/srv/gte",
            since="0.1.0",
            unset=_FOUND,
        ),
    ] = None
    source: Annotated[
        str | None,
        key(
            "Source of the model's files, shown in fixes: an address, or ``modelscope:NAME`` or"
            " ``huggingface:NAME``. Known for the guide's model.",
            "模型文件的下载来源，修复步骤里会写出来：一个地址，或 ``modelscope:名称``、``huggingface:名称``。"
            "部署指南里的模型无需填写。",
            example="https://models.example.com/gte",
            since="0.3.0",
            unset=_NONE,
        ),
    ] = None


class LogrotateSettings(Section, frozen=True):
    """The rotation rules in use."""

    config_files: Annotated[
        tuple[str, ...],
        key(
            "logrotate's rule files for the logs of nginx and the service.",
            "nginx 和服务日志的 logrotate 规则文件。",
            example=["/etc/logrotate.d/nginx", "/etc/logrotate.d/shop"],
            since="0.1.0",
        ),
    ] = ("/etc/logrotate.d/nginx", "/etc/logrotate.d/gte-api")


class ScheduleSettings(Section, frozen=True):
    """Places to search for timers and cron entries."""

    cron: Annotated[
        tuple[str, ...],
        key(
            "Files and directories to search for cron entries.",
            "查找 cron 条目的文件和目录。",
            example=["/etc/crontab", "/etc/cron.d"],
            since="0.1.0",
        ),
    ] = ("/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs")
    systemd: Annotated[
        tuple[str, ...],
        key(
            "Directories to search for systemd units and timers.",
            "查找 systemd unit 和定时器的目录。",
            example=["/etc/systemd/system", "/usr/lib/systemd/system"],
            since="0.1.0",
        ),
    ] = ("/etc/systemd/system", "/lib/systemd/system")


class Keep(Section, frozen=True):
    """How many backups of each kind are kept."""

    last: Annotated[
        int,
        key(
            "Newest backups to keep, whatever their time.",
            "无论时间，保留最近的备份数。",
            example=24,
            since="0.3.0",
            unit="backups",
        ),
    ] = 10
    daily: Annotated[
        int, key("Daily backups to keep.", "保留的每日备份数。", example=14, since="0.1.0", unit="backups")
    ] = 7
    weekly: Annotated[
        int, key("Weekly backups to keep.", "保留的每周备份数。", example=8, since="0.1.0", unit="backups")
    ] = 4
    monthly: Annotated[
        int, key("Monthly backups to keep.", "保留的每月备份数。", example=12, since="0.1.0", unit="backups")
    ] = 6


class BackupSettings(Section, frozen=True):
    """Backups: destination, additional content, compression and encryption, retention."""

    dir: Annotated[
        str,
        key(
            "Directory of the backups, one of its own: mode 0700, files 0600.",
            "备份目录，须专用：权限 0700，文件 0600。",
            example="/srv/backups/gte-ops",
            since="0.1.0",
        ),
    ] = "/var/backups/gte-ops"
    max_age: Annotated[
        Seconds,
        key(
            "The doctor warns when the newest good backup is older.",
            "最新的完好备份早于此时长时 doctor 告警。",
            example="3d",
            since="0.1.0",
        ),
    ] = Seconds(36 * 3600)
    keep: Annotated[
        Keep,
        table(
            "How many backups are kept; older ones are removed. All zero is refused.",
            "保留多少备份，更旧的会被删除。全为零会被拒绝。",
        ),
    ] = Keep()
    recipients: Annotated[
        tuple[str, ...],
        key(
            "age or SSH public keys that backups are encrypted for.",
            "加密备份所用的 age 或 SSH 公钥。",
            example=["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],
            since="0.1.0",
            unset=("not encrypted", "不加密"),
        ),
    ] = ()
    include: Annotated[
        tuple[str, ...],
        key(
            "Files, directories and glob patterns to back up in addition to those found automatically.",
            "在自动找到的内容之外还要备份的文件、目录或通配符。",
            example=["/etc/ssl/private/internal.pem", "/opt/gte-api/*.env"],
            since="0.1.0",
            unset=_NONE,
        ),
    ] = ()
    compression: Annotated[
        Literal["zst", "gz"],
        key("How the archive is compressed.", "归档的压缩方式。", example="gz", since="0.1.0"),
    ] = "zst"
    to: Annotated[
        tuple[str, ...],
        key(
            "Where each backup is copied off the host: rclone:REMOTE:PATH, restic:REPOSITORY or ssh:HOST:DIR.",
            "每份备份复制到主机以外的位置：rclone:远端:路径、restic:仓库 或 ssh:主机:目录。",
            example=["rclone:offsite:backups"],
            since="0.1.0",
            unset=_NONE,
        ),
    ] = ()
    signing_key: Annotated[
        str,
        key(
            "SSH private key that signs each backup, or the public key of one that an agent holds.",
            "为每份备份签名的 SSH 私钥；或公钥，其私钥由 agent 持有。",
            example="/etc/gte-ops/backup_key",
            since="0.2.0",
            unset=("not signed", "不签名"),
        ),
    ] = ""
    allowed_signers: Annotated[
        str,
        key(
            "File of the signers whose signature counts (ssh-keygen(1), ALLOWED SIGNERS). Backups must then be signed.",
            "承认其签名的签名者文件（ssh-keygen(1)，ALLOWED SIGNERS）。设置后备份必须有签名。",
            example="/etc/gte-ops/signers",
            since="0.2.0",
            unset=("no signature is required", "不要求签名"),
        ),
    ] = ""


class Restarts(Section, frozen=True):
    """How many restarts are allowed in how long."""

    budget: Annotated[
        int,
        key(
            "Actions that the watchdog may take within `within`; then it waits.",
            "watchdog 在 `within` 时间内最多执行的动作数，用完后停止动作。",
            example=5,
            since="0.1.0",
            unit="actions",
        ),
    ] = 3
    within: Annotated[
        Seconds,
        key(
            "Window of the budget, and how long the watchdog waits once it is spent.",
            "额度的时间窗口，也是额度用完后的等待时间。",
            example="1h",
            since="0.1.0",
        ),
    ] = Seconds(1800)


class WatchdogSettings(Section, frozen=True):
    """How often the watchdog looks and when it acts. Evidence and metrics go beside the state unless told elsewhere."""

    interval: Annotated[
        Seconds,
        key(
            "Time between two checks of the resident watchdog, at least 1s.",
            "常驻 watchdog 两次检查的间隔，至少 1s。",
            example="30s",
            since="0.1.0",
        ),
    ] = Seconds(15)
    failures: Annotated[
        int,
        key(
            "Failed checks in a row before the watchdog acts, where nothing else proves the failure.",
            "没有其他证据时，连续失败多少次检查才动作。",
            example=5,
            since="0.1.0",
            unit="checks",
        ),
    ] = 3
    restarts: Annotated[Restarts, table("How often the watchdog may act.", "watchdog 动作的额度。")] = (
        Restarts()
    )
    start_stopped: Annotated[
        bool,
        key(
            "Start the service also after somebody stopped its unit with systemctl.",
            "有人用 systemctl 停止服务的 unit 之后，也把服务启动起来。",
            example=True,
            since="0.3.0",
        ),
    ] = False
    state_file: Annotated[
        str,
        key(
            "File with the watchdog's state, kept between checks and restarts.",
            "watchdog 的状态文件，在两次检查之间和重启之后保留。",
            example="/srv/gte-ops/watchdog.json",
            since="0.1.0",
        ),
    ] = "/var/lib/gte-ops/watchdog.json"
    evidence_dir: Annotated[
        str | None,
        key(
            "Directory of the evidence kept before an action: stacks of stuck workers.",
            "动作之前保存证据（卡死工作进程的调用栈）的目录。",
            example="/srv/gte-ops/evidence",
            since="0.1.0",
            unset=("beside the state file", "状态文件旁边"),
        ),
    ] = None
    metrics_file: Annotated[
        str | None,
        key(
            "File of the watchdog's metrics, for node_exporter's textfile collector.",
            "watchdog 的指标文件，供 node_exporter 的 textfile 采集器读取。",
            example="/var/lib/prometheus/node-exporter/gte_ops_watchdog.prom",
            since="0.1.0",
            unset=("beside the state file, with the ending .prom", "状态文件旁边，扩展名 .prom"),
        ),
    ] = None


def _ping_key(en: str, zh: str) -> Meta:
    return key(
        en,
        zh,
        example="https://hc-ping.com/UUID",
        since="0.3.0",
        unset=("nothing is requested", "不请求任何地址"),
        secret=True,
    )


class PingSettings(Section, frozen=True):
    """URLs of a dead man's switch: it raises the alarm when a request that it expects does not come."""

    backup: Annotated[
        str,
        _ping_key(
            "URL that `gte-ops backup` requests when it starts, and when it succeeds or fails.",
            "`gte-ops backup` 开始、成功、失败时请求的 URL。",
        ),
    ] = ""
    cert: Annotated[
        str,
        _ping_key(
            "The same for `gte-ops cert check` of this host, without endpoints on the command line.",
            "同上，用于检查本机证书的 `gte-ops cert check`（命令行未指定端点时）。",
        ),
    ] = ""
    watchdog: Annotated[
        str,
        _ping_key(
            "URL that the watchdog requests after its checks, at most once a minute, and at once when the service fails"
            " or recovers.",
            "watchdog 检查后请求的 URL，每分钟最多一次；服务发生故障或恢复时立即请求。",
        ),
    ] = ""
    drill: Annotated[
        str,
        _ping_key(
            "The same as `backup`, for `gte-ops backup drill`.", "同 `backup`，用于 `gte-ops backup drill`。"
        ),
    ] = ""
    doctor: Annotated[
        str,
        _ping_key(
            "The same for a whole run of `gte-ops doctor` on this host, without --only, --skip, --fix or --watch.",
            "同上，用于在本机完整运行的 `gte-ops doctor`（不带 --only、--skip、--fix、--watch）。",
        ),
    ] = ""
    kind: Annotated[
        Literal["auto", "healthchecks", "uptime-kuma"],
        key(
            "What answers at these URLs. `auto`: Uptime Kuma where the path holds `/api/push/`, else Healthchecks.",
            "这些 URL 属于哪种服务。`auto`：路径含 `/api/push/` 为 Uptime Kuma，否则为 Healthchecks。",
            example="uptime-kuma",
            since="0.3.0",
        ),
    ] = "auto"


class NotifySettings(Section, frozen=True):
    """Who is told."""

    urls: Annotated[
        tuple[str, ...],
        key(
            "Apprise URLs of at most 20 destinations: DingTalk, Feishu, WeCom, mail and others. Each is a password:"
            " keep the file readable by its owner only.",
            "通知目标（最多 20 个）的 Apprise URL：钉钉、飞书、企业微信、邮件等。等同于密码，配置文件应只有属主可读。",
            example=[
                "dingtalk://SECRET@TOKEN",
                "mailtos://user:password@smtp.example.com?to=oncall@example.com",
            ],
            since="0.1.0",
            unset=("nobody is notified", "不发送通知"),
            secret=True,
        ),
    ] = ()
    ca_file: Annotated[
        str,
        key(
            "PEM file of roots that destinations may have beside the public ones: a private authority, a relay's.",
            "除公共根证书外，通知目标还可使用的根证书（PEM 文件）：私有 CA、代理的 CA。",
            example="/etc/gte-ops/our-root.pem",
            since="0.3.0",
            unset=_NONE,
        ),
    ] = ""
    docs_url: Annotated[
        str,
        key(
            "Where the pages of docs/ can be read: the runbook_url of Prometheus's alerts begins with it.",
            "docs/ 各页的网址：Prometheus 告警的 runbook_url 以它开头。",
            example="https://wiki.example.com/gte-ops",
            since="0.3.0",
            unset=("a placeholder", "占位网址"),
        ),
    ] = ""
    ping: Annotated[
        PingSettings,
        table(
            "URLs of a dead man's switch, requested at start, success and failure. Each is a password.",
            "“失联告警”（dead man's switch）的 URL，在开始、成功、失败时请求。等同于密码。",
        ),
    ] = PingSettings()


class McpSettings(Section, frozen=True):
    """What `gte-ops mcp` offers an assistant."""

    allow_repair: Annotated[
        bool,
        key(
            "Whether an assistant may apply the safe repairs of a plan that it was shown, by the plan's token."
            " Otherwise it only sees the plan.",
            "是否允许助手凭方案的令牌执行它看到的安全修复。否则只能查看方案。",
            example=True,
            since="0.3.0",
        ),
    ] = False
    token_file: Annotated[
        str,
        key(
            "File with the token that `gte-ops mcp --http` asks for. Only its owner may read it (mode 0600).",
            "存放 `gte-ops mcp --http` 所需令牌的文件。只能由属主读取（权限 0600）。",
            example="/etc/gte-ops/mcp.token",
            since="0.3.0",
            unset=_NONE,
        ),
    ] = ""


class Settings(Section, frozen=True):
    """The whole file."""

    target: Annotated[
        TargetSettings,
        table("What users reach, and how to reach it from this host.", "用户访问的是什么，从本机如何访问。"),
    ] = TargetSettings()
    doctor: Annotated[
        DoctorSettings,
        table(
            "How far back `gte-ops doctor` reads, how long it may take, and which causes it ignores.",
            "`gte-ops doctor` 回溯多久、最多用时，以及忽略哪些原因。",
        ),
    ] = DoctorSettings()
    app: Annotated[
        AppSettings,
        table("The application and the interpreter it runs on.", "应用及其所用的 Python 解释器。"),
    ] = AppSettings()
    gunicorn: Annotated[
        GunicornSettings,
        table(
            "Where gunicorn listens and logs, and how it is started.", "gunicorn 的监听地址、日志和启动方式。"
        ),
    ] = GunicornSettings()
    nginx: Annotated[NginxSettings, table("nginx's program and its files.", "nginx 的程序和文件。")] = (
        NginxSettings()
    )
    tls: Annotated[
        TlsSettings,
        table(
            "The certificate on disk, what is trusted, and which further endpoints are examined.",
            "磁盘上的证书、信任的根证书，以及另外检查的端点。",
        ),
    ] = TlsSettings()
    model: Annotated[ModelSettings, table("The production model.", "生产模型。")] = ModelSettings()
    logrotate: Annotated[LogrotateSettings, table("The rotation rules in use.", "在用的日志轮转规则。")] = (
        LogrotateSettings()
    )
    schedule: Annotated[
        ScheduleSettings,
        table("Places to search for timers and cron entries.", "查找定时器和 cron 条目的位置。"),
    ] = ScheduleSettings()
    backup: Annotated[
        BackupSettings,
        table(
            "Where backups go, what they hold, how they are packed, and how many are kept.",
            "备份放在哪里、包含什么、如何打包、保留多少。",
        ),
    ] = BackupSettings()
    watchdog: Annotated[
        WatchdogSettings,
        table(
            "How often the watchdog checks, and when it acts.",
            "看门狗程序（watchdog）多久检查一次，何时动作。",
        ),
    ] = WatchdogSettings()
    notify: Annotated[NotifySettings, table("Notification destinations.", "通知目标。")] = NotifySettings()
    mcp: Annotated[
        McpSettings, table("What `gte-ops mcp` offers an assistant.", "`gte-ops mcp` 向助手提供什么。")
    ] = McpSettings()


class SettingsFile(msgspec.Struct, frozen=True):
    """Which file is read, None for none, and those that are not though they are there: each as one line, with why."""

    path: Path | None
    passed_over: tuple[str, ...] = ()

    @property
    def config_argument(self) -> str | None:
        """What a command run from another directory needs after --config to read this file; None if nothing."""
        if self.path is None or str(self.path) == SEARCH_PATH[-1]:
            return None
        return str(self.path.absolute())


def find_settings_file(option: str | None, environ: Mapping[str, str] | None = None) -> SettingsFile:
    """The file to read: --config, $GTE_OPS_CONFIG, ./gte-ops.toml, /etc/gte-ops/gte-ops.toml; None if none is there.

    One that is only looked for and that others than root and the caller could have written is passed over. Raises
    SettingsError when a file was named that does not exist.
    """
    values = os.environ if environ is None else environ
    for path, origin in ((option, "--config"), (values.get("GTE_OPS_CONFIG"), "$GTE_OPS_CONFIG")):
        if path:
            if not Path(path).exists():
                raise SettingsError(
                    Text(
                        en=f"{path}: no such file (named by {origin}); check the path",
                        zh=f"{path}：文件不存在（由 {origin} 指定）；请检查路径",
                    )
                )
            return SettingsFile(Path(path))
    passed_over: list[str] = []
    for name in SEARCH_PATH:
        if Path(name).exists():
            why = reason_not_to_read(Path(name))
            if why is None:
                return SettingsFile(Path(name), tuple(passed_over))
            passed_over.append(f"{Path(name).absolute()}: not read: {why}")
    return SettingsFile(None, tuple(passed_over))


def reason_not_to_read(path: Path) -> str | None:
    """Why somebody else than root and the caller decides what a configuration says; None where nobody does.

    It names programs that are run. As with ssh's and logrotate's, it and its directory must not be others' to write."""
    places = dict.fromkeys((path.absolute().parent, Path(os.path.realpath(path)).parent))
    reasons = (reason_not_to_trust(str(place), listed=True) for place in places)
    return next(filter(None, (reason_not_to_trust(str(path.absolute())), *reasons)), None)


def load_settings(path: Path | None) -> Settings:
    """The settings in ``path``, or all defaults for None.

    Raises SettingsError naming the file, the key or line, and what would be right; also for a file that others than
    root and the caller could have written.
    """
    return Settings() if path is None else parse_settings(read_settings_file(path), str(path))


def read_settings_file(path: Path) -> bytes:
    """The bytes of a configuration file. Raises SettingsError, also for a file that others could have written."""
    if path.exists() and (why_not := reason_not_to_read(path)) is not None:
        raise SettingsError(
            Text(
                en=f"{path}: not read: {why_not}, and what it names is run; give both to root, or to who runs this:"
                " chown and chmod go-w",
                zh=f"{path}：不予读取：{chinese(why_not)}，而其中写明的程序会被运行；请让文件和目录归 root"
                " 或当前用户所有（chown），并去掉他人的写权限（chmod go-w）",
            )
        )
    too_large = Text(
        en=f"{path}: larger than 1 MiB; this is not a gte-ops.toml",
        zh=f"{path}：超过 1 MiB，不是 gte-ops.toml",
    )
    return bounded_content(path, MAX_FILE_BYTES, SettingsError, too_large)


def bounded_content(path: Path, limit: int, error: Callable[[Text], OpsError], too_large: Text) -> bytes:
    """The bytes of a file of at most ``limit`` bytes. Raises ``error`` with the reason; with ``too_large`` if it is
    larger."""
    try:
        file = read_regular_file(str(path), limit)
    except (OSError, ValueError) as failure:
        why = getattr(failure, "strerror", None) or failure
        raise error(
            Text(
                en=f"{path}: cannot be read: {why}; check the path and its mode",
                zh=f"{path}：无法读取：{chinese(why)}；请检查路径及其权限",
            )
        ) from None
    if not file.is_whole:
        raise error(too_large)
    return file.content


def parse_settings(content: bytes, name: str) -> Settings:
    """Typed settings from the bytes of a TOML file called ``name``. Raises SettingsError."""
    document = parse_document(content, name)
    if (unknown := next(_unknown_keys(document, Settings, ""), None)) is not None:
        raise _in_file(name, unknown)
    try:
        settings = _convert(document)
    except SettingsError as error:
        raise _in_file(name, error.words) from None
    if (unusable := next(_unusable_values(settings), None)) is not None:
        raise _in_file(name, unusable)
    return settings


def _in_file(name: str, words: Text) -> SettingsError:
    return SettingsError(Text(en=f"{name}: {words.en}", zh=f"{name}：{words.to('zh')}"))


def parse_document(content: bytes, name: str) -> dict[str, Any]:
    """The tables and keys of a TOML file called ``name``, as they are written. Raises SettingsError."""
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SettingsError(
            Text(
                en=f"{name}: line {line}: not UTF-8 text; save the file as UTF-8",
                zh=f"{name}：第 {line} 行：不是 UTF-8 文本；请以 UTF-8 保存文件",
            )
        ) from None
    except ValueError as error:  # TOMLDecodeError, and int's own for a number of thousands of digits
        raise SettingsError(
            Text(en=f"{name}: not valid TOML: {error}", zh=f"{name}：不是有效的 TOML：{error}")
        ) from None
    except RecursionError:
        raise SettingsError(
            Text(
                en=f"{name}: nested too deeply; this is not a gte-ops.toml",
                zh=f"{name}：嵌套过深，不是 gte-ops.toml",
            )
        ) from None


def settings_errors(document: Mapping[str, Any]) -> tuple[Text, ...]:
    """Every error of a document, unknown keys first: the key, and what would be right. Empty: it can be used.

    `parse_settings` names the first alone."""
    unknown = list(_unknown_keys(document, Settings, ""))
    return tuple(unknown + [error for part in _known_parts(document) for error in _errors_of(part)])


def _known_parts(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Documents of one known key each: keys do not depend on one another, so each is right or wrong by itself."""
    for section, kind in get_type_hints(Settings).items():
        values = document.get(section, {})
        if not isinstance(values, dict):
            yield {section: values}
            continue
        for key, value in values.items():
            if key in get_type_hints(kind):
                yield {section: {key: value}}


def _errors_of(part: dict[str, Any]) -> Iterator[Text]:
    if any(_unknown_keys(part, Settings, "")):
        return  # said already
    try:
        yield from _unusable_values(_convert(part))
    except SettingsError as error:
        yield error.words


def _convert(document: Mapping[str, Any]) -> Settings:
    """The document as settings. Raises SettingsError: which key has which wrong type."""
    try:
        return msgspec.convert(document, Settings, dec_hook=_decode_seconds)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`") or "the file"
        raise SettingsError(
            Text(en=f"{key}: {what[:1].lower()}{what[1:]}", zh=f"{key}：{chinese(what)}")
        ) from None


def _unusable_values(settings: Settings) -> Iterator[Text]:
    """Values of the right type that cannot be used."""
    yield from _dead_ends(settings.target)
    yield from _no_margins(settings.tls)
    yield from _no_file(settings.watchdog.state_file)
    yield from _no_pings(settings.notify.ping)
    yield from _no_shares(settings.nginx.upstream)
    yield from _no_rate(settings.nginx)


def _dead_ends(target: TargetSettings) -> Iterator[Text]:
    """Names, URLs and addresses that nothing can connect to."""
    if target.domain and not is_host(target.domain):
        yield Text(
            en=f"target.domain: {target.domain!r} is no host name; write it like gte-api.example.com",
            zh=f"target.domain：{target.domain!r} 不是主机名；写法如 gte-api.example.com",
        )
    if target.url:
        try:
            parts = urlsplit(target.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            right = "https://gte-api.example.com"
            yield Text(
                en=f"target.url: {target.url!r} cannot be dialled; write it like {right}",
                zh=f"target.url：无法连接 {target.url!r}；写法如 {right}",
            )
    for key, address in (("connect_to", target.connect_to), ("connect_to_http", target.connect_to_http)):
        host, _, port = (address or "").rpartition(":")
        if address and not (host and port.isdecimal()):
            yield Text(
                en=f"target.{key}: {address!r} names no port; write it like 127.0.0.1:8443",
                zh=f"target.{key}：{address!r} 没有端口；写法如 127.0.0.1:8443",
            )


def _no_shares(upstream: tuple[UpstreamSettings, ...]) -> Iterator[Text]:
    """Hosts that nginx would refuse, or never send anything."""
    for number, server in enumerate(upstream):
        place = f"nginx.upstream[{number}]"
        if not 1 <= server.weight <= 1000:
            yield Text(en=f"{place}.weight: choose 1 to 1000", zh=f"{place}.weight：须为 1 至 1000")
        if not 0 <= server.max_fails <= 1000:
            yield Text(en=f"{place}.max_fails: choose 0 to 1000", zh=f"{place}.max_fails：须为 0 至 1000")
        if server.fail_timeout < 1:
            yield Text(en=f"{place}.fail_timeout: choose 1s or more", zh=f"{place}.fail_timeout：至少 1s")


def _no_rate(nginx: NginxSettings) -> Iterator[Text]:
    """A rate or burst that nginx would refuse."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}r/[sm]", nginx.rate):
        yield Text(
            en=f"nginx.rate: {nginx.rate!r} is not a rate; write it like 10r/s or 600r/m",
            zh=f"nginx.rate：{nginx.rate!r} 不是速率；写法如 10r/s 或 600r/m",
        )
    if not 0 <= nginx.burst <= 100_000:
        yield Text(en="nginx.burst: choose 0 to 100000", zh="nginx.burst：须为 0 至 100000")


def _no_margins(tls: TlsSettings) -> Iterator[Text]:
    """Thresholds that are neither a time left nor a share."""
    for number, rule in enumerate(tls.thresholds):
        for key, value in (("warn", rule.warn), ("fail", rule.fail)):
            try:
                if value is not None:
                    parse_margin(value)
            except ValueError as error:
                place = f"tls.thresholds[{number}].{key}"
                yield Text(en=f"{place}: {error}", zh=f"{place}：{chinese(error)}")


def _no_file(state_file: str) -> Iterator[Text]:
    """A path that ends with no name: other files are named after the state's and lie beside it."""
    if Path(state_file).name in ("", ".."):
        right = "/var/lib/gte-ops/watchdog.json"
        yield Text(
            en=f"watchdog.state_file: {state_file!r} names no file; write it like {right}",
            zh=f"watchdog.state_file：{state_file!r} 不是文件路径；写法如 {right}",
        )


def _no_pings(ping: PingSettings) -> Iterator[Text]:
    """URLs that cannot be requested. The words hold none of them: each is a password."""
    for name in ("backup", "cert", "watchdog", "drill", "doctor"):
        url = getattr(ping, name)
        if url and not _is_web_url(url):
            right = "https://hc-ping.com/UUID"
            yield Text(
                en=f"notify.ping.{name}: not an http or https URL; write it like {right}",
                zh=f"notify.ping.{name}：不是 http 或 https 地址；写法如 {right}",
            )


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            len(url) <= MAX_URL_CHARS
            and not re.search(r"[\x00-\x20\x7f]", url)
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
        )
    except ValueError:
        return False


def is_host(host: str) -> bool:
    """Whether this can stand as a URL's host, an IPv6 address in brackets."""
    try:
        parts = urlsplit(f"https://[{host}]" if ":" in host else f"https://{host}")
    except ValueError:
        return False
    return parts.hostname == host.lower() and " " not in host


def _decode_seconds(kind: type, value: Any) -> Seconds:
    if kind is Seconds and isinstance(value, str | int | float):
        return parse_duration(value)
    raise ValueError(f"{value!r} is not a duration; write it like 10s, 15m, 36h or 7d")


def _unknown_keys(table: Mapping[str, Any], kind: type[Section], prefix: str) -> Iterator[Text]:
    hints = get_type_hints(kind)
    for key, value in table.items():
        if key not in hints:
            nearest = _nearest(key, hints, prefix)
            yield Text(
                en=f"unknown key {prefix}{key}; {nearest.en}", zh=f"未知的键 {prefix}{key}；{nearest.zh}"
            )
            continue
        inner = next((k for k in (hints[key], *get_args(hints[key])) if _is_section(k)), None)
        if inner is not None:
            for entry in value if isinstance(value, list) else (value,):
                if isinstance(entry, dict):
                    yield from _unknown_keys(entry, inner, f"{prefix}{key}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _nearest(key: str, hints: Mapping[str, Any], prefix: str) -> Text:
    """What may have been meant."""
    import difflib  # only a misspelt name needs it

    close = [prefix + name for name in difflib.get_close_matches(key, hints, n=1, cutoff=0.5)]
    elsewhere = [
        f"{section}.{key}"
        for section, kind in get_type_hints(Settings).items()
        if _is_section(kind) and key in get_type_hints(kind)
    ]
    if suggestion := next(iter(close + elsewhere), None):
        return Text(en=f"did you mean {suggestion}?", zh=f"是否指 {suggestion}？")
    return Text(en=f"known here: {', '.join(sorted(hints))}", zh=f"此处可用的键：{'、'.join(sorted(hints))}")
