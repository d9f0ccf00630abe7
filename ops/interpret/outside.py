"""The target of a diagnosis from outside: another host's front door, and nothing of this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from ops.errors import UsageError
from ops.facts.target import Target
from ops.interpret.address import join_address
from ops.interpret.expiry import rules_of
from ops.settings import Settings, is_host
from ops.text.language import Text

# Why everything that only the host can tell was not seen.
OUTSIDE = "seen from outside"


def outside_url(words: str) -> str:
    """The URL to look at. A name alone means HTTPS. Raises UsageError, without quoting a password."""
    url = words if "://" in words else f"https://{words}"
    try:
        parts = urlsplit(url)
        is_usable = (
            parts.scheme in ("http", "https")
            and is_host(parts.hostname or "")
            and parts.port != 0
            and not (parts.username or parts.password or parts.query or parts.fragment)
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        is_usable = False
    if not is_usable:
        raise UsageError(
            Text(
                en="--from takes an http or https URL without user, query or fragment, like"
                " https://gte-api.example.com",
                zh="--from 需要不带用户、查询参数和片段的 http 或 https 地址，例如 https://gte-api.example.com",
            )
        )
    return url.rstrip("/")


def url_port(url: str) -> int:
    """The port that a URL is dialled at."""
    parts = urlsplit(url)
    return parts.port or (80 if parts.scheme == "http" else 443)


def outside_target(settings: Settings, url: str, address: str) -> Target:
    """The target at ``url``, dialled at ``address`` (an IP address).

    Of the settings only what a client sends and expects is taken: paths, the test prediction, the trusted roots. Files,
    processes and commands are none: the host is another one."""
    own = settings.target
    return Target(
        domain=urlsplit(url).hostname or "",
        url=url,
        connect_to=join_address(address, url_port(url)),
        plain_connect_to=join_address(address, 80),
        front_tls=url.startswith("https:"),
        backend="",
        health_path=own.health_path,
        ready_path=own.ready_path,
        predict_path=own.predict_path,
        predict_body=own.predict_body,
        expect_key=own.expect_key,
        slow_after_s=own.slow_after_s,
        resolver=own.resolver or None,
        expected_addresses=(),
        certificate=None,
        private_key=None,
        ca_file=settings.tls.ca_file or None,
        client_certificate=settings.tls.client_certificate or None,
        client_key=settings.tls.client_key or None,
        letsencrypt_dir="",
        upstreams=(),
        site_file=None,
        nginx_binary="",
        nginx_installed=False,
        nginx_config_file="",
        nginx_pidfile=None,
        nginx_access_log=None,
        nginx_error_logs=(),
        gunicorn_config_file=None,
        gunicorn_pidfile=None,
        gunicorn_access_log=None,
        gunicorn_error_log=None,
        gunicorn_master=None,
        gunicorn_workers=(),
        app_dir="",
        python="",
        model_dir=None,
        request_deadline=float(settings.app.request_deadline),
        boot_deadline=float(settings.app.boot_deadline),
        start_command="",
        restart_command="",
        reload_nginx="",
        start_nginx="",
        test_nginx="",
        expiry_rules=rules_of(settings.tls.thresholds),
        origin={"domain": "--from"},
    )
