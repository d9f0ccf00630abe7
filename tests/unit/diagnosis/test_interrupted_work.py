"""What a worker was doing when gunicorn ended it for exceeding the timeout (GUN004)."""

from __future__ import annotations

import pytest

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose, host_values
from tests.unit.diagnosis.checks.test_fifth_collection import users
from tests.unit.diagnosis.test_lost_threads import TIMEOUT, ended, judged
from tests.unit.made_snapshot import answered, but, entry, gunicorn_log

PYTHON = "/usr/lib/python3.12"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            ended(
                'rates = requests.get("http://10.0.0.5:8000/rates")',
                f"{PYTHON}/site-packages/requests/api.py:73:get",
                f"{PYTHON}/socket.py:706:readinto",
            ),
            ("another server's answer (requests)", "http://10.0.0.5:8000/rates", "timeout=10", "/embed"),
        ),
        (
            ended("rows = cursor.execute(SQL)", f"{PYTHON}/ssl.py:1166:read"),
            ("another server's answer", "cursor.execute(SQL)", "statement_timeout"),
        ),
        (
            ended("subprocess.run(COMMAND)", f"{PYTHON}/subprocess.py:2011:_try_wait"),
            ("a program that it had started", "subprocess: timeout="),
        ),
        (ended("time.sleep(90)"), ("the worker slept", "time.sleep(90)")),
        (
            ended("scores = model(texts)", f"{PYTHON}/site-packages/torch/nn/modules/module.py:9:forward"),
            ("was still at", "scores = model(texts)", "py-spy"),
        ),
    ],
)
def test_the_line_that_was_running_is_told_with_what_it_waited_for(text: str, said: tuple[str, ...]) -> None:
    snapshot = but(
        users(answered("502", 3, path="/embed"), at_service=()),
        logs__gunicorn_error=gunicorn_log(TIMEOUT, entry(text, ago=61)),
    )
    finding = judged(snapshot)
    assert finding.summary is not None
    told = f"{finding.summary.en} {[str(step) for step in finding.fix_first]}"
    assert [word for word in said if word not in told] == []


def test_the_timeout_is_raised_by_the_catalogue_s_own_step() -> None:
    text = ended("time.sleep(90)")
    snapshot = but(
        users(answered("502", 3, path="/embed"), at_service=()),
        logs__gunicorn_error=gunicorn_log(TIMEOUT, entry(text, ago=61)),
    )
    (cause,) = [one for one in diagnose(snapshot, CHECKS).causes if one.code == "GUN004"]
    first, raised, *_ = cause.fix
    assert first.en.startswith("Do not sleep in a request")
    assert raised == catalogue().entry("GUN004").fix_with(host_values(snapshot))[1]
    assert not any("py-spy" in step.en for step in cause.fix), (
        "what the traceback has shown is not looked for"
    )
