"""The dead man's switch: which URL says what, and which URLs are refused."""

import pytest

from ops.errors import SettingsError
from ops.notifications.ping import PingEvent, PingKind, event_of, event_url, kind_of
from ops.settings import parse_settings
from ops.text.sanitize import without_secrets

UUID = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"


@pytest.mark.parametrize(
    ("url", "setting", "kind"),
    [
        (f"https://hc-ping.com/{UUID}", "auto", PingKind.HEALTHCHECKS),
        (f"https://checks.example.com/ping/{UUID}", "auto", PingKind.HEALTHCHECKS),
        ("https://kuma.example.com/api/push/abc?status=up", "auto", PingKind.UPTIME_KUMA),
        ("https://example.com/kuma/api/push/abc", "auto", PingKind.UPTIME_KUMA),
        ("https://hc-ping.com/key/api?x=/api/push/", "auto", PingKind.HEALTHCHECKS),
        ("https://relay.example.com/k", "uptime-kuma", PingKind.UPTIME_KUMA),
        ("https://relay.example.com/api/push/k", "healthchecks", PingKind.HEALTHCHECKS),
    ],
)
def test_the_kind_is_the_settings_or_the_paths(url: str, setting: str, kind: PingKind) -> None:
    assert kind_of(url, setting) is kind


@pytest.mark.parametrize(
    ("url", "event", "requested"),
    [
        ("https://h/ping/u", PingEvent.START, "https://h/ping/u/start"),
        ("https://h/ping/u/", PingEvent.SUCCESS, "https://h/ping/u"),
        ("https://h/key/nightly?create=1", PingEvent.FAILURE, "https://h/key/nightly/fail?create=1"),
    ],
)
def test_healthchecks_events_are_ends_of_the_path(url: str, event: PingEvent, requested: str) -> None:
    assert event_url(url, PingKind.HEALTHCHECKS, event, "words") == requested


def test_kuma_gets_its_own_parameters_once_and_no_start() -> None:
    url = "https://h/api/push/t?status=up&msg=OK&ping=&via=relay"
    assert event_url(url, PingKind.UPTIME_KUMA, PingEvent.START, "backup") is None
    assert (
        event_url(url, PingKind.UPTIME_KUMA, PingEvent.FAILURE, "a&b")
        == "https://h/api/push/t?via=relay&status=down&msg=a%26b"
    )


def test_a_warning_is_a_success_and_what_could_not_be_judged_is_none() -> None:
    assert [event_of(code) for code in (0, 1, 2, 3, 130)] == [
        PingEvent.SUCCESS,
        PingEvent.SUCCESS,
        PingEvent.FAILURE,
        PingEvent.FAILURE,
        PingEvent.FAILURE,
    ]


@pytest.mark.parametrize(
    "url", ["hc-ping.com/secret", "ftp://h/secret", "https:///secret", "https://h/a secret"]
)
def test_a_value_that_is_no_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings(f'[notify.ping]\nbackup = "{url}"\n'.encode(), "gte-ops.toml")
    words = refused.value.words
    assert "notify.ping.backup" in words.en
    assert "secret" not in words.en + words.zh


@pytest.mark.parametrize(
    "url",
    [f"https://hc-ping.com/{UUID}", f"https://h.example/ping/{UUID}/start", "https://k/api/push/Ab3dE6gh9J"],
)
def test_a_line_that_quotes_a_url_loses_its_token(url: str) -> None:
    line = without_secrets(f"requested {url}")
    assert UUID not in line
    assert "Ab3dE6gh9J" not in line
