"""The deployed site with HTTP/2 switched on as its own comment says: predictions, and nginx's errors as JSON.

On the oldest and the newest nginx there is here; the client is httpx with h2, which reports the protocol spoken.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.lab.stack import Stack
from tests.system.test_nginx_config import nginx_binaries

UNLIMITED = {"rate": "60000r/m", "burst": "10000"}
TEXT = {"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}


def switch_on(stack: Stack) -> None:
    """As the comment in gte-api.conf says, for nginx before and since 1.25.1."""
    listen = f"listen {stack.site.https} ssl"
    printed = subprocess.run([stack.nginx_binary, "-v"], capture_output=True, text=True, check=True).stderr
    number = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", printed)
    assert number is not None, printed
    is_new = tuple(map(int, number.groups())) >= (1, 25, 1)
    stack.edit(stack.site_file, f"{listen};", f"{listen};\n    http2 on;" if is_new else f"{listen} http2;")


def client(stack: Stack) -> httpx.Client:
    """Speaks HTTP/2 or fails: it offers nothing else."""
    trusted = ssl.create_default_context(cafile=str(stack.ca_file))
    return httpx.Client(http1=False, http2=True, verify=trusted, timeout=30.0)


def ask(session: httpx.Client, stack: Stack, method: str, path: str, **more: object) -> httpx.Response:
    host, port = stack.https
    answer = session.request(
        method,
        f"https://{host}:{port}{path}",
        headers={"Host": stack.domain, "Content-Type": "application/json"},
        extensions={"sni_hostname": stack.domain},
        **more,  # type: ignore[arg-type]
    )
    assert answer.http_version == "HTTP/2"
    return answer


@pytest.fixture(scope="module", params=nginx_binaries())
def site(request: pytest.FixtureRequest) -> Iterator[Stack]:
    with Stack(site=UNLIMITED, nginx_binary=request.param) as stack:
        switch_on(stack)
        yield stack


def test_many_predictions_share_a_connection(site: Stack) -> None:
    with client(site) as session:
        for _ in range(20):
            answer = ask(session, site, "POST", "/predict", json=TEXT)
            assert answer.status_code == 200
            assert [one["text"] for one in answer.json()["result"]["entities"]] == [
                "2022年",
                "北京冬奥会",
                "北京",
            ]
            assert answer.headers["X-Request-ID"]
        vectors = ask(
            session, site, "POST", "/v1/embeddings", json={"model": "gte", "input": ["北京", "上海"]}
        )
        assert len(vectors.json()["data"]) == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/predict", b"{", 400, "bad_json"),
        ("GET", "/nothing", None, 404, "not_found"),
        ("GET", "/predict", None, 405, "method_not_allowed"),
    ],
)
def test_an_error_is_json(
    site: Stack, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    with client(site) as session:
        answer = ask(session, site, method, path, content=body) if body else ask(session, site, method, path)
        assert answer.status_code == status
        document = answer.json()
        if path.startswith("/v1"):
            assert (document["error"]["code"], answer.headers["Content-Type"]) == (code, "application/json")
        else:
            assert (document["code"], answer.headers["Content-Type"]) == (code, "application/problem+json")
        # The connection lives on.
        assert ask(session, site, "GET", "/health").status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/v1/embeddings"])
def test_a_body_that_is_too_large_is_refused_in_json(site: Stack, path: str, tmp_path: Path) -> None:
    """By curl: httpx goes on sending until nginx makes room for more, which it never does."""
    (tmp_path / "body").write_bytes(b'"' + b"a" * 3_000_000 + b'"')
    host, port = site.https
    command = ["curl", "-sS", "--http2", "-m", "30", "--cacert", str(site.ca_file)]
    command += ["--resolve", f"{site.domain}:{port}:{host}", "-H", "Content-Type: application/json"]
    command += [
        "--data-binary",
        f"@{tmp_path / 'body'}",
        "-w",
        "\n%{http_version} %{http_code} %{content_type}",
    ]
    command += [f"https://{site.domain}:{port}{path}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    body, _, facts = ran.stdout.rpartition("\n")
    is_openai = path.startswith("/v1")
    assert facts == f"2 413 application/{'json' if is_openai else 'problem+json'}"
    problem = json.loads(body)
    assert (problem["error"] if is_openai else problem)["code"] == "payload_too_large"


def test_without_a_backend_nginx_answers_in_json(site: Stack) -> None:
    site.stop_gunicorn()
    try:
        with client(site) as session:
            answer = ask(session, site, "POST", "/predict", json=TEXT)
            assert (answer.status_code, answer.headers["Content-Type"]) == (502, "application/problem+json")
            assert int(answer.headers["Retry-After"]) >= 1
    finally:
        site.start_gunicorn()


def test_the_rate_limit_holds_for_the_streams_of_one_connection() -> None:
    with Stack() as stack:
        switch_on(stack)
        with client(stack) as session:
            answers = [ask(session, stack, "POST", "/predict", json=TEXT) for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert len(refused) >= 40 - 21 - 15  # twenty at once, and a few more while they were answered
        assert {answer.json()["code"] for answer in refused} == {"rate_limited"}
        assert {answer.headers["Content-Type"] for answer in refused} == {"application/problem+json"}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
