"""`gte-ops cert`: parse, call, render."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import (
    Duration,
    config_option,
    group_language_option,
    language_option,
    option,
    output_option,
    pinged,
    report_format_option,
    settings_from,
    show,
)
from ops.errors import UsageError
from ops.text.language import Text

if TYPE_CHECKING:
    from typing import TextIO

    from ops.text.language import Language

# Below this many endpoints a run is over before progress would be read.
PROGRESS_FROM = 10


@click.group(cls=BilingualGroup, zh="证书：有哪些、还剩多久、谁来续期。")
@group_language_option
def cert() -> None:
    """Check certificates: which exist, how long they last, who renews them. 证书：有哪些、还剩多久、谁来续期。

    \b
    Example:
      gte-ops cert check
    """


@cert.command(
    zh="""检查本机全部证书，或指定的端点。

    不给端点时检查：nginx 提供的全部证书、certbot 管理的全部证书，以及配置中的 tls.endpoints。退出码：0 正常，1 警告，2
    严重，3 无法判断。"""
)
@click.argument("endpoints", nargs=-1, metavar="[HOST[:PORT]]...")
@config_option
@report_format_option
@language_option
@option(
    "--starttls",
    metavar="PROTOCOL",
    en="TLS begins inside this protocol: smtp, imap or pop3.",
    zh="在该协议内启动 TLS：smtp、imap 或 pop3。",
)
@option(
    "--timeout",
    type=Duration(),
    default="5s",
    show_default=True,
    en="How long one endpoint is waited for.",
    zh="每个端点的等待时限。",
)
@output_option
def check(
    endpoints: tuple[str, ...],
    config: str | None,
    form: str,
    language: Language,
    starttls: str | None,
    timeout: float,
    output: str | None,
) -> None:
    """Judge every certificate of this host, or of the named endpoints. 检查本机全部证书，或指定的端点。

    Without endpoints: all that nginx serves, all that certbot holds, and tls.endpoints of the configuration.
    Exit code: 0 ok, 1 warning, 2 critical, 3 could not be judged.

    \b
    Example:
      gte-ops cert check
      gte-ops cert check example.com www.example.com:8443
      gte-ops cert check --starttls smtp mail.example.com
      gte-ops cert check --format prometheus --output /var/lib/node_exporter/gte-certs.prom
    """
    from ops.certificates.check import check as run
    from ops.report.certificates import CertificateReport

    if not 0.1 <= timeout <= 120:
        raise UsageError(
            Text(en="--timeout: choose between 0.1s and 2m", zh="--timeout：须在 0.1s 与 2m 之间")
        )
    if starttls and not endpoints:
        raise UsageError(
            Text(
                en="--starttls needs an endpoint: gte-ops cert check --starttls smtp mail.example.com",
                zh="--starttls 需要一个端点：gte-ops cert check --starttls smtp mail.example.com",
            )
        )
    settings = settings_from(config)
    with nullcontext() if endpoints else pinged(settings, "cert"):
        review = run(settings, endpoints, starttls, timeout=timeout, progress=_Progress(sys.stderr))
        show(form, CertificateReport(review), language, output)
        sys.exit(review.exit_code)


class _Progress:
    """A counter on the terminal while many endpoints are looked at; silent in a pipe."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._shown = out.isatty()

    def __call__(self, count: int, total: int) -> None:
        if self._shown and total >= PROGRESS_FROM:
            self._out.write(f"\r{count}/{total}" if count < total else "\r\033[K")
            self._out.flush()
