"""Messages on the wire: real sockets, Apprise, the plug-ins, the process that sends, the outbox on disk."""

from __future__ import annotations

import os
import time

# ?None
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from ops.notifications.message import MessageKind
from ops.notifications.notify import Message, Outbox
from ops.notifications.outbox import Delivery
from ops.text.language import Language, Text, verbatim
from tests.system.robot_endpoint import SECRET, Endpoint, robot_endpoint


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with robot_endpoint() as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def message(
    key: str = "GUN003",
    kind: MessageKind = MessageKind.TROUBLE,
    title: str = "the worker hangs",
    at: float | None = None,
    body: str = "proof",
) -> Message:
    return Message(key, kind, Text(en=title, zh="工作进程卡死"), verbatim(body), at or time.time())


def tell(
    tmp_path: Path,
    urls: Sequence[str],
    within: float = 12.0,
    language: Language = "en",
    sent: Message | None = None,
) -> tuple[Outbox, dict[int, Delivery]]:
    """Deliver one message to ``urls``; returns the outbox and its deliveries by destination."""
    outbox = Outbox(tmp_path / "outbox.json", urls, language)
    assert outbox.add(sent or message()) == "queued"
    now = time.time()
    deliveries = outbox.deliver(now, now + within)
    assert outbox.problems() == ()
    assert len(deliveries) == len(urls)
    return outbox, {item.index: item for item in deliveries}


# What each robot says, the outcome, words of the reason, and whether the vendor's or the peer's pause is kept.
CASES = [
    ("dingtalk://{secret}@signed1/?endpoint={at}", "accepted", "", None),
    (
        "dingtalk://wrongSecret1@signed2/?endpoint={at}",
        "refused",
        "310000 sign not match (check the secret",
        None,
    ),
    ("{ding}keyword3&endpoint={at}", "accepted", "", None),
    ("dingtalk://code310000-4/?endpoint={at}", "refused", "310000", None),
    ("dingtalk://code130101-5/?endpoint={at}", "failed", "130101", 600),
    ("feishu://{secret}@signed6/?endpoint={at}", "accepted", "", None),
    ("feishu://wrongSecret1@signed7?endpoint={at}", "refused", "19021 sign not match", None),
    ("{fei}code19024-8?endpoint={at}", "refused", "19024", None),
    ("feishu://code11232-9?endpoint={at}", "failed", "11232", 60),
    ("feishu://busy9499-10?endpoint={at}", "failed", "9499 too many request", 15),
    ("lark://{secret}@signed11/?endpoint={at}", "accepted", "", None),
    ("lark://code19001-12?endpoint={at}", "refused", "19001", None),
    ("wecombot://fine13?endpoint={at}", "accepted", "", None),
    ("wecombot://code93000-14?endpoint={at}", "refused", "93000", None),
    ("{wecom}code45009-15&endpoint={at}", "failed", "45009", 60),
    ("wecombot://codem1-16?endpoint={at}", "failed", "-1", 30),
    ("wecombot://status429-17?endpoint={at}", "failed", "HTTP 429", 77),
    ("wecombot://status500-18?endpoint={at}", "failed", "HTTP 500", 15),
    ("wecombot://status403-19?endpoint={at}", "refused", "HTTP 403", None),
]


def test_a_refused_message_is_known_as_refused(endpoint: Endpoint, tmp_path: Path) -> None:
    forms = {
        "at": endpoint.url,
        "secret": SECRET,
        "ding": f"https://oapi.dingtalk.com/robot/send?secret={SECRET}&access_token=",
        "fei": "https://open.feishu.cn/open-apis/bot/v2/hook/",
        "wecom": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=",
    }
    urls = [url.format(**forms) for url, *_ in CASES]
    now = time.time()
    outbox, told = tell(tmp_path, urls)
    for index, (url, outcome, words, pause) in enumerate(CASES):
        item = told[index]
        assert (url, item.outcome) == (url, outcome)
        assert words in item.reason.en
        assert (item.retry_at is None) == (pause is None)
        assert pause is None or item.retry_at >= now + pause  # type: ignore[operator]
    for secret in (SECRET, "wrongSecret1", "code310000-4", "signed6", "code45009-15"):
        assert secret not in repr(told)
        assert secret.encode() not in (tmp_path / "outbox.json").read_bytes()
    # What was refused or accepted is not sent again; nothing is due before its time.
    sent = len(endpoint.posts)
    assert outbox.deliver(now + 5, now + 15) == ()
    assert len(endpoint.posts) == sent
    (ding,) = [post for post in endpoint.posts if post.token == "signed1"]
    assert ding.text.startswith("[gte-ops] the worker hangs\n")
    assert ding.path == "/robot/send"


