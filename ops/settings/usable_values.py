"""Values of the right type that cannot be used."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ops.settings.safeguards import PingSettings, TlsSettings
from ops.settings.target import NginxSettings, TargetSettings, UpstreamSettings
from ops.text.duration import parse_margin
from ops.text.language import Text
from ops.text.reasons import chinese

if TYPE_CHECKING:
    from ops.settings.document import Settings

# Longer than any URL that a service gives out.
MAX_URL_CHARS = 2000


def unusable_values(settings: "Settings") -> Iterator[Text]:
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
