"""What a User-Agent tells about its sender."""

from __future__ import annotations

import pytest

from ops.interpret.agent_kind import agent_kind, is_monitor, is_system


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
            "Windows",
        ),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15", "iPhone"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Mobile", "Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", "Macintosh"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Linux"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "googlebot"),
        ("python-requests/2.32.3", "python-requests"),
        ("OpenAI/Python 1.99.0", "openai"),
        ("okhttp/4.12.0", "okhttp"),
        ("curl/8.5.0", ""),
        ("-", ""),
        ("", ""),
    ],
)
def test_kind(agent: str, kind: str) -> None:
    assert agent_kind(agent) == kind


def test_systems_are_not_programs() -> None:
    assert is_system("Windows")
    assert not is_system("okhttp")


@pytest.mark.parametrize(
    "agent", ["kube-probe/1.31", "Prometheus/2.53.0", "check_http/v2.3.3 (monitoring-plugins 2.3.3)"]
)
def test_monitors_are_known(agent: str) -> None:
    assert is_monitor(agent)
    assert not is_monitor("python-requests/2.32.3")