def test_networks_that_misbehave_delay_nobody_else(endpoint: Endpoint, tmp_path: Path) -> None:
    urls = [
        f"{schema}://{token}?endpoint={endpoint.url}"
        for schema, token in (
            ("wecombot", "hang0"),
            ("feishu", "hang1"),
            ("dingtalk", "drop2"),
            ("feishu", "noise3"),
            ("wecombot", "page4"),
            ("dingtalk", "huge5"),
            ("feishu", "away6"),
            ("wecombot", "trickle7"),
        )
    ]
    urls += [
        "wecombot://tokentoken8?endpoint=http://127.0.0.1:1",
        "wecombot://tokentoken9?endpoint=https://nobody.invalid",
        f"wecombot://tokentoken10?endpoint={endpoint.url.replace('http:', 'https:')}".replace(
            "127.0.0.1", "localhost"
        ),
        f"json://127.0.0.1:{endpoint.url.rpartition(':')[2]}/status404-11",
        f"json://127.0.0.1:{endpoint.url.rpartition(':')[2]}/status503-12",
        f"json://127.0.0.1:{endpoint.url.rpartition(':')[2]}/fine-13",
        "unknownscheme://tokentoken14",
        f"wecombot://fine15?endpoint={endpoint.url}",
    ]
    started = time.monotonic()
    _, told = tell(tmp_path, urls, within=6.0)
    assert time.monotonic() - started < 20
    expected = {
        0: ("failed", "no answer within"),
        1: ("failed", "no answer within"),
        2: ("failed", "dropped"),
        3: ("failed", ""),
        4: ("failed", "not known"),
        5: ("failed", ""),
        6: ("failed", "redirected"),
        7: ("failed", "no answer within"),
        8: ("failed", "connection refused"),
        9: ("failed", "does not resolve"),
        10: ("failed", "TLS"),
        11: ("refused", "404"),
        12: ("failed", "503"),
        13: ("accepted", ""),
        14: ("refused", "not a URL that Apprise can use"),
        15: ("accepted", ""),
    }
    for index, (outcome, words) in expected.items():
        assert (index, told[index].outcome) == (index, outcome)
        assert words in told[index].reason.en, told[index]
        assert "tokentoken" not in told[index].reason.en
        assert (told[index].retry_at is not None) == (outcome == "failed")
    assert told[15].seconds < 5
    assert not [post for post in endpoint.posts if post.path == "/elsewhere"]


def test_what_failed_arrives_in_the_next_round_and_once(endpoint: Endpoint, tmp_path: Path) -> None:
    urls = [f"dingtalk://again1?endpoint={endpoint.url}", f"dingtalk://fine2?endpoint={endpoint.url}"]
    outbox, told = tell(tmp_path, urls)
    assert [told[n].outcome for n in (0, 1)] == ["failed", "accepted"]
    outbox.add(message(kind=MessageKind.RECOVERED, title="the worker was replaced", at=time.time()))
    later = time.time() + 60
    again = outbox.deliver(later, later + 10)
    assert sorted((item.index, item.kind, item.outcome) for item in again) == [
        (0, "recovered", "accepted"),
        (1, "recovered", "accepted"),
    ]
    # Who never heard of the trouble gets both in one message.
    assert "the worker hangs" in endpoint.texts("again1")[-1]
    assert "the worker hangs" not in endpoint.texts("fine2")[-1]
    assert outbox.deliver(later + 4000, later + 4010) == ()
    assert outbox.waiting() == 0


def test_chinese_fits_into_wecoms_bytes(endpoint: Endpoint, tmp_path: Path) -> None:
    sent = message(body="服务" * 3000)
    _, told = tell(tmp_path, [f"wecombot://fine1?endpoint={endpoint.url}"], language="zh", sent=sent)
    assert told[0].outcome == "accepted"
    (text,) = endpoint.texts("fine1")
    assert text.startswith("[gte-ops] 工作进程卡死")
    assert len(text.encode()) <= 2048


def test_nothing_is_left_behind(endpoint: Endpoint, tmp_path: Path) -> None:
    """Neither a process nor a descriptor, also where a destination hangs."""
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    children = set(psutil.Process().children())  # of other tests in this process
    tell(tmp_path, [f"dingtalk://hang1?endpoint={endpoint.url}"], within=2.5)
    assert set(psutil.Process().children()) <= children
    connections = set(os.listdir("/proc/self/fd")) - before  # noqa: PTH208
    assert len(connections) <= 1  # the endpoint's own end of the hanging connection
