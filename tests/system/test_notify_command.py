"""`gte-ops notify test` as an operator runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.system.robot_endpoint import SECRET, Endpoint, robot_endpoint

ROOT = Path(__file__).parent.parent.parent
# As ops.cli does it; here without the rest of the command line.
RUN = """
import sys
from ops.errors import OpsError
from ops.cli.notify import notify
try:
    notify(standalone_mode=False)
except OpsError as error:
    print(f"gte-ops: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with robot_endpoint() as running:
        yield running


def notify_test(
    tmp_path: Path, urls: Sequence[str], *options: str, locale: str = "C.UTF-8"
) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "gte-ops.toml"
    config.write_text(f"[notify]\nurls = {json.dumps(urls)}\n", encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.run(
        [sys.executable, "-c", RUN, "test", "--config", str(config), *options],
        env={**clean, "PYTHONPATH": str(ROOT), "LC_ALL": locale},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=40,
    )


def test_all_accept(endpoint: Endpoint, tmp_path: Path) -> None:
    urls = [
        f"dingtalk://{SECRET}@signed1?endpoint={endpoint.url}",
        f"wecombot://fine2?endpoint={endpoint.url}",
    ]
    done = notify_test(tmp_path, urls, "--lang", "zh")
    assert (done.returncode, done.stderr) == (0, "")
    assert "全部 2 个目标均已接受" in done.stdout
    assert SECRET not in done.stdout
    assert "signed1" not in done.stdout
    assert "测试消息" in endpoint.texts("fine2")[0]


def test_one_refuses(endpoint: Endpoint, tmp_path: Path) -> None:
    urls = [
        f"feishu://wrongSecret@signed1?endpoint={endpoint.url}",
        f"wecombot://fine2?endpoint={endpoint.url}",
        f"dingtalk://code300001-Token?endpoint={endpoint.url}",
    ]
    done = notify_test(tmp_path, urls, "--lang", "en")
    assert (done.returncode, done.stderr) == (2, "")
    assert "REFUSED" in done.stdout
    assert "19021 sign not match (check the secret, and this host's clock)" in done.stdout
    assert "1 of 3 accepted" in done.stdout
    as_json = notify_test(tmp_path, urls, "--format", "json", locale="C")
    assert as_json.returncode == 2
    document = json.loads(as_json.stdout)
    assert (document["status"], document["accepted"], document["total"]) == ("fail", 1, 3)
    assert [item["outcome"] for item in document["deliveries"]] == ["refused", "accepted", "refused"]
    for secret in ("wrongSecret", "code300001-Token", "signed1"):
        assert secret not in done.stdout + as_json.stdout


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        ([], "notify.urls is empty"),
        (["dingtalk://aaaa", "hookhook"], "notify.urls[1] (***)"),
        (
            ["dingtalk://aaaa?endpoint=http://127.0.0.1:1", "dingtalkk://TokenToken"],
            "notify.urls[1] (dingtalkk://***)",
        ),
        (["dingtalk://bad%20token"], "notify.urls[0] (dingtalk://***): no usable token"),
        (["wecombot://secretKey@TokenToken"], "WeCom robots know no secret"),
        (["feishu://TokenToken?endpoint=http://relay.example.com"], "endpoint= must be https"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_3(tmp_path: Path, urls: Sequence[str], words: str) -> None:
    done = notify_test(tmp_path, urls, "--lang", "en")
    assert (done.returncode, done.stdout) == (3, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    for secret in ("TokenToken", "secretKey", "hookhook", "bad%20token"):
        assert secret not in done.stderr
