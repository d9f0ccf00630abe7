"""A bundle is redacted by place too, and whatever any judge needs survives it."""

from __future__ import annotations

import ast
import importlib
import shlex
from pathlib import Path

import msgspec
import pytest
from crossplane.analyzer import DIRECTIVES

import ops.diagnosis.checks
from ops.collect.services.gunicorn import parse_config
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.host import Processes
from ops.facts.nginx import NginxConfig
from ops.facts.safeguards import BootService, CronEntry, Rotation, RotationRule, Schedule, Timer
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.redaction import redacted
from ops.interpret.redaction_nginx import JUDGED_DIRECTIVES, PARTLY_JUDGED
from tests.unit.diagnosis.checks.cases import Case
from tests.unit.made_snapshot import HEALTHY, but, nginx_config, process, processes

MODULES = sorted(path.stem for path in (Path(__file__).parents[1] / "diagnosis" / "checks").glob("test_*.py"))
# CI takes one part of the cases, every third; scripts/test --long takes them all.
PARTS = 3


def cases() -> list[Case]:
    """Every case of every judge's tests."""
    by_id: dict[int, Case] = {}
    for name in MODULES:
        module = importlib.import_module(f"tests.unit.diagnosis.checks.{name}")
        for value in vars(module).values():
            for item in value if isinstance(value, list | tuple) else ():
                if isinstance(item, Case):
                    by_id[id(item)] = item
    return list(by_id.values())


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, PARTS))]
)
def test_the_same_causes_are_found_in_every_case_of_every_judge(part: int) -> None:
    everything = cases()
    assert len(everything) > 500
    different = []
    for case in everything[part::PARTS]:
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
    "state",
    "status",
    "timeout",
    "zone",
    "daemon",
    "protocol",
    "sendfile",
    "include",
    "gzip",
    # Of these the presence, and on or off, is read, which every directive keeps; the other is an option of listen.
    "proxy_cookie_path",
    "ssi",
    "sub_filter",
    "auth_basic",
    "auth_request",
    "limit_conn",
    "ssl_verify_client",
    "proxy_protocol",
}


def test_every_directive_that_something_reads_keeps_its_arguments() -> None:
    """Every word in the source of judges and readings that is the name of a directive."""
    read = set()
    root = Path(ops.diagnosis.checks.__file__).parents[2]
    checks, readings = (root / "diagnosis" / "checks").glob("*.py"), (root / "interpret").glob("*.py")
    own = ("redaction.py", "redaction_nginx.py", "redaction_schedule.py", "judged_settings.py")
    files = [
        *checks,
        *(f for f in readings if f.name not in own),
        root / "diagnosis" / "symptoms.py",
        root / "diagnosis" / "door.py",
    ]
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


def test_how_a_balancer_treats_a_server_that_fails_goes_along() -> None:
    words = kept(
        "upstream b { zone gte_backend 256k; least_conn; keepalive_timeout 60s; server 10.0.0.1:8000; }"
        " server { location / { proxy_pass http://b; proxy_next_upstream error timeout invalid_header;"
        " proxy_next_upstream_tries 3; proxy_connect_timeout 2s; } }"
    )
    for part in ("gte_backend", "256k", "error", "timeout", "invalid_header", "60s", "2s"):
        assert f'"{part}"' in words, part


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


# --- what runs by itself ---------------------------------------------------------------------------------------------


def scheduled(command: str, script: str = "") -> str:
    """What leaves the host of a command that cron, a timer and the start of the host run."""
    schedule = Schedule(
        cron=(
            CronEntry(
                file="/etc/cron.d/x", line=1, when="@daily", user="root", command=command, script=script
            ),
        ),
        timers=(
            Timer(
                name="x.timer",
                file="/x",
                enabled=True,
                when=(),
                service="x",
                commands=(command,),
                scripts=(script,),
            ),
        ),
        services=(BootService(name="x.service", file="/x", commands=(command,)),),
    )
    return msgspec.json.encode(redacted(but(schedule=schedule)).schedule).decode()


@pytest.mark.parametrize(
    "command",
    ["curl https://hc-ping.com/hunt9", "curl -H 'X-Any: hunt9' https://h/", "wget -qO- https://h/a/hunt9/b?c",
     "certbot renew && curl -fsS https://h/hunt9", "certbot renew --deploy-hook 'curl https://h/ping/hunt9'",
     "certbot renew --deploy-hook 'curl -H X-Any:hunt9 https://h'", "MAGIC=hunt9 /opt/run", "hunt9=1; /opt/run",
     "gte-ops watchdog --once || mail -s hunt9 li", "echo hunt9 | sudo -S reboot", "/opt/run hunt9"],
)  # fmt: skip
def test_of_a_scheduled_command_only_what_is_judged_leaves_the_host(command: str) -> None:
    assert "hunt9" not in scheduled(command)
    assert "hunt9" not in scheduled("/opt/x", script=f"set -e\n{command}\n")


