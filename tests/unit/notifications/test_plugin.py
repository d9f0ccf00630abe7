"""The URL forms of the robots, through Apprise."""

from __future__ import annotations

# ?None
import apprise
import pytest

from ops.notifications.plugin import MalformedUrlError, RobotPlugin, register

DING = "https://oapi.dingtalk.com/robot/send"


def robot(url: str) -> RobotPlugin:
    register()
    plugin = apprise.Apprise.instantiate(
        url, asset=apprise.AppriseAsset(storage_mode="memory"), suppress_exceptions=False
    )
    assert isinstance(plugin, RobotPlugin)
    return plugin


@pytest.mark.parametrize(
    ("url", "token", "secret", "mentions", "endpoint"),
    [
        ("dingtalk://TokAbC", "TokAbC", None, (), ""),
        ("dingtalk://SEC%2Bab%2F@TokAbC/13800138000", "TokAbC", "SEC+ab/", ("13800138000",), ""),
        ("dingtalk://TokAbC/?secret=SEC%2Bab&to=+86-13800138000", "TokAbC", "SEC+ab", ("8613800138000",), ""),
        ("dingtalk://SEC%252B@TokAbC", "TokAbC", "SEC%2B", (), ""),
        ("feishu://TokAbC?secret=a%252Bb", "TokAbC", "a%2Bb", (), ""),
        ("feishu://TokAbC?secret=a+b", "TokAbC", "a+b", (), ""),
        (f"{DING}?access_token=AbC&secret=SECx", "AbC", "SECx", (), ""),
        (f"{DING}?secret=SECx&access_token=AbC", "AbC", "SECx", (), ""),
        ("https://open.feishu.cn/open-apis/bot/v2/hook/AbC-d_e?secret=x", "AbC-d_e", "x", (), ""),
        ("https://open.larksuite.com/open-apis/bot/v2/hook/AbC-d_e", "AbC-d_e", None, (), ""),
        ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=AbC-1", "AbC-1", None, (), ""),
        (
            "wecombot://AbC?endpoint=https%3A%2F%2Fr.example.com%2Fw",
            "AbC",
            None,
            (),
            "https://r.example.com/w",
        ),
    ],
)
def test_forms(url: str, token: str, secret: str | None, mentions: tuple[str, ...], endpoint: str) -> None:
    made = robot(url)
    assert (made.address.token, made.address.secret, made.address.mentions) == (token, secret, mentions)
    assert made.endpoint == (endpoint or made.vendor.host)
    for text in (repr(made.address), made.url(privacy=True), str(made)):
        assert token not in text
        assert not secret or secret not in text
    # What Apprise is told of it means the same robot.
    again = robot(made.url())
    assert (again.address, again.endpoint) == (made.address, made.endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "dingtalk://",
        "dingtalk://tok%20en",
        "dingtalk://?secret=x",
        "feishu://tok%2Fen",
        "wecombot://secret@key",
        "feishu://token?endpoint=http://relay.example.com",
    ],
)
def test_what_cannot_be_a_robot_is_refused_without_being_quoted(url: str) -> None:
    register()
    with pytest.raises((MalformedUrlError, AssertionError)) as caught:
        robot(url)
    assert not isinstance(caught.value, MalformedUrlError) or "tok" not in str(caught.value).replace(
        "token", ""
    )
