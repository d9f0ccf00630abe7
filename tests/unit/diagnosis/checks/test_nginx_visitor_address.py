"""A proxy in front of nginx hides the visitors' addresses: when that is proven, and when one address is right."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Sender
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.diagnosis.checks.test_nginx_refused_users import limited, site
from tests.unit.made_snapshot import (
    GUNICORN_PROCESSES,
    NGINX_ACCESS_LOG,
    NGINX_PROCESSES,
    SITE,
    answered,
    but,
    nginx_config,
    process,
    processes,
)

BROWSERS = ("Android", "Windows")
PROGRAMS = ("okhttp", "openai/python", "python-requests")
TRUSTED = "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;"
WITHOUT_LIMIT = SITE.replace("limit_req zone", "# limit_req zone")
BY_KEY = SITE.replace("$binary_remote_addr zone=gte_api", "$http_x_api_key zone=gte_api")
PROXY_PROTOCOL = SITE.replace("listen 443 ssl", "listen 443 ssl proxy_protocol")
assert SITE not in (WITHOUT_LIMIT, BY_KEY, PROXY_PROTOCOL)


def sent(*senders: Sender, config: Any = None, more: int = 0, **changes: Any) -> Snapshot:
    """So many requests of ``senders``, all answered, in nginx's log."""
    total = sum(sender.requests for sender in senders) + more
    log = logged(NGINX_ACCESS_LOG, answered("200", total), senders=senders, more_senders=more)
    return but(logs__nginx_access=log, nginx_config=config or nginx_config(SITE), **changes)


def tunnel(address: str = "127.0.0.1", requests: int = 300, visitors: int = 7, *agents: str) -> Sender:
    return Sender(address=address, requests=requests, visitors=visitors, agents=agents)


def beside_tunnel(*senders: Sender, **changes: Any) -> Snapshot:
    running = (*GUNICORN_PROCESSES, process(900, 1, "/usr/bin/cloudflared", "tunnel", "run"))
    return sent(*senders, processes=processes(NGINX_PROCESSES, running), **changes)


