"""Judges of a balancer: whether the servers that nginx shares the requests among are alike."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator

from ops.diagnosis.finding import Finding, check, quote
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Backend, Exchange, Upstreams
from ops.facts.target import Target
from ops.interpret.nginx import ProxyPass
from ops.interpret.site import find_site

# A health answer is a matter of milliseconds: a server is slow from here on, seconds, and if it takes so many times
# as long as the others.
SLOW_SECONDS = 1.0
SLOW_TIMES = 5.0
# What a health answer says of the service that gives it.
VERSION_KEYS = ("version", "engine", "model")


@check(
    "nginx.slow_server",
    "NGX048",
    en="the servers behind nginx answer equally fast",
    zh="nginx 后面的各台后端应答速度相近",
)
def slow_server(
    nginx_config: NginxConfig, target: Target, upstreams: Upstreams, backend: Backend
) -> Iterator[Finding]:
    """NGX048: of several servers, one takes far longer for its health answer than the others."""
    for proxy_pass, answers in _shared(nginx_config, target, upstreams, backend):
        for address, answer in answers.items():
            others = [item.elapsed for other, item in answers.items() if other != address]
            usual = statistics.median(others)
            if answer.elapsed < SLOW_SECONDS or answer.elapsed < SLOW_TIMES * usual:
                continue
            yield Finding(
                "NGX048",
                (
                    quote(f"GET {address}{target.health_path}", f"{answer.status}, {answer.elapsed:.2f} s"),
                    *(
                        quote(f"GET {other}{target.health_path}", f"{item.status}, {item.elapsed:.3f} s")
                        for other, item in answers.items()
                        if other != address
                    ),
                    quote(proxy_pass.where, f"proxy_pass {proxy_pass.written}"),
                ),
                {"address": address, "seconds": f"{answer.elapsed:.1f}", "usual": f"{usual:.3f}"},
            )
            return


@check(
    "nginx.other_version",
    "NGX049",
    en="the servers behind nginx serve the same version",
    zh="nginx 后面的各台后端版本一致",
)
def other_version(
    nginx_config: NginxConfig, target: Target, upstreams: Upstreams, backend: Backend
) -> Iterator[Finding]:
    """NGX049: of several servers, one gives another version, engine or model in its health answer than most."""
    for proxy_pass, answers in _shared(nginx_config, target, upstreams, backend):
        versions = {address: words for address, item in answers.items() if (words := _version(item))}
        if len(set(versions.values())) < 2:
            continue
        ranked = Counter(versions.values()).most_common()
        usual = ranked[0][0]
        address = next(address for address, words in versions.items() if words != usual)
        yield Finding(
            "NGX049",
            (
                *(quote(f"GET {place}{target.health_path}", words) for place, words in versions.items()),
                quote(proxy_pass.where, f"proxy_pass {proxy_pass.written}"),
            ),
            {"address": address, "version": versions[address], "usual": usual},
        )
        return


def _shared(
    config: NginxConfig, target: Target, upstreams: Upstreams, backend: Backend
) -> Iterator[tuple[ProxyPass, dict[str, Exchange]]]:
    """Each proxy_pass with several servers that answer, and their health answers."""
    site = find_site(config, target.domain, target.backend)
    for proxy_pass in site.passes if site else ():
        seen = {
            address: backend.health if address == target.backend else upstreams.answers.get(address)
            for address in dict.fromkeys(proxy_pass.addresses)
        }
        answers = {
            address: item
            for address, item in seen.items()
            if isinstance(item, Exchange) and item.status == 200
        }
        if len(answers) > 1:
            yield proxy_pass, answers


def _version(answer: Exchange) -> str:
    """What the answer says of its service's version; empty if nothing."""
    body = answer.json()
    if not isinstance(body, dict):
        return ""
    return ", ".join(f"{key} {body[key]}" for key in VERSION_KEYS if isinstance(body.get(key), str))


CHECKS = (slow_server, other_version)
