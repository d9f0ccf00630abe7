"""Find the line that sets a header for the service, or the line that is not inherited, and the place to write it.

Source: nginx documentation, ngx_http_proxy_module (proxy_set_header: inherited only if the inner level has none)."""

from __future__ import annotations

import msgspec

from ops.facts.nginx import Directive, NginxConfig
from ops.facts.target import Target
from ops.interpret.site import find_site
from ops.text.language import Text


class SentHeader(msgspec.Struct, frozen=True):
    """``sent``: the line that sets the header for a path. ``lost``: if there is none, a line of an outer block that is
    not inherited because of ``instead``. ``where``: the ``file:line`` beside which a new line takes effect."""

    sent: Directive | None
    lost: Directive | None = None
    instead: Directive | None = None
    where: str = ""


def sent_header(config: NginxConfig, target: Target, path: str, name: str) -> SentHeader | None:
    """Return how nginx sets the header ``name`` for ``path``; None if it does not proxy the path."""
    site = find_site(config, target.domain, target.backend)
    location = site.server.location_for(path) if site else None
    if location is None or not (passes := location.effective("proxy_pass")):
        return None
    effective = location.effective("proxy_set_header")
    beside = effective[0] if effective else passes[-1]
    where = beside.where
    directive_in_force = _named(effective, name)
    if directive_in_force is not None or not effective:
        return SentHeader(directive_in_force, where=where)
    overridden = next(
        (
            directive
            for block in location.blocks
            if (
                directive := _named(tuple(d for d in block.block or () if d.name == "proxy_set_header"), name)
            )
        ),
        None,
    )
    return SentHeader(None, overridden, effective[0], where)


def _named(directives: tuple[Directive, ...], name: str) -> Directive | None:
    return next((d for d in directives if d.args and d.args[0].lower() == name.lower()), None)


def how_to_send(header: SentHeader, line: str) -> Text:
    """Say where to write ``line``, and why the existing one has no effect."""
    if header.lost is None or header.instead is None:
        return Text(en=f"Beside {header.where} write: {line}", zh=f"在 {header.where} 旁写：{line}")
    other, instead = (d.where for d in (header.lost, header.instead))
    return Text(
        en=f"Beside {header.where} write: {line} The one at {other} is not inherited there, because a block inside has"
        f" a proxy_set_header of its own ({instead}); so repeat all that are needed",
        zh=f"在 {header.where} 旁写：{line} {other} 处的那一行不会被继承，"
        f"因为里层的块有自己的 proxy_set_header（{instead}）；需要的各行都要在里层重写一遍",
    )