def test_what_a_judge_reads_of_the_schedule_goes_along() -> None:
    words = scheduled(
        "test -x /usr/bin/certbot -a ! -d /run/systemd/system && perl -e 'sleep 9' && certbot -q renew",
        script="[ -d /run/systemd/system ] && exit 0\n/opt/gte-ops watchdog --once --config /etc/x",
    )
    for part in ("! -d /run/systemd/system", "perl ***", "certbot -q renew", "[ -d /run/systemd/system ] && exit 0",
                 "/opt/gte-ops watchdog --once --config /etc/x"):  # fmt: skip
        assert part in words, part


def test_of_a_rotation_s_script_only_that_there_is_one_leaves_the_host() -> None:
    rule = RotationRule(
        file="/etc/logrotate.d/x",
        line=1,
        patterns=("/var/log/x.log",),
        scripts={"postrotate": "curl -H 'X-Any: hunt9' https://h/", "prerotate": ""},
    )
    rotation = redacted(but(rotation=Rotation(files=(), rules=(rule,)))).rotation
    assert isinstance(rotation, Rotation)
    assert rotation.rules[0].scripts == {"postrotate": "***", "prerotate": ""}


# --- gunicorn --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    ["timeout = {'a': 'hunt9'}", "timeout = 'hunt9'", "bind = ['127.0.0.1:80', {'hunt9'}]",
     "bind = ['a:hunt9@b:80']",
     "threads = 4 if 'hunt9' else 2",
     "timeout = int(x or 'hunt9')", "preload_app = 'hunt9'", "worker_class = f('hunt9')",
     "raw_env = ['A=hunt9']", "raw_env = {'A': 'hunt9'}", "max_requests = b'hunt9'", "daemon = lambda: 'hunt9'",
     "reload = ['hunt9']", "pidfile = {'hunt9': 1}", "magic = 'hunt9'"],
)  # fmt: skip
def test_a_setting_of_another_type_is_not_kept(setting: str) -> None:
    config = parse_config("/srv/gunicorn.conf.py", f"x = 1\n{setting}\n".encode())
    assert "hunt9" not in msgspec.json.encode(config).decode()


@pytest.mark.parametrize(
    ("setting", "source"),
    [("timeout = 30 * 4", "120"), ("bind = ['0.0.0.0:' + '8000', 'unix:/run/x.sock']",
      "['0.0.0.0:8000', 'unix:/run/x.sock']"),

     ("worker_class = 'gthread'", "'gthread'"), ("preload_app = 'true'", "'true'"), ("max_requests = '1000'", "'1000'"),
     ("bind = '[::]:8000'", "'[::]:8000'"), ("errorlog = '/var/log/x.log'", "'/var/log/x.log'")],
)  # fmt: skip
def test_a_setting_of_its_own_type_is_kept(setting: str, source: str) -> None:
    [value] = parse_config("/srv/gunicorn.conf.py", setting.encode()).assigned.values()
    assert (value.known, value.source) == (True, source)


@pytest.mark.parametrize(
    "words",
    [("-e", "K=hunt9"), ("--env", "K=a hunt9"), ("--env=k=hunt9",), ("-ek=hunt9",), ("--en", "LANG=hunt9"),
     ("-e", "k=hunt9=x")],
)  # fmt: skip
def test_a_variable_s_value_on_gunicorn_s_command_line_stays_here(words: tuple[str, ...]) -> None:
    target, own = HEALTHY.target, HEALTHY.processes
    assert isinstance(target, Target)
    assert isinstance(own, Processes)
    master = next(p for p in own.processes if p.pid == target.gunicorn_master)
    changed_master = msgspec.structs.replace(
        master,
        command=(*master.command, *words),
        environment={"GUNICORN_CMD_ARGS": " ".join(map(shlex.quote, words))},
    )
    table = msgspec.structs.replace(
        own, processes=tuple(changed_master if p is master else p for p in own.processes)
    )
    result = redacted(but(processes=table)).processes
    assert isinstance(result, Processes)
    assert "hunt9" not in str(result)
    assert "GUNICORN_CMD_ARGS" in str(result)
    name = " ".join(words).partition("=" if words[0].count("=") < 2 else "hunt9")[0]
    assert name in " ".join(next(p for p in result.processes if p.pid == master.pid).command)


# --- processes -----------------------------------------------------------------------------------------


def shown(*command: str, **facts: object) -> tuple[str, ...]:
    """What of a foreign process's command line leaves the host."""
    foreign = msgspec.structs.replace(process(4242, 1, *command), **facts)
    own = HEALTHY.processes
    assert isinstance(own, Processes)
    table = msgspec.structs.replace(own, processes=(*own.processes, foreign))
    result = redacted(but(processes=table)).processes
    assert isinstance(result, Processes)
    assert result.processes[:-1] == own.processes, "the service's own processes keep theirs"
    assert result.processes[-1].cwd is None
    return result.processes[-1].command


@pytest.mark.parametrize(
    ("command", "visible"),
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
    command: tuple[str, ...], visible: tuple[str, ...]
) -> None:
    assert shown(*command, environment={"GUNICORN_CMD_ARGS": "hunter2"}) == visible


def test_where_the_service_is_not_known_every_process_is_another_s() -> None:
    from ops.facts.base import NotSeen

    table = processes((process(7, 1, "python3", "x.py", "hunter2"),))
    result = redacted(but(processes=table, target=NotSeen(reason="-")))
    assert isinstance(result, Snapshot)
    assert "hunter2" not in str(result.processes)