CASES = [
    fires(
        "NGX071",
        "a tunnel on this host names its visitors",
        sent(tunnel()),
        "300 of 300 requests",
        "7 visitors",
        "limit_req zone=gte_api",
        severity="warn",
        facts={"address": "127.0.0.1"},
    ),
    fires("NGX071", "a CDN's public address may", sent(tunnel("203.0.113.9")), "7 visitors"),
    fires("NGX071", "the two nodes of a balancer do", sent(tunnel("100.64.0.1"), tunnel("100.64.0.2"))),
    fires("NGX071", "a few ask past the proxy", sent(tunnel(), Sender(address="10.0.0.9", requests=6))),
    fires("NGX071", "no limit, but the log does not tell who asks", sent(tunnel(), config=nginx_config(WITHOUT_LIMIT))),
    fires("NGX071", "another proxy is trusted than the one that asks", sent(tunnel("10.0.0.9"), config=site(TRUSTED))),
    fires("NGX071", "the proxy is trusted, by a header that it does not set", sent(tunnel(), config=site(TRUSTED))),
    fires("NGX071", "browsers of two systems behind a private address", sent(tunnel("10.0.0.9", 300, 0, *BROWSERS))),
    fires("NGX071", "three programs behind loopback", sent(tunnel("127.0.0.1", 300, 0, *PROGRAMS)), "okhttp"),
    fires("NGX071", "the PROXY protocol without realip", sent(tunnel(visitors=0), config=nginx_config(PROXY_PROTOCOL))),
    fires(
        "NGX071",
        "a tunnel's program on this host, from which all come",
        beside_tunnel(tunnel("127.0.0.1", 300, 0, "okhttp")),
        "cloudflared, process 900",
    ),
    quiet("NGX071", "a tunnel for something else", beside_tunnel(tunnel("198.51.100.4", 300, 0, "okhttp"))),
    quiet("NGX071", "beside a tunnel a client of the network", beside_tunnel(tunnel("10.0.0.9", 300, 0, "okhttp"))),
    quiet("NGX071", "a tunnel, and realip", beside_tunnel(tunnel(requests=300, visitors=0), config=site(TRUSTED))),
    quiet("NGX071", "one internal client", sent(tunnel("10.0.0.9", 9000, 0, "python-requests"))),
    quiet("NGX071", "a client on this host, and its operator", sent(tunnel("127.0.0.1", 9000, 0, "httpx", "okhttp"))),
    quiet("NGX071", "a gateway that names itself only", sent(tunnel("10.0.0.9", 9000, 1, "envoy"))),
    quiet("NGX071", "few requests", sent(tunnel(requests=19))),
    quiet("NGX071", "nobody asked", sent()),
    quiet("NGX071", "an office behind one public address", sent(tunnel("203.0.113.9", 300, 0, *BROWSERS, *PROGRAMS))),
    quiet(
        "NGX071",
        "realip is set, and one visitor is busy",
        sent(tunnel("10.0.0.9", 300, 0, *PROGRAMS), config=site(TRUSTED)),
    ),
    quiet(
        "NGX071",
        "realip is set for the server",
        sent(tunnel("10.0.0.9", 300, 0, *PROGRAMS), config=nginx_config(TRUSTED + SITE)),
    ),
    quiet(
        "NGX071",
        "the PROXY protocol with realip",
        sent(
            tunnel("10.0.0.9", 300, 0, *BROWSERS),
            config=nginx_config("set_real_ip_from 10.0.0.1; real_ip_header proxy_protocol;" + PROXY_PROTOCOL),
        ),
    ),
    quiet(
        "NGX071",
        "the limit is by API key: several programs are no proof enough",
        sent(tunnel("10.0.0.9", 300, 0, *PROGRAMS), config=nginx_config(BY_KEY)),
    ),
    quiet("NGX071", "visitors come directly too", sent(tunnel(), Sender(address="198.51.100.4", requests=60))),
    quiet("NGX071", "too many addresses to keep", sent(tunnel(), more=90)),
    quiet(
        "NGX071",
        "several clients of one network, each itself",
        sent(tunnel("10.0.0.8", 300, 0, "okhttp"), tunnel("10.0.0.9", 300, 0, "httpx", "go-http-client")),
    ),
    quiet(
        "NGX071",
        "clients that claim addresses of others",
        sent(*(tunnel(f"198.51.100.{n}", 60, 9) for n in range(5))),
    ),
    quiet("NGX071", "another application's log", but(sent(tunnel()), logs__nginx_access=logged(
        NGINX_ACCESS_LOG, answered("200", 300), senders=(tunnel(),), is_shared=True))),
    quiet("NGX071", "who refuses by it is named by the limit's own cause", limited("127.0.0.1")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def steps(snapshot: Snapshot) -> str:
    return "\n".join(
        step if isinstance(step, str) else f"{step.en}\n{step.zh}"
        for step in found(snapshot)["NGX071"].fix or ()
    )


def test_the_steps_name_every_address_and_the_header() -> None:
    both = steps(sent(tunnel("100.64.0.1"), tunnel("100.64.0.2")))
    assert "set_real_ip_from 100.64.0.1; set_real_ip_from 100.64.0.2; real_ip_header X-Forwarded-For;" in both
    balanced = steps(sent(tunnel(visitors=0), config=nginx_config(PROXY_PROTOCOL)))
    assert "set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;" in balanced


def test_nobody_is_told_to_trust_an_address_that_may_be_a_client_s() -> None:
    finding = found(sent(tunnel("203.0.113.9")))["NGX071"]
    assert finding.summary is not None
    assert "gateway of a client" in finding.summary.en
    assert all(not isinstance(step, str) for step in finding.fix or ()), "a command"
    said = steps(sent(tunnel("203.0.113.9")))
    assert "Only if it is your own proxy" in said
    assert "set_real_ip_from 203.0.113.9" not in said
    assert "set_real_ip_from 203.0.113.9" not in steps(sent(tunnel("127.0.0.1"), tunnel("203.0.113.9")))


@pytest.mark.parametrize(
    "config",
    [site("set_real_ip_from 203.0.113.0/24;"), nginx_config(PROXY_PROTOCOL)],
    ids=["trusted", "PROXY"],
)
def test_a_public_proxy_that_is_one_s_own_gets_its_steps(config: Any) -> None:
    said = steps(sent(tunnel("203.0.113.9"), config=config))
    assert "Only if it is your own proxy" not in said
    assert "real_ip_header" in said


def test_a_trusted_proxy_needs_the_header_alone() -> None:
    said = steps(sent(tunnel(), config=site(TRUSTED)))
    assert "set_real_ip_from 127.0.0.1" not in said
    assert "real_ip_header X-Forwarded-For" in said


OWN_LIMIT = {"GTE_RATE": "600r/m"}


def of_the_service(variables: dict[str, str], *agents: str) -> Snapshot:
    """nginx has no limit; the service's process has these variables."""
    everyone = [msgspec.structs.replace(p, environment=variables) for p in GUNICORN_PROCESSES]
    return sent(
        tunnel("10.0.0.9", 300, 0, *(agents or BROWSERS)),
        config=nginx_config(WITHOUT_LIMIT),
        processes=processes(NGINX_PROCESSES, everyone),
    )


@pytest.mark.parametrize(
    "case",
    [
        fires(
            "NGX071",
            "the service's own limit counts them as one",
            of_the_service(OWN_LIMIT),
            "GTE_RATE=600r/m",
            severity="warn",
        ),
        quiet(
            "NGX071",
            "the service counts by API key",
            of_the_service({**OWN_LIMIT, "GTE_API_KEYS_FILE": "/k"}),
        ),
        quiet("NGX071", "neither has a limit", of_the_service({})),
        quiet("NGX071", "one program of one visitor", of_the_service(OWN_LIMIT, "okhttp")),
    ],
    ids=str,
)
def test_the_service_s_own_limit_counts_too(case: Case) -> None:
    hold(case)


def test_the_summary_names_the_service_s_limit() -> None:
    finding = found(of_the_service(OWN_LIMIT))["NGX071"]
    assert finding.summary is not None
    assert "GTE_RATE=600r/m" in finding.summary.en
    assert "GTE_RATE=600r/m" in finding.summary.zh
