"""`gte-ops route` on a configuration of its own: what it prints, its exit codes, its refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ops.cli.main
from ops.facts.bundle import write_bundle
from tests.unit.made_snapshot import HEALTHY, SITE_FILE

Run = Callable[..., tuple[int, str, str]]

NGINX_CONF = """events {{}}
http {{
    upstream backend {{ server 127.0.0.1:8000; }}
    server {{
        listen 8080;
        server_name a.test;
        location /predict {{ proxy_pass http://backend/; proxy_set_header Host $host; }}
        location /files {{ root {root}; try_files $uri =404; }}
        location /code {{ content_by_lua_block {{ }} }}
    }}
}}
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command on the configuration above: exit code, standard output, standard error."""
    (tmp_path / "files").write_text("a file")
    (tmp_path / "nginx.conf").write_text(NGINX_CONF.format(root=tmp_path))
    settings = tmp_path / "gte-ops.toml"
    settings.write_text(f'[nginx]\nconfig_file = "{tmp_path}/nginx.conf"\n')
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def command(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gte-ops", "route", "--config", str(settings), *args])
        with pytest.raises(SystemExit) as ended:
            ops.cli.main.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


def test_each_step_is_shown_with_its_file_and_line(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("POST", "http://a.test:8080/predict", "--lang", "en")
    assert code == 0
    assert "location /predict handles /predict" in out
    assert f"    {tmp_path}/nginx.conf:7" in out.splitlines()
    assert "Result: the service at 127.0.0.1:8000 (backend) gets POST / over http, Host a.test" in out
    assert "    client_max_body_size 1m  nginx's default" in out.splitlines()


def test_a_chinese_route_is_chinese(run: Run) -> None:
    _, out, _ = run("POST", "http://a.test:8080/predict", "--lang", "zh")
    assert "结果：127.0.0.1:8000 (backend) 上的服务通过 http 收到 POST /，Host 为 a.test" in out
    assert "handles" not in out


def test_the_route_as_json_has_each_part(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("POST", "http://a.test:8080/predict", "--format", "json")
    document = json.loads(out)
    assert code == 0
    assert document["outcome"]["kind"] == "proxied"
    assert document["location"] == {"where": f"{tmp_path}/nginx.conf:7", "written": "/predict"}
    assert (document["sent_on"]["method"], document["sent_on"]["uri"]) == ("POST", "/")
    assert document["sent_on"]["servers"][0]["address"] == "127.0.0.1:8000"
    assert {step["kind"] for step in document["steps"]} >= {"listen", "server", "location", "proxy"}


def test_a_file_that_decides_is_looked_at(run: Run, tmp_path: Path) -> None:
    _, out, _ = run("http://a.test:8080/files")
    assert f"nginx sends the file {tmp_path}/files with status 200" in out


def test_what_cannot_be_known_ends_with_exit_code_3_and_says_where(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("http://a.test:8080/code")
    assert code == 3
    assert "content_by_lua_block" in out
    assert f"{tmp_path}/nginx.conf:9" in out


@pytest.mark.parametrize("cut", ["location /predict", "listen 8080", "http {"])
def test_a_configuration_that_breaks_off_is_not_taken_for_one_without_the_server(
    run: Run, tmp_path: Path, cut: str
) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text(file.read_text().partition(cut)[0] + cut)
    code, out, _ = run("http://a.test:8080/predict")
    assert code == 3
    assert "not all of the configuration could be read" in out
    assert "no server block listens" not in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "give a URL or a path"),
        (("GET", "/a", "/b"), "give a URL or a path"),
        (("G ET", "/a"), "is no method"),
        (("predict",), "is no URL and no path"),
        (("ftp://a.test/",), "is no URL and no path"),
        (("http://a.test:99999/",), "is no port"),
        (("/a", "--header", "no colon"), "write NAME: VALUE"),
        (("/a", "--header", "X: a\r\nY: b"), "write NAME: VALUE"),
        (("/a", "--client", "somebody"), "is no IP address"),
        (("/a", "--address", "a.test:80"), "is no address"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_in_one_line(
    run: Run, args: tuple[str, ...], words: str
) -> None:
    code, out, err = run(*args)
    assert (code, out) == (3, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_a_bundle_s_host_is_routed_anywhere(run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "host.json"
    write_bundle(bundle, HEALTHY, ())
    code, out, _ = run("POST", "/predict", "--from-bundle", str(bundle))
    assert code == 0
    assert "the service at 127.0.0.1:8000 (gte_backend) gets POST /predict" in out
    assert SITE_FILE in out
