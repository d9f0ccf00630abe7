"""An archive is anybody's: verifying it and rehearsing its restore runs nothing of it as root."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ops.archive.manifest import NginxUse
from tests.attacks import attacker
from tests.attacks.host import NGINX, gte_ops
from tests.attacks.namespaces import on_a_host_of_its_own
from tests.lab.authority import Authority, write_lineage
from tests.system.made_backup import make_backup

ROOT = Path("/root/archived")
BACKUPS = Path("/var/backups/gte-ops")
RUNS = Path("/run/nginx-runs")
SITE = """events {{}}
http {{
    {http}
    server {{
        listen 443 ssl;
        server_name gte-api.example.com;
        ssl_certificate /etc/letsencrypt/live/gte-api.example.com/fullchain.pem;
        ssl_certificate_key /etc/letsencrypt/live/gte-api.example.com/privkey.pem;
        location / {{ return 200 "ok"; {location} }}
    }}
}}
"""
COMMANDS = ("verify", "drill")
# Where Debian's nginx has them; /usr/share/nginx/modules, its compiled-in place, leads here.
HOST_MODULES = Path("/usr/lib/nginx/modules")


def archive(
    *,
    main: str = "",
    http: str = "",
    location: str = "",
    prefix: str = "/usr/share/nginx",
    binary: str = NGINX,
) -> Path:
    """A backup of a host whose nginx.conf has these directives, and the attacker's module beside it."""
    BACKUPS.mkdir(parents=True)
    nginx = ROOT / "etc/nginx"
    nginx.mkdir(parents=True, exist_ok=True)
    (nginx / "nginx.conf").write_text(main + SITE.format(http=http, location=location))
    place = ROOT / "etc/letsencrypt"
    write_lineage(place, "gte-api.example.com", Authority().issue(["gte-api.example.com"]))
    renewal = place / "renewal/gte-api.example.com.conf"
    renewal.write_text(renewal.read_text().replace(str(place), "/etc/letsencrypt"))
    return make_backup(
        ROOT,
        BACKUPS,
        nginx=NginxUse(binary=binary, config_file="/etc/nginx/nginx.conf", prefix=prefix),
    )


def watch_nginx() -> None:
    """Has the host's nginx write down who runs it with which arguments."""
    real = Path("/usr/sbin/nginx-real")
    Path(NGINX).rename(real)
    Path(NGINX).write_text(f'#!/bin/sh\necho "$(id -u) $*" >>{RUNS}\nexec {real} "$@"\n')
    Path(NGINX).chmod(0o755)
    RUNS.touch()
    RUNS.chmod(0o666)


def runs() -> list[tuple[int, str]]:
    """Each run of nginx with a configuration of an archive's: the user, and the arguments."""
    lines = RUNS.read_text().splitlines()
    RUNS.write_text("")
    return [(int(uid), words) for uid, _, words in (line.partition(" ") for line in lines) if "-c" in words]


def module_in_the_archive() -> Path:
    nginx = ROOT / "etc/nginx"
    nginx.mkdir(parents=True)
    return attacker.module(nginx / "evil.so", uid=0)


def by_the_working_directory() -> Path:
    module_in_the_archive()
    return archive(main="load_module /proc/self/cwd/../root/etc/nginx/evil.so;\n")


def by_the_prefix() -> Path:
    module_in_the_archive()
    return archive(main="load_module root/etc/nginx/evil.so;\n", prefix="..")


def by_many_includes() -> Path:
    """Deeper than the reader follows."""
    nginx = module_in_the_archive().parent
    for number in range(40):
        (nginx / f"{number}.conf").write_text(f"include {number + 1}.conf;\n")
    (nginx / "40.conf").write_text("load_module /proc/self/cwd/../root/etc/nginx/evil.so;\n")
    return archive(main="include 0.conf;\n")


def by_a_pattern_that_readers_take_differently() -> Path:
    """glob(3), which nginx uses, takes a backslash for an escape; Python's does not."""
    nginx = module_in_the_archive().parent
    (nginx / "more.conf").write_text("load_module /proc/self/cwd/../root/etc/nginx/evil.so;\n")
    return archive(main="include m\\ore*.conf;\n")


def of_the_host_but_not_of_its_nginx() -> Path:
    """A library that lies on the host, in a user's hands."""
    return archive(main=f"load_module {attacker.module(attacker.place() / 'evil.so')};\n")


def out_of_the_modules_directory() -> Path:
    HOST_MODULES.mkdir(parents=True, exist_ok=True)
    module = attacker.module(attacker.place() / "evil.so")
    return archive(main=f"load_module modules/../../../..{module};\n")


