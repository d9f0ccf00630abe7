"""What is examined: names, addresses, the application, gunicorn, nginx, the model and what surrounds them."""

from typing import Annotated

from ops.settings.key import FOUND, NONE, Section, key
from ops.text.duration import Seconds

DEFAULT_PREDICT_BODY = '{"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}'


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
            unset=NONE,
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
            unset=FOUND,
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
            unset=FOUND,
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


class ModelSettings(Section, frozen=True):
    """Where the production model's files lie."""

    dir: Annotated[
        str | None,
        key(
            "Directory of the production model's files (the service's GTE_MODEL_DIR).",
            "生产模型文件所在的目录（即服务的 GTE_MODEL_DIR）。",
            example="/srv/gte",
            since="0.1.0",
            unset=FOUND,
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
            unset=NONE,
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
