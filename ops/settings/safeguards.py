"""Certificates, backups, the watchdog and messages."""

from typing import Annotated, Literal

from msgspec import Meta

from ops.settings.key import NONE, Section, key, table
from ops.text.duration import Seconds


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
            unset=NONE,
        ),
    ] = ""
    client_certificate: Annotated[
        str,
        key(
            "PEM file of the certificate that the doctor shows where nginx asks for one (`ssl_verify_client`).",
            "nginx 要求客户端证书（`ssl_verify_client`）时，doctor 出示的证书（PEM 文件）。",
            example="/etc/ssl/doctor.pem",
            since="0.3.0",
            unset=NONE,
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
            unset=NONE,
        ),
    ] = ()
    thresholds: Annotated[
        tuple[TlsThreshold, ...],
        key(
            "Other limits of the time left, for some names. The first entry that matches a name counts.",
            "某些域名的剩余时间界限。按顺序取第一个匹配的条目。",
            example=[{"names": ["*.corp.example.com"], "warn": "45d", "fail": "10%"}],
            since="0.1.0",
            unset=NONE,
        ),
    ] = ()


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
            unset=NONE,
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
            unset=NONE,
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
            unset=NONE,
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
