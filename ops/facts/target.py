"""The target of a diagnosis: the addresses that users connect to, the service's address, and its files."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts
from ops.text.duration import Margin


class ExpiryRule(Facts, frozen=True):
    """When certificates whose names match a pattern of ``names`` are reported as ending soon, by the settings."""

    names: tuple[str, ...]
    warn: Margin | None = None
    fail: Margin | None = None


class OtherSite(Facts, frozen=True):
    """Another site that this nginx proxies: its name, an address it leads to, and FILE:LINE of its server block."""

    name: str
    address: str
    where: str


class Target(Facts, frozen=True):
    """The target of a diagnosis: the addresses that users connect to, the service's address, and its files.

    ``origin`` says for each field where its value was found. Addresses: ``ip:port`` or ``unix:/path``.
    ``nginx_config_owner``: the owner of nginx's configuration file; ``other_gunicorns``: masters of other services;
    ``other_sites``: the other sites that nginx proxies, if no settings say which one is meant; ``gunicorn_log_namer``:
    the user who runs gunicorn, who has named its logs if the settings do not; None if not seen. ``front_tls``: whether
    the front address speaks TLS (a balancer before this host may end it); ``front_proxy_protocol``,
    ``plain_proxy_protocol``: whether a connection there begins with a line of the PROXY protocol;
    ``front_without_tls``: where a site is reached that has no TLS of its own, behind a balancer perhaps;
    ``client_certificate``, ``client_key``: what is shown where one is asked for; ``headers_file``: of the headers that
    the probes send, ``headers_unread``: why they are not."""

    domain: str
    url: str
    connect_to: str | None
    plain_connect_to: str | None
    backend: str
    health_path: str
    ready_path: str
    predict_path: str
    predict_body: str
    expect_key: str
    slow_after_s: float
    resolver: str | None
    expected_addresses: tuple[str, ...]
    certificate: str | None
    private_key: str | None
    ca_file: str | None
    letsencrypt_dir: str
    upstreams: tuple[str, ...]
    site_file: str | None
    nginx_binary: str
    nginx_installed: bool
    nginx_config_file: str
    nginx_pidfile: str | None
    nginx_access_log: str | None
    nginx_error_logs: tuple[str, ...]
    gunicorn_config_file: str | None
    gunicorn_pidfile: str | None
    gunicorn_access_log: str | None
    gunicorn_error_log: str | None
    gunicorn_master: int | None
    gunicorn_workers: tuple[int, ...]
    app_dir: str
    python: str
    model_dir: str | None
    request_deadline: float
    boot_deadline: float
    start_command: str
    restart_command: str
    reload_nginx: str
    start_nginx: str
    test_nginx: str
    python_command: str = ""
    nginx_default_config: str = "/etc/nginx/nginx.conf"
    nginx_config_owner: int = 0
    gunicorn_log_namer: int | None = None
    other_gunicorns: tuple[int, ...] = ()
    other_sites: tuple[OtherSite, ...] = ()
    front_tls: bool = True
    front_proxy_protocol: bool = False
    plain_proxy_protocol: bool = False
    front_without_tls: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    headers_file: str | None = None
    model_source: str | None = None
    headers_unread: str = ""
    expiry_rules: tuple[ExpiryRule, ...] = ()
    origin: dict[str, str] = msgspec.field(default_factory=dict)
