"""Logs that are in no file of their own: the doctor follows gunicorn's standard streams."""

from __future__ import annotations

import time

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.traffic import QUIETLY_FAILING_APP, RAISING_FOR_SOME_APP, predict
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


def _beside_a_broken_site(stack: Stack, log_format: str) -> None:
    """Another site of the same nginx, whose application is gone, logs to the same file; its users meet 502."""
    (stack.nginx_dir / "conf.d" / "0-shop.conf").write_text(
        'log_format two \'$host $remote_addr [$time_local] "$request" $status "$http_user_agent"\';\n'
        f"server {{ listen {stack.address}:{stack.ports['http']}; server_name shop.example;\n"
        f"    access_log {stack.nginx_access_log} {log_format};\n"
        "    location / { proxy_pass http://127.0.0.1:1; } }\n"
    )
    logged = f"access_log {stack.nginx_access_log}"
    line = next(line for line in stack.site_file.read_text().splitlines() if line.strip().startswith(logged))
    stack.edit(stack.site_file, line, f"    {logged} {log_format};")
    for _ in range(20):
        assert stack.request("POST", "/predict", door="http", host="shop.example").status == 502


def test_of_a_log_that_two_sites_write_only_this_one_s_failures_count() -> None:
    with Stack(app=QUIETLY_FAILING_APP, gunicorn_extra='accesslog = "/dev/null"\n') as stack:
        _beside_a_broken_site(stack, "two")
        stack.predict()
        for _ in range(4):
            assert predict(stack, "x", task="other").status == 500
        ran = stack.doctor()
        assert ran.first == "APP024", (ran.codes, ran.stderr)
        evidence = str(ran.report["causes"][0]["evidence"])
        assert "4 x POST /predict 500" in evidence, evidence
        assert " 502" not in evidence


def test_another_site_s_failures_in_a_shared_log_blame_nobody() -> None:
    with Stack(app=PLAIN_APP) as stack:
        _beside_a_broken_site(stack, "combined")
        ran = stack.doctor()
        assert (ran.exit_code, ran.codes) == (0, []), ran.report["causes"]
        (unseen,) = [item for item in ran.report["unseen"] if item["what"] == "logs.nginx_access"]
        assert "20 lines of" in unseen["reason"], unseen
