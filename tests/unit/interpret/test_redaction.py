"""A bundle is redacted by place too, and whatever any judge needs survives it."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import msgspec
import pytest
from crossplane.analyzer import DIRECTIVES

import ops.diagnosis.checks
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.host import Processes
from ops.facts.nginx import NginxConfig
from ops.facts.snapshot import Snapshot
from ops.interpret.redaction import redacted
from ops.interpret.redaction_nginx import JUDGED_DIRECTIVES, PARTLY_JUDGED
from tests.unit.diagnosis.checks.cases import Case
from tests.unit.made_snapshot import HEALTHY, but, nginx_config, process, processes

MODULES = sorted(path.stem for path in (Path(__file__).parents[1] / "diagnosis" / "checks").glob("test_*.py"))


def cases() -> list[Case]:
    """Every case of every judge's tests."""
    found: dict[int, Case] = {}
    for name in MODULES:
        module = importlib.import_module(f"tests.unit.diagnosis.checks.{name}")
        for value in vars(module).values():
            for item in value if isinstance(value, list | tuple) else ():
                if isinstance(item, Case):
                    found[id(item)] = item
    return list(found.values())


def test_the_same_causes_are_found_in_every_case_of_every_judge() -> None:
    everything = cases()
    assert len(everything) > 500
    different = []
    for case in everything:
        before = [cause.code for cause in diagnose(case.snapshot, CHECKS).causes]
        after = [cause.code for cause in diagnose(redacted(case.snapshot), CHECKS).causes]
        if before != after:
            different.append(f"{case}: {before} became {after}")
    assert different == []


# --- nginx -----------------------------------------------------------------------------------------------------------

# Words of the judges' that are a directive's name too, and mean something else there.
OTHER_MEANINGS = {
    "mail",
    "resolver",
    "status",
    "timeout",
    "zone",
    "daemon",
    "protocol",
    "sendfile",
    "include",
}


def test_every_directive_that_something_reads_keeps_its_arguments() -> None:
    """Every word in the source of judges and readings that is the name of a directive."""
    read = set()
    root = Path(ops.diagnosis.checks.__file__).parents[2]
    checks, readings = (root / "diagnosis" / "checks").glob("*.py"), (root / "interpret").glob("*.py")
    own = ("redaction.py", "redaction_nginx.py", "judged_settings.py")
    files = [*checks, *(f for f in readings if f.name not in own), root / "diagnosis" / "symptoms.py"]
    for file in files:
        if file.name != "gunicorn_settings.py":
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and node.value in DIRECTIVES:
                    read.add(node.value)
    assert {"proxy_pass", "limit_req", "listen"} <= read
    assert read - OTHER_MEANINGS <= JUDGED_DIRECTIVES | PARTLY_JUDGED


def kept(text: str) -> str:
    """What of a configuration leaves the host, as one string."""
    config = redacted(but(nginx_config=nginx_config(text))).nginx_config
    assert isinstance(config, NginxConfig)
    return msgspec.json.encode(config.directives).decode()


@pytest.mark.parametrize(
    "directive",
    ["map $http_x_api_key $client { hunter2 1; default 0; }", "map $host $k { a.cn hunter2; }",
     "geo $remote_addr $k { default hunter2; }", "server { set $key hunter2; }",
     "server { return 200 hunter2; }",
     "server { return 301 https://h/?a=hunter2; }", "server { rewrite ^/a /b?k=hunter2 last; }",
     "server { if ($arg_key != hunter2) { return 403; } }", "server { add_header X-Magic hunter2; }",
     "server { proxy_set_header X-Internal hunter2; }",
     "server { proxy_set_header Authorization 'Basic hunter2'; }",
     "server { fastcgi_param MAGIC hunter2; }", "server { auth_basic hunter2; }",
     "server { secure_link_secret hunter2; }",
     "server { proxy_cookie_path / hunter2; }", "server { access_by_lua_block { local k = 'hunter2' } }",
     "server { sub_filter a hunter2; }", "server { valid_referers hunter2; }",
     "server { location / { proxy_pass http://li:hunter2@b/; } }",
     "server { location / { proxy_pass http://b/?token=hunter2; } }"],
)  # fmt: skip
def test_what_no_judge_reads_of_nginx_s_configuration_stays_here(directive: str) -> None:
    assert "hunter2" not in kept(directive)


def test_what_a_judge_reads_of_nginx_s_configuration_goes_along() -> None:
    words = kept(
        "map $http_upgrade $connection_upgrade { default upgrade; '' close; } server { listen 443 ssl;"
        " server_name x.cn; ssl_certificate /etc/ssl/x.pem; ssl_certificate_key /etc/ssl/private/x.key;"
        " set $backend http://127.0.0.1:8000; if ($http_user_agent ~* curl) { return 403; }"
        " return 301 https://x.cn$request_uri;"
        " location /token { proxy_pass $backend; proxy_set_header Connection $connection_upgrade;"
        " client_max_body_size 10m;"
        " proxy_set_header X-Api-Key $http_x_api_key; } }"
    )
    for part in ("upgrade", "close", "443", "x.cn", "/etc/ssl/private/x.key", "http://127.0.0.1:8000", "curl",
                 "403", "https://x.cn$request_uri", "/token", "$backend", "$connection_upgrade", "10m",
                 "$http_x_api_key"):  # fmt: skip
        assert part in words, part


# --- processes -----------------------------------------------------------------------------------------


def shown(*command: str, **facts: object) -> tuple[str, ...]:
    """What of a foreign process's command line leaves the host."""
    foreign = msgspec.structs.replace(process(4242, 1, *command), **facts)
    own = HEALTHY.processes
    assert isinstance(own, Processes)
    table = msgspec.structs.replace(own, processes=(*own.processes, foreign))
    left = redacted(but(processes=table)).processes
    assert isinstance(left, Processes)
    assert left.processes[:-1] == own.processes, "the service's own processes keep theirs"
    assert left.processes[-1].cwd is None
    return left.processes[-1].command


@pytest.mark.parametrize(
    ("command", "left"),
    [
        (("/usr/bin/python3", "app.py", "hunter2"), ("python3",)),
        (("postgres: li hunter2 [local] idle",), ("postgres:",)),
        (("gunicorn", "--env", "K=hunter2", "other:app"), ("gunicorn",)),
        (("python3", "-m", "ops.cli", "watchdog", "--config", "/hunter2"), ("gte-ops", "watchdog")),
        (("nginx: worker process",), ("nginx: worker process",)),
        (("nginx: master process /opt/nginx -c /opt/n.conf -g env hunter2;",),
         ("nginx: master process /opt/nginx -c /opt/n.conf",)),
    ],
)  # fmt: skip
def test_of_another_s_process_the_program_s_name_is_left(
    command: tuple[str, ...], left: tuple[str, ...]
) -> None:
    assert shown(*command, environment={"GUNICORN_CMD_ARGS": "hunter2"}) == left


def test_where_the_service_is_not_known_every_process_is_another_s() -> None:
    from ops.facts.base import NotSeen

    table = processes((process(7, 1, "python3", "x.py", "hunter2"),))
    left = redacted(but(processes=table, target=NotSeen(reason="-")))
    assert isinstance(left, Snapshot)
    assert "hunter2" not in str(left.processes)
