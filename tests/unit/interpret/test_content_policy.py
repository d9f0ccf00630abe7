"""What a Content-Security-Policy forbids a page."""

from __future__ import annotations

import pytest

from ops.interpret.content_policy import forbidding_part

CDN = "https://cdn.jsdelivr.net"
NAME = "shop.example"


@pytest.mark.parametrize(
    ("policy", "kind", "origin", "part"),
    [
        ("default-src 'self'", "script", CDN, "default-src 'self'"),
        ("default-src 'self'", "script", "", "default-src 'self'"),
        ("default-src 'none'; style-src 'self'", "style", CDN, "style-src 'self'"),
        (
            "default-src *; script-src 'self' https://a.example",
            "script",
            CDN,
            "script-src 'self' https://a.example",
        ),
        ("script-src 'self' https:", "script", CDN, None),
        ("script-src 'self' *.jsdelivr.net", "script", CDN, None),
        ("script-src CDN.jsdelivr.net", "script", CDN, None),
        ("script-src https://cdn.jsdelivr.net/npm/", "script", CDN, None),
        ("script-src *", "script", CDN, None),
        ("script-src 'self' http:", "script", CDN, None),
        ("script-src 'self' https:", "script", "http://cdn.example", "script-src 'self' https:"),
        ("default-src 'self'", "script", f"https://www.{NAME}", None),
        ("default-src 'self' 'unsafe-inline'", "script", "", None),
        ("script-src 'self' 'nonce-r4nd0m'", "script", "", None),
        ("script-src 'strict-dynamic' 'nonce-r4nd0m'", "script", CDN, None),
        ("script-src 'self' $allowed", "script", CDN, None),
        ("default-src 'self'", "script", f"https://{NAME}", None),
        ("frame-ancestors 'none'", "script", CDN, None),
        ("upgrade-insecure-requests;", "script", "", None),
        ("script-src-elem 'self'; script-src *", "script", CDN, "script-src-elem 'self'"),
    ],
)
def test_a_part_forbids_what_it_does_not_list(policy: str, kind: str, origin: str, part: str | None) -> None:
    assert forbidding_part(policy, kind, origin, (NAME, f"*.{NAME}")) == part
