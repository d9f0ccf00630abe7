"""The name users type."""

from __future__ import annotations

import pytest

from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Resolution
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import DOMAIN, HEALTHY, HOST_ADDRESS, INTERMEDIATE, but, certificate


def unresolved(failure: ProbeFailure, detail: str = "") -> Resolution:
    return Resolution(name=DOMAIN, resolver="127.0.0.53", failure=failure, detail=detail)


def resolved(*addresses: str) -> Resolution:
    return Resolution(name=DOMAIN, resolver="127.0.0.53", addresses=addresses)


def by_address(*names: str, trust_code: int = 0) -> Snapshot:
    """The URL is an address, and the certificate carries ``names``."""
    return but(
        resolution=Resolution(name=HOST_ADDRESS, resolver="", is_literal=True),
        target__domain=HOST_ADDRESS,
        target__url=f"https://{HOST_ADDRESS}",
        served__chain=(certificate(names=names), INTERMEDIATE),
        served__trust_code=trust_code,
    )


CASES: list[Case] = [
    fires(
        "DNS003",
        "the certificate is for a name",
        by_address(DOMAIN),
        f"subjectAltName: {DOMAIN}",
        severity="warn",
    ),
    fires("DNS003", "the address is in it, but no root is trusted", by_address(HOST_ADDRESS, trust_code=18)),
    quiet("DNS003", "the certificate carries the address", by_address(HOST_ADDRESS)),
    quiet("DNS003", "users are sent to a name", HEALTHY),
    quiet(
        "DNS003",
        "plain HTTP has no certificate",
        but(by_address(DOMAIN), target__url=f"http://{HOST_ADDRESS}"),
    ),
    *(
        fires("DNS001", failure, but(resolution=unresolved(failure)), facts={"failure": term})
        for failure, term in {
            ProbeFailure.NXDOMAIN: "NXDOMAIN",
            ProbeFailure.NO_ADDRESS: "no A/AAAA",
            ProbeFailure.TIMEOUT: "timeout",
            ProbeFailure.REFUSED: "REFUSED",
            ProbeFailure.SERVFAIL: "SERVFAIL",
            ProbeFailure.UNREACHABLE: "unreachable",
        }.items()
    ),
    fires(
        "DNS001",
        "says which: the resolver's own words stand beside it",
        but(resolution=unresolved(ProbeFailure.TIMEOUT, "no answer in 4.0 s")),
        "did not answer",
        "no answer in 4.0 s",
        severity="fail",
    ),
    quiet("DNS001", "the name resolves", HEALTHY),
    quiet(
        "DNS001",
        "an address literal is not looked up",
        but(
            resolution=Resolution(
                name="192.0.2.10", resolver="", is_literal=True, failure=ProbeFailure.NXDOMAIN
            )
        ),
    ),
    fires(
        "DNS002",
        "no resolved address is this host's own",
        but(resolution=resolved("198.51.100.7", "198.51.100.8")),
        "198.51.100.7, 198.51.100.8",
        severity="fail",
        facts={"addresses": "198.51.100.7, 198.51.100.8"},
    ),
    quiet(
        "DNS002",
        "the address is translated to this host: the same certificate is presented there",
        but(resolution=resolved("198.51.100.7"), elsewhere=HEALTHY.served),
    ),
    quiet("DNS002", "one of several is enough", but(resolution=resolved("198.51.100.7", HOST_ADDRESS))),
    quiet("DNS002", "loopback is this host", but(resolution=resolved("127.0.1.1"))),
    quiet(
        "DNS002",
        "what does not resolve leads nowhere else",
        but(resolution=unresolved(ProbeFailure.NXDOMAIN)),
    ),
    fires(
        "DNS002",
        "configured addresses count instead of the host's",
        but(resolution=resolved(HOST_ADDRESS), target__expected_addresses=("203.0.113.1",)),
        "target.expected_addresses",
        facts={"expected": "203.0.113.1"},
    ),
    fires(
        "DNS002",
        "loopback is not a configured address",
        but(resolution=resolved("127.0.0.1"), target__expected_addresses=("203.0.113.1",)),
    ),
    quiet(
        "DNS002",
        "a load balancer's address is configured",
        but(resolution=resolved("203.0.113.1"), target__expected_addresses=("203.0.113.1",)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize("failure", [ProbeFailure.TIMEOUT, ProbeFailure.REFUSED, ProbeFailure.UNREACHABLE])
def test_where_the_resolver_is_at_fault_no_record_is_to_be_added(failure: ProbeFailure) -> None:
    finding = found(but(resolution=unresolved(failure)))["DNS001"]
    assert finding.fix is not None
    assert "127.0.0.53" in str(finding.fix[0])
    assert found(but(resolution=unresolved(ProbeFailure.NXDOMAIN)))["DNS001"].fix is None


def test_the_record_is_to_hold_no_address_that_others_cannot_reach() -> None:
    own = ("127.0.0.1", "198.51.100.7", "::1", "2001:db8::7", "fe80::fc:ff:fe00:1")
    finding = found(but(resolution=resolved("203.0.113.1"), host__addresses=own))["DNS002"]
    assert finding.facts["expected"] == "198.51.100.7, 2001:db8::7"
