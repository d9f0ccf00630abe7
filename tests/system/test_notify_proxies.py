"""A message to this host never goes through a proxy, whatever the environment says; every other one does."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.notifications.message import MessageKind
from ops.notifications.notify import Delivery, Message, Outbox
from ops.text.language import verbatim
from tests.system.peer import peer, request_of
from tests.system.recording_proxy import NAMES, RecordingProxy, recording_proxy, set_proxies
from tests.system.robot_endpoint import SECRET, Endpoint, mail_server, robot_endpoint

UPPER = tuple(name.upper() for name in NAMES)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with robot_endpoint() as running:
        yield running


@pytest.fixture
def proxy() -> Iterator[RecordingProxy]:
    with recording_proxy() as running:
        yield running


def deliver(tmp_path: Path, *urls: str) -> list[Delivery]:
    """The deliveries of one message to ``urls``, in their order."""
    outbox = Outbox(tmp_path / "outbox.json", urls, "en")
    assert (
        outbox.add(Message("K", MessageKind.TROUBLE, verbatim("hangs"), verbatim("proof"), time.time()))
        == "queued"
    )
    now = time.time()
    deliveries = sorted(outbox.deliver(now, now + 15), key=lambda item: item.index)
    assert [item.index for item in deliveries] == list(range(len(urls)))
    return deliveries


@pytest.mark.parametrize(
    ("names", "no_proxy"),
    [
        (NAMES, None),
        (UPPER, None),
        (("all_proxy",), None),
        (("ALL_PROXY",), ""),
        (NAMES + UPPER, "example.com,10.0.0.0/8"),
    ],
)
def test_no_robot_on_this_host_is_reached_through_a_proxy(
    endpoint: Endpoint,
    proxy: RecordingProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    no_proxy: str | None,
) -> None:
    set_proxies(monkeypatch, names, proxy.url, no_proxy)
    port = endpoint.url.rpartition(":")[2]
    deliveries = deliver(
        tmp_path,
        f"dingtalk://{SECRET}@signed1?endpoint={endpoint.url}",
        f"feishu://{SECRET}@signed2?endpoint={endpoint.url}",
        f"lark://fine3?endpoint=http://localhost:{port}",
        f"wecombot://fine4?endpoint={endpoint.url}",
        f"json://127.0.0.1:{port}/fine5",
        f"json://localhost:{port}/fine6",
        f"xml://127.9.9.9:{port}/fine7",
        f"form://relay.localhost:{port}/fine8",
        f"json://0.0.0.0:{port}/fine9",
        f"jsons://127.0.0.1:{port}/plain10",
        f"json://[::ffff:127.0.0.1]:{port}/fine11",
        f"json://[::1]:{port}/fine12",
        f"json://2130706433:{port}/fine13",
        f"json://0x7f000001:{port}/fine14",
        f"json://{socket.gethostname()}:{port}/fine15",
    )
    assert proxy.requests == []
    assert [item.outcome for item in deliveries[:6]] == ["accepted"] * 6


@pytest.mark.parametrize("names", [NAMES, UPPER, ("all_proxy",)])
def test_a_robot_elsewhere_is_reached_through_the_proxy(
    proxy: RecordingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    set_proxies(monkeypatch, names, proxy.url, "localhost,127.0.0.1")
    deliveries = deliver(
        tmp_path,
        "json://robot.example.invalid/hook",
        "json://203.0.113.7:8080/hook",
        "json://localhost.example.invalid/hook",
        *(
            f"{schema}://TokenToken?endpoint=https://{schema}.example.invalid"
            for schema in ("dingtalk", "feishu", "lark", "wecombot")
        ),
    )
    assert {item.outcome for item in deliveries} == {"failed"}
    assert sorted(line.rpartition(" ")[0] for line in proxy.lines) == sorted(
        [
            "POST http://robot.example.invalid/hook",
            "POST http://203.0.113.7:8080/hook",
            "POST http://localhost.example.invalid/hook",
            "CONNECT dingtalk.example.invalid:443",
            "CONNECT feishu.example.invalid:443",
            "CONNECT lark.example.invalid:443",
            "CONNECT wecombot.example.invalid:443",
        ]
    )


def test_no_proxy_is_honoured_for_other_hosts(
    proxy: RecordingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_proxies(monkeypatch, NAMES, proxy.url, "example.invalid")
    (delivery,) = deliver(tmp_path, "json://robot.example.invalid/hook")
    assert (delivery.outcome, proxy.requests) == ("failed", [])


def redirecting(location: str, seen: list[bytes]) -> Callable[[socket.socket], None]:
    def manners(sock: socket.socket) -> None:
        seen.append(request_of(sock))
        head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n"
        sock.sendall(f"{head}Connection: close\r\n\r\n".encode())

    return manners


@pytest.mark.parametrize("location", ["http://robot.example.invalid/t", "//203.0.113.7/t"])
def test_a_redirect_from_this_host_elsewhere_is_not_followed(
    proxy: RecordingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    set_proxies(monkeypatch, NAMES, proxy.url, None)
    seen: list[bytes] = []
    with peer(redirecting(location, seen)) as address:
        (delivery,) = deliver(tmp_path, f"json://{address}/TokenToken")
    assert len(seen) == 1
    assert proxy.requests == []
    assert delivery.outcome == "failed"
    assert "307" in delivery.reason.en


def test_a_redirect_from_elsewhere_to_this_host_is_not_followed(
    endpoint: Endpoint, proxy: RecordingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_proxies(monkeypatch, NAMES, proxy.url, None)
    proxy.answer = (
        f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {endpoint.url}/inside\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n"
    ).encode()
    (delivery,) = deliver(tmp_path, "json://robot.example.invalid/TokenToken")
    assert (delivery.outcome, len(proxy.requests), endpoint.posts) == ("failed", 1, [])


def test_a_redirect_that_stays_on_this_host_is_followed_without_a_proxy(
    endpoint: Endpoint, proxy: RecordingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_proxies(monkeypatch, NAMES, proxy.url, None)
    with peer(redirecting(f"{endpoint.url}/fine", [])) as address:
        (delivery,) = deliver(tmp_path, f"json://{address}/TokenToken")
    assert (delivery.outcome, proxy.requests, len(endpoint.posts)) == ("accepted", [], 1)


def test_mail_goes_to_its_server_without_a_proxy(
    proxy: RecordingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SMTP knows no proxy (smtplib asks for none)."""
    set_proxies(monkeypatch, NAMES + UPPER, proxy.url, None)
    said: list[bytes] = []
    with peer(mail_server(said)) as address:
        host, _, port = address.rpartition(":")
        (delivery,) = deliver(
            tmp_path,
            f"mailto://localhost:{port}?smtp={host}&mode=insecure&from=a@example.com&to=b@example.com",
        )
    assert (delivery.outcome, proxy.requests) == ("accepted", [])
    assert any(line.upper().startswith(b"RCPT TO") for line in said)
