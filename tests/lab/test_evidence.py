"""A symptom without a cause, on a real stack: what the probe left in the logs stands under it."""

from __future__ import annotations

import subprocess

import pytest

from tests.lab.faults.app import PLAIN_APP
from tests.lab.stack import Stack

TEAPOT_APP = PLAIN_APP.replace(
    "return jsonify(result={})", 'return jsonify(title="I am a teapot", detail="short and stout"), 418'
)


@pytest.mark.parametrize("layout", ["deploy", "guide"])
def test_an_unexplained_answer_comes_with_all_that_can_be_read(layout: str) -> None:
    with Stack(app=TEAPOT_APP, layout=layout) as stack:  # type: ignore[arg-type]
        ran = stack.doctor()
        (symptom,) = (item for item in ran.report["symptoms"] if not item["explained_by"])
        assert symptom["id"] == "http.other", ran.stderr
        read = {piece["source"]: piece["detail"] for piece in symptom["evidence"]}
        assert "418 application/json" in read[f"POST {stack.url}/predict"]
        assert "title: I am a teapot; detail: short and stout" in read[f"POST {stack.url}/predict"]
        assert "418" in read[f"POST {stack.bind}/predict"]
        for log in (stack.nginx_access_log, stack.gunicorn_access_log):
            assert '"POST /predict HTTP/1.' in read[str(log)]
            assert " 418 " in read[str(log)]
        assert any(step["where"].startswith(f"{stack.site_file}:") for step in symptom["route"])
        assert symptom["next"] == symptom["next_commands"][0]
        for command in symptom["next_commands"]:
            if command.startswith("curl "):
                said = subprocess.run(
                    ["sh", "-c", command.replace("curl -v", "curl -s -o /dev/null -w %{http_code}")],
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
                if f"{stack.bind}/predict" in command:
                    assert said.stdout == "418", "the command asks as the probe did"
        text = stack.gte_ops("doctor", "--config", str(stack.config_file), "--lang", "zh").stdout
    assert "响应和日志" in text
    assert "请求在 nginx 里的路径" in text
    assert "short and stout" in text
