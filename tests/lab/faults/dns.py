"""The name users type."""

from __future__ import annotations

from collections.abc import Callable

import dns.exception
import dns.message
import dns.query

from tests.lab.client import Client
from tests.lab.faults.case import fault
from tests.lab.stack import Stack


def resolves_to(*addresses: str) -> Callable[[Stack], bool]:
    """A client that asks the name server gets these addresses; none where it gets no answer at all."""

    def sees(stack: Stack) -> bool:
        question = dns.message.make_query(stack.domain, "A")
        try:
            answer = dns.query.udp(question, stack.address, port=stack.ports["dns"], timeout=0.3)
        except dns.exception.Timeout:
            return not addresses
        return {item.to_text() for rrset in answer.answer for item in rrset} == set(addresses)

    return sees


@fault("DNS001", sees=resolves_to())
def name_does_not_exist(stack: Stack) -> None:
    stack.resolver.answer(stack.domain)


@fault("DNS001", sees=resolves_to())
def resolver_is_silent(stack: Stack) -> None:
    stack.resolver.fall_silent()


@fault("DNS002", sees=resolves_to("203.0.113.10"))
def name_leads_elsewhere(stack: Stack) -> None:
    stack.resolver.answer(stack.domain, "203.0.113.10")


@fault("DNS002", sees=resolves_to("203.0.113.10"))
def name_leads_elsewhere_and_nothing_is_expected(stack: Stack) -> None:
    del stack.config["target"]["expected_addresses"]
    stack.write_config()
    stack.resolver.answer(stack.domain, "203.0.113.10")


@fault("DNS003", sees=lambda stack: not_vouched_for(stack), explains=("TLS004",), layout="guide")
def users_are_sent_to_an_address(stack: Stack) -> None:
    stack.config["target"] |= {
        "domain": stack.address,
        "url": f"https://{stack.address}:{stack.ports['https']}",
    }
    stack.write_config()


def not_vouched_for(stack: Stack) -> bool:
    """What a client meets that opens the URL: the certificate is for the name."""
    answer = Client(stack.address, str(stack.ca_file)).request(stack.https, "GET", "/health", tls=True)
    return "mismatch" in (answer.error or "")
