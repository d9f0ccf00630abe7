"""Logs that are in no file of their own: the doctor follows gunicorn's standard streams."""

from __future__ import annotations

import time

from tests.lab.faults.traffic import RAISING_FOR_SOME_APP, predict
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

STREAMS = 'accesslog = "-"\nerrorlog = "-"\ncapture_output = False\n'


def test_both_logs_of_gunicorn_in_the_file_that_its_output_goes_to() -> None:
    with Stack(app=RAISING_FOR_SOME_APP, gunicorn_extra=STREAMS) as stack:
        for name in ("error_log", "access_log"):
            stack.config["gunicorn"].pop(name, None)
        stack.write_config()
        # Lines in the very second of the start may belong to the process before it.
        started = int(time.time())
        wait_for(lambda: time.time() >= started + 1, "the second of the start to be over", every=0.02)
        assert predict(stack, "b").status == 500
        assert predict(stack, "a").status == 200
        ran = stack.doctor()
        assert ran.first == "APP020", (ran.codes, ran.stderr)
        sources = {piece["source"] for piece in ran.report["causes"][0]["evidence"]}
        assert str(stack.gunicorn_output) in sources
        assert not [item for item in ran.report["unseen"] if item["what"].startswith("logs.gunicorn")]
