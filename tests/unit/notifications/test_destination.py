"""URLs of destinations are passwords."""

import pytest

from ops.errors import SettingsError
from ops.notifications.destination import Destination, destinations, masked, scrubbed

SECRETS = {
    "dingtalk://SECtopsecret@TokenToken/13800138000": ["SECtopsecret", "TokenToken", "13800138000"],
    "https://oapi.dingtalk.com/robot/send?access_token=TokenToken&secret=SECtopsecret": [
        "TokenToken",
        "SECtopsecret",
    ],
    "feishu://SecretSecret@abc-def-0123": ["SecretSecret", "abc-def-0123"],
    "https://open.feishu.cn/open-apis/bot/v2/hook/abc-def-0123": ["abc-def-0123"],
    "wecombot://key-0123-key": ["key-0123-key"],
    "mailtos://person:pass%40word@mail.example.com?to=boss@example.com": [
        "person",
        "pass%40word",
        "pass@word",
    ],
    "tgram://123456789:AAbbCCddEE/chatchat": ["123456789", "AAbbCCddEE"],
    "slack://TokenA/TokenB/TokenC": ["TokenA", "TokenB", "TokenC"],
    "sendgrid://SG.abcdef.ghijkl:from@example.com": ["SG.abcdef", "ghijkl"],
    "ntfy://secrettopic": ["secrettopic"],
    "json://user:hunter22@10.0.0.7:8080/hook/hookhook?+X-Key=keykey": ["hunter22", "hookhook", "keykey"],
    "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js": ["4174216298", "JHMHI8qBe7bk2ZwO5U711o3dV_js"],
}


@pytest.mark.parametrize("url", SECRETS)
def test_nothing_that_opens_a_door_is_shown(url: str) -> None:
    destination = Destination(0, url)
    everywhere = [masked(url), repr(destination), destination.shown, destination.id]
    peer = f"error for {url} and {' '.join(SECRETS[url])} see /a?x={SECRETS[url][0]}"
    everywhere.append(scrubbed(peer, url))
    for secret in SECRETS[url]:
        assert not [text for text in everywhere if secret.lower() in text.lower()]


def test_what_is_shown_still_tells_destinations_apart() -> None:
    assert masked("dingtalk://a@b/") == "dingtalk://***"
    assert masked("mailtos://me:pw@mail.example.com?to=x") == "mailtos://***@mail.example.com/***"
    assert masked("https://oapi.dingtalk.com/robot/send?access_token=x") == "https://oapi.dingtalk.com/***"
    assert masked("json://127.0.0.1:8080/x") == "json://127.0.0.1:8080/***"
    assert masked("nonsense") == "***"
    assert masked("http://[::1") == "http://***"
    assert len({Destination(0, url).id for url in SECRETS}) == len(SECRETS)


@pytest.mark.parametrize(
    "bad",
    ["", "dingtalk", "dingtalk://", "://token", "ding talk://tokentoken", "dingtalk://tok en", "x" * 3000],
)
def test_an_entry_that_is_no_url_is_named_by_its_place(bad: str) -> None:
    with pytest.raises(SettingsError) as caught:
        destinations(["dingtalk://aaaa", bad])
    message = str(caught.value)
    assert message.startswith("notify.urls[1] (")
    assert "\n" not in message
    assert "tok" not in message.split(";")[0].replace("TOKEN", "")
    assert caught.value.exit_code == 3


def test_the_same_url_twice_is_told_once_and_the_number_is_bounded() -> None:
    assert [destination.index for destination in destinations(["a://x", "a://x ", "b://x"])] == [0, 2]
    with pytest.raises(SettingsError, match="at most 20"):
        destinations([f"a://{n}" for n in range(21)])
