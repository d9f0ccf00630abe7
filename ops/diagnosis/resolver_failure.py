"""Why a name did not resolve, in both languages."""

from __future__ import annotations

from ops.facts.probe_failure import ProbeFailure
from ops.text.language import Text, verbatim

_FAILURES = {
    ProbeFailure.NXDOMAIN: Text(en="the name does not exist (NXDOMAIN)", zh="域名不存在（NXDOMAIN）"),
    ProbeFailure.NO_ADDRESS: Text(
        en="the name exists but has no A or AAAA record", zh="域名存在，但没有 A 或 AAAA 记录"
    ),
    ProbeFailure.TIMEOUT: Text(en="the resolver did not answer", zh="DNS 服务器没有应答"),
    ProbeFailure.REFUSED: Text(en="the resolver refuses the question", zh="DNS 服务器拒绝查询"),
    ProbeFailure.SERVFAIL: Text(en="the resolver failed (SERVFAIL)", zh="DNS 服务器出错（SERVFAIL）"),
    ProbeFailure.UNREACHABLE: Text(en="the resolver cannot be reached", zh="无法连接 DNS 服务器"),
}


def resolver_failure(failure: str) -> Text:
    """The sentence for a resolver's ``failure``; the word itself if there is none for it."""
    return next((words for known, words in _FAILURES.items() if known == failure), verbatim(failure))