MODULES = {
    "by the working directory": by_the_working_directory,
    "by the prefix": by_the_prefix,
    "by many includes": by_many_includes,
    "by an odd pattern": by_a_pattern_that_readers_take_differently,
    "on the host": of_the_host_but_not_of_its_nginx,
    "out of the modules directory": out_of_the_modules_directory,
}


SAMPLE = ("by the working directory", "by many includes", "by an odd pattern")


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=() if how in SAMPLE else pytest.mark.long) for how in MODULES]
)
@on_a_host_of_its_own
def test_no_module_that_an_archive_names_is_loaded(how: str) -> None:
    made = MODULES[how]()
    for command in COMMANDS:
        ran = gte_ops("backup", command, str(made))
        assert attacker.owned() == [], f"{command}: {ran.stdout}{ran.stderr}"
        # It is not called tested, whatever else is right with it.
        assert not re.search(r"OK: nginx|nginx -t on", ran.stdout), f"{command}: {ran.stdout}{ran.stderr}"


@pytest.mark.parametrize("owner", ["root's", "a user's"])
@on_a_host_of_its_own
def test_no_program_that_a_manifest_names_is_run(owner: str) -> None:
    if owner == "root's":
        program = attacker.program(Path("/usr/local/sbin/nginx-other"), uid=0)
    else:
        program = attacker.program(attacker.place() / "nginx")
    made = archive(binary=str(program))
    for command in COMMANDS:
        gte_ops("backup", command, str(made))
        assert attacker.owned() == [], command


DIRECTIVES = {
    "perl_modules": {"http": "perl_modules /etc/nginx;"},
    "perl_set": {"http": "perl_set $x 'sub { system(\"id\") }';"},
    "perl": {"location": "perl evil::handler;"},
    "js_import": {"http": "js_import evil from /etc/nginx/evil.js;"},
    "js_content": {"location": "js_content evil.run;"},
    "init_by_lua_block": {"http": "init_by_lua_block { os.execute('id') }"},
    "content_by_lua_file": {"location": "content_by_lua_file /etc/nginx/evil.lua;"},
}


@on_a_host_of_its_own
def test_a_configuration_that_is_a_program_is_not_given_to_nginx() -> None:
    watch_nginx()
    made = archive(**DIRECTIVES["init_by_lua_block"])
    for command in COMMANDS:
        ran = gte_ops("backup", command, str(made))
        assert runs() == [], command
        assert "init_by_lua_block" in ran.stdout + ran.stderr, ran.stdout + ran.stderr


@on_a_host_of_its_own
def test_every_directive_that_runs_a_program_is_refused() -> None:
    watch_nginx()
    found = {}
    for directive, where in DIRECTIVES.items():
        made = archive(**where)
        gte_ops("backup", "verify", str(made))
        if ran := runs():
            found[directive] = ran
        subprocess.run(["rm", "-rf", str(ROOT), str(BACKUPS)], check=True)
    assert found == {}


@on_a_host_of_its_own
def test_an_archives_nginx_never_runs_as_root() -> None:
    watch_nginx()
    made = archive()
    for command in COMMANDS:
        gte_ops("backup", command, str(made))
        assert [run for run in runs() if run[0] == 0] == [], command


# --- the harmless twins -----------------------------------------------------------------------------------------------


@on_a_host_of_its_own
def test_an_honest_archive_is_verified_and_rehearsed() -> None:
    made = archive(main="include extra/*.conf;\n")
    for command in COMMANDS:
        ran = gte_ops("backup", command, str(made))
        assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"


@on_a_host_of_its_own
def test_a_broken_configuration_in_an_archive_is_found() -> None:
    made = archive(http="nonsense;")
    for command in COMMANDS:
        ran = gte_ops("backup", command, str(made))
        assert ran.returncode == 2, f"{command}: {ran.stdout}{ran.stderr}"
        assert "nonsense" in ran.stdout + ran.stderr


@on_a_host_of_its_own
def test_a_module_of_the_hosts_own_nginx_is_left_to_nginx() -> None:
    watch_nginx()
    HOST_MODULES.mkdir(parents=True, exist_ok=True)
    attacker.module(HOST_MODULES / "ngx_http_own_module.so", uid=0)
    made = archive(main="load_module modules/ngx_http_own_module.so;\n")
    gte_ops("backup", "verify", str(made))
    assert [words for _, words in runs() if words.endswith("-t")]


@on_a_host_of_its_own
def test_words_that_only_look_like_programs_are_no_reason_to_refuse() -> None:
    made = archive(http='add_header X-Why "perl_set js_import lua";', location="root /srv/perl;")
    for command in COMMANDS:
        ran = gte_ops("backup", command, str(made))
        assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
