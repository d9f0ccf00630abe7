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
        slow = [address for address in answers if _is_slow(address, answers)]
        if not slow:
            continue
        slow.sort(key=lambda address: -answers[address].elapsed)
        usual = statistics.median(item.elapsed for address, item in answers.items() if address not in slow)
        yield Finding(
            "NGX048",
            (
                *(
                    quote(
                        f"GET {address}{target.health_path}",
                        f"{answers[address].status}, {answers[address].elapsed:.3f} s",
                    )
                    for address in (*slow, *(address for address in answers if address not in slow))
                ),
                quote(proxy_pass.where, f"proxy_pass {proxy_pass.written}"),
            ),
            {
                "address": slow[0],
                "slow": ", ".join(slow),
                "seconds": f"{answers[slow[0]].elapsed:.1f}",
                "usual": f"{usual:.3f}",
            },
            subjects=tuple(slow),
        )
        return


def _is_slow(address: str, answers: dict[str, Exchange]) -> bool:
    """Whether an answer took far longer than the others did, by their median, the lower one of an even number."""
    usual = statistics.median_low(item.elapsed for other, item in answers.items() if other != address)
    return answers[address].elapsed >= max(SLOW_SECONDS, SLOW_TIMES * usual)


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
        others = [address for address, words in versions.items() if words != usual]
        yield Finding(
            "NGX049",
            (
                *(quote(f"GET {place}{target.health_path}", words) for place, words in versions.items()),
                quote(proxy_pass.where, f"proxy_pass {proxy_pass.written}"),
            ),
            {
                "address": others[0],
                "different": ", ".join(f"{place} ({versions[place]})" for place in others),
                "usual": usual,
            },
            subjects=tuple(others),
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
