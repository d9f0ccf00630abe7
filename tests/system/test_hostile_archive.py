"""An archive may be anybody's: `backup verify` and `backup drill` run nothing of it, and say what they did not try."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.archive.manifest import ManifestEntry, NginxUse
from ops.backups.nginx_dry_run import MAX_FILE_BYTES, unpack
from ops.backups.staging import UntestedError, make_ready, try_configuration
from ops.backups.staging_directory import scratch_directory
from ops.collect.services.nginx import build_facts
from tests.lab.authority import Authority, write_lineage
from tests.system.backup_host import REPOSITORY
from tests.unit.archive.made_archive import directory, file, forged, manifest, packed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root's nginx is worth attacking")

CONF = "etc/nginx/nginx.conf"
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "nginx"
MODULE = """
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) { open("MARKER", O_CREAT | O_WRONLY, 0666); }
"""


class Attack:
    """A directory that everybody may enter; whatever runs, as whomever, can leave its marker in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        place.chmod(0o755)
        (place / "open").mkdir()
        (place / "open").chmod(0o777)
        self.marker = place / "open" / "marker"
        self._starts = place / "open" / "starts"

    def program(self, name: str = "nginx") -> Path:
        """A program that leaves the marker and calls itself nginx."""
        path = self.place / name
        path.write_text(
            f"#!/bin/sh\necho $$ >>{self.marker}\necho 'nginx version: nginx/1.22.1' >&2\n"
            "echo 'configure arguments: --prefix=/usr/share/nginx' >&2\n"
        )
        path.chmod(0o755)
        return path

    def module(self) -> bytes:
        """A shared object that leaves the marker when it is loaded; without a compiler, any that nginx would load."""
        if shutil.which("gcc") is None:
            return Path(json.__file__).read_bytes()
        source, built = self.place / "module.c", self.place / "module.so"
        source.write_text(MODULE.replace("MARKER", str(self.marker)))
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", built, source], check=True)
        return built.read_bytes()

    def watched_nginx(self) -> Path:
        """This host's nginx, in a wrapper that says with which arguments it was started. -V is no start."""
        path = self.place / "bin" / "nginx"
        path.parent.mkdir()
        path.parent.chmod(0o755)
        path.write_text(f'#!/bin/sh\n[ "$1" = -V ] || echo "$@" >>{self._starts}\nexec {NGINX} "$@"\n')
        path.chmod(0o755)
        return path

    def starts(self) -> str:
        """What the watched nginx was started with."""
        return self._starts.read_text() if self._starts.exists() else ""


@pytest.fixture
def attack() -> Iterator[Attack]:
    with scratch_directory() as scratch:
        yield Attack(scratch / "attack")


def archive(attack: Attack, files: dict[str, str | bytes], **use: str) -> Path:
    """An archive of these files and the directories above them, as an attacker would make one."""
    contents = {path: body.encode() if isinstance(body, str) else body for path, body in files.items()}
    above = sorted({str(p) for path in contents for p in Path(path).parents} - {"."})
    entries: list[ManifestEntry] = [directory(each) for each in above]
    entries += [file(path, body) for path, body in contents.items()]
    told = {"binary": "nginx", "config_file": f"/{CONF}", "prefix": "/usr/share/nginx", **use}
    made = msgspec.structs.replace(manifest(*entries), nginx=NginxUse(**told))
    return packed(attack.place / "gte-ops-web1-20261122T030000Z.tar.zst", made, contents)


def run(attack: Attack, command: str, path: Path, *, program: str) -> dict[str, Any]:
    """What `gte-ops backup verify` or `drill` says of an archive."""
    config = attack.place / "gte-ops.toml"
    config.write_text(f'[nginx]\nbinary = "{program}"\n[backup]\ndir = "{attack.place}/backups"\n')
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "backup", command, str(path), "--config", str(config), "--format", "json"],
        capture_output=True, text=True, check=False, timeout=120, cwd="/",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def said(told: dict[str, Any]) -> str:
    return json.dumps(told, ensure_ascii=False)


HOSTILE: dict[str, dict[str, str]] = {
    "a module in the archive": {CONF: "load_module /etc/nginx/evil.so;\nevents {}\n"},
    "a module of the attacker's, by its place on the host": {CONF: "load_module PLACE/evil.so;\nevents {}\n"},
    "a module in quotes": {CONF: '"load_module" "PLACE/evil.so";\nevents {}\n'},
    "a module below the host's directory by climbing": {
        CONF: "load_module /usr/lib/nginx/modules/../../../../PLACE/evil.so;\nevents {}\n"
    },
    "a module named in an include": {
        CONF: "include conf.d/*.conf;\nevents {}\n",
        "etc/nginx/conf.d/a.conf": "load_module PLACE/evil.so;\n",
    },
    "a module in an include that only nginx's own pattern finds": {
        CONF: "include conf.d/[[:alpha:]].conf;\nevents {}\n",
        "etc/nginx/conf.d/a.conf": "load_module PLACE/evil.so;\n",
    },
    "a module in an include whose pattern is escaped": {
        CONF: "include conf.d/\\a.con[f];\nevents {}\n",
        "etc/nginx/conf.d/a.conf": "load_module PLACE/evil.so;\n",
    },
    "code in a file that is a table as well": {
        CONF: "events {}\nhttp { map $uri $x { include both.conf; } include both.conf; }\n",
        "etc/nginx/both.conf": "perl_require PLACE/evil.pm;\n",
    },
    "an engine of OpenSSL": {CONF: "ssl_engine PLACE/evil.so;\nevents {}\n"},
    "a key in an engine": {
        CONF: "events {}\nhttp { server { listen 443 ssl; ssl_certificate_key engine:PLACE/evil.so:1; } }\n"
    },
    "a key in an engine that a variable names": {
        CONF: "events {}\nhttp { map $uri $k { default engine:PLACE/evil.so:1; } server { listen 443 ssl;"
        " ssl_certificate_key $k; } }\n"
    },
    "Perl": {CONF: "events {}\nhttp { perl_modules /etc/nginx; perl_require evil.pm; }\n"},
    "Perl in a variable": {CONF: "events {}\nhttp { perl_set $x 'sub { system(1) }'; }\n"},
    "a script of njs": {CONF: "events {}\nhttp { js_import evil.js; js_set $x evil.x; }\n"},
    "Lua in a block": {CONF: 'events {}\nhttp { init_by_lua_block { os.execute("id") } }\n'},
    "Lua in a file": {CONF: "events {}\nhttp { init_by_lua_file evil.lua; }\n"},
    "a path for Lua": {CONF: 'events {}\nhttp { lua_package_path "PLACE/?.lua"; }\n'},
    "a program of rtmp's": {
        CONF: "events {}\nrtmp { server { application a { exec_push PLACE/nginx; } } }\n"
    },
    "a program of Passenger's": {CONF: "events {}\nhttp { passenger_ruby PLACE/nginx; }\n"},
    "a file by a command of OpenSSL's": {
        CONF: "events {}\nhttp { server { listen 443 ssl; ssl_conf_command Certificate /etc/shadow; } }\n"
    },
    "a profile": {CONF: "google_perftools_profiles PLACE/profile;\nevents {}\n"},
}


@pytest.mark.parametrize("files", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_configuration_that_runs_code_is_given_to_no_nginx(attack: Attack, files: dict[str, str]) -> None:
    module = attack.module()
    (attack.place / "evil.so").write_bytes(module)
    attack.marker.unlink(missing_ok=True)
    bodies: dict[str, str | bytes] = {
        path: body.replace("PLACE", str(attack.place)) for path, body in files.items()
    }
    made = archive(attack, {**bodies, "etc/nginx/evil.so": module})
    program = str(attack.watched_nginx())
    verified = run(attack, "verify", made, program=program)
    drilled = run(attack, "drill", made, program=program)
    assert not attack.marker.exists()
    assert attack.starts() == ""
    assert "not tested by nginx: " in said(verified)
    assert "not tested by nginx: " in said(drilled)
    # Not tested is not damaged.
    assert verified["good"] is True
    assert drilled["status"] == "unknown"


def test_what_loads_code_is_named_with_its_file_and_line(attack: Attack) -> None:
    made = archive(attack, {CONF: "events {}\n\nload_module /tmp/x.so;\n"})
    told = run(attack, "verify", made, program=str(attack.watched_nginx()))
    (note,) = [each for each in told["notes"] if "not tested" in each]
    assert note.startswith(
        "not tested by nginx: it loads code (/etc/nginx/nginx.conf:3 load_module /tmp/x.so)"
    )


@pytest.mark.parametrize("command", ["verify", "drill"])
def test_no_program_that_the_manifest_names_is_run(attack: Attack, command: str) -> None:
    made = archive(attack, {CONF: "events {}\nhttp {}\n"}, binary=str(attack.program()))
    run(attack, command, made, program="nginx")
    assert not attack.marker.exists()


def test_an_nginx_that_others_may_change_is_not_run(attack: Attack) -> None:
    program = attack.program()
    os.chown(program, 65534, 65534)
    made = archive(attack, {CONF: "events {}\nhttp {}\n"})
    told = run(attack, "verify", made, program=str(program))
    assert "belongs to user 65534" in said(told)
    assert not attack.marker.exists()


def test_nothing_of_the_host_is_read_or_written(attack: Attack) -> None:
    """Paths that only root may use lead into the scratch directory, and nginx could not use them itself."""
    victim = Path("/root") / f"gte-ops-test-{os.getpid()}"
    made = archive(
        attack,
        {
            CONF: f"user root;\nerror_log {victim}/error;\npid {victim}/pid;\nlock_file {victim}/lock;\n"
            f"working_directory {victim};\nenv LD_PRELOAD={attack.place}/evil.so;\ninclude /etc/passwd;\nevents {{}}\n"
            f"http {{ access_log {victim}/access; client_body_temp_path {victim}/body;\n"
            f"proxy_cache_path {victim}/cache keys_zone=a:1m; server {{ listen 80; proxy_store {victim}/$uri; }} }}\n"
        },
    )
    told = run(attack, "verify", made, program=str(attack.watched_nginx()))
    # The archive has no /etc/passwd, and the host's is none of its business.
    assert "/etc/passwd" in said(told)
    assert "No such file or directory" in said(told)
    assert not victim.exists()


SERVING = """events {}
http {
    upstream named { server 127.0.0.1:PORT; }
    map $uri $to { default http://127.0.0.1:PORT; }
    server {
        listen 8443 ssl; server_name gte-api.example.com;
        ssl_certificate cert.pem; ssl_certificate_key key.pem;
        location / { proxy_pass DESTINATION; proxy_method POST; proxy_set_body evil; }
    }
}
"""


DESTINATIONS = (
    "http://127.0.0.1:PORT",
    "http://localhost:PORT",
    "http://$server_addr:PORT",
    "$to",
    "http://named",
)


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_the_drills_nginx_asks_no_service_of_the_host(attack: Attack, destination: str) -> None:
    """No archive has a service on loopback asked for anything."""
    live = write_lineage(
        attack.place / "le", "gte-api.example.com", Authority().issue(["gte-api.example.com"])
    )
    with socket.create_server(("127.0.0.1", 0)) as service:
        service.setblocking(False)
        configuration = SERVING.replace("DESTINATION", destination)
        made = archive(
            attack,
            {
                CONF: configuration.replace("PORT", str(service.getsockname()[1])),
                "etc/nginx/cert.pem": (live / "fullchain.pem").read_bytes(),
                "etc/nginx/key.pem": (live / "privkey.pem").read_bytes(),
            },
        )
        told = run(attack, "drill", made, program=str(attack.watched_nginx()))
        assert {c["name"]: c["status"] for c in told["checks"]}["served"] == "ok", told
        with pytest.raises(BlockingIOError):
            service.accept()


def test_requests_are_passed_to_nobody_whatever_network_nginx_has() -> None:
    """Where another user than root runs the drill, nginx has the host's network."""
    with scratch_directory() as scratch:
        conf = scratch / "root" / CONF
        conf.parent.mkdir(parents=True)
        locations = "".join(f"location /{n} {{ proxy_pass {to}; }}\n" for n, to in enumerate(DESTINATIONS))
        conf.write_text(
            SERVING.replace("location / { proxy_pass DESTINATION; ", f"{locations}location / {{ ")
            .replace("proxy_method POST; proxy_set_body evil;", "fastcgi_pass 127.0.0.1:PORT;")
            .replace("PORT", "2375")
        )
        make_ready(
            scratch / "root", scratch / "run", f"/{CONF}", prefix="/usr", binary=NGINX, build=build_facts(NGINX, 5)
        )  # fmt: skip
        passed = re.findall(r"(?:server|_pass) (\S+);", conf.read_text())
        assert len(passed) == len(DESTINATIONS) + 2
        assert [to for to in passed if "nowhere.sock" not in to] == ["http://named"]


# --- the harmless ones, which go on being tested ----------------------------------------------------------------------


def test_the_hosts_own_nginx_runs_as_a_user_who_owns_nothing_else(attack: Attack) -> None:
    program = attack.watched_nginx()
    program.write_text(program.read_text().replace('echo "$@"', "cat /proc/self/status"))
    told = run(attack, "verify", archive(attack, {CONF: "events {}\nhttp {}\n"}), program=str(program))
    assert "nginx -t on the restored tree" in told["checked"]
    status = dict(line.split(":", 1) for line in attack.starts().splitlines() if ":" in line)
    assert "0" not in status["Uid"].split()
    assert int(status["CapEff"], 16) == 0


HARMLESS: dict[str, dict[str, str]] = {
    "includes by pattern, nested, absolute and twice": {
        CONF: "events {}\nhttp { include mime.types; include /etc/nginx/conf.d/*.conf; include conf.d/none/*.conf; }\n",
        "etc/nginx/mime.types": "types { text/html html; }\n",
        "etc/nginx/conf.d/a.conf": "server { listen 80; include snippets/h; location /b { include snippets/h; } }\n",
        "etc/nginx/snippets/h": "add_header X-A b;\n",
    },
    "younger directives": {
        CONF: "events {}\nhttp { proxy_cookie_flags a secure; keepalive_time 1h;\nserver { listen 443 ssl;"
        " ssl_reject_handshake on; ssl_conf_command Options PrioritizeChaCha; ssl_ciphers ECDHE+CHACHA20; } }\n",
    },
    "upstreams by name, which nobody looks up": {
        CONF: "events {}\nhttp { upstream app { server app.internal.invalid:8000; server 10.0.0.1:80 backup; }\n"
        "server { listen 80; resolver ns.invalid 127.0.0.53 valid=30s; set_real_ip_from 10.0.0.0/8;"
        " set_real_ip_from 2001:db8::/32; location / { proxy_pass http://app; }"
        " location /b { proxy_pass https://other.invalid/x; } location /c { fastcgi_pass php.invalid:9000; }"
        " location /d { proxy_pass http://unix:/run/app.sock:/; } location /e { proxy_pass http://[::1]:80; }"
        " location ~ /f { proxy_pass http://$host:81$uri; } location ~ /g { proxy_pass $arg_to; }"
        " location ~ /h { proxy_pass http://unix:/run/app.sock; } location /i { grpc_pass grpcs://g.invalid; }"
        " location /j { uwsgi_pass 127.0.0.1:3031; } location /k { set $memcached_key k; memcached_pass app; }"
        " location /l { proxy_pass HTTP://APP/x; } location /m { fastcgi_pass $arg_to; } } }\n",
    },
    "what only the host's own nginx may do": {
        CONF: "user nginx-of-another-host;\nworker_processes auto;\nworker_rlimit_nofile 65535;\nenv TZ;\n"
        "pid /run/nginx.pid;\nevents { worker_connections 1024; }\nhttp { server { listen 80; } }\n",
    },
}


@pytest.mark.parametrize("files", HARMLESS.values(), ids=HARMLESS.keys())
def test_a_harmless_configuration_is_tested(attack: Attack, files: dict[str, str]) -> None:
    told = run(attack, "verify", archive(attack, dict(files)), program=str(attack.watched_nginx()))
    assert "nginx -t on the restored tree" in told["checked"], told
    assert "-t" in attack.starts()


def test_the_layout_of_an_nginx_from_source_is_tested(attack: Attack) -> None:
    """Paths that count from its prefix, and from its configuration's directory."""
    files: dict[str, str | bytes] = {
        "opt/nginx/conf/nginx.conf": "pid logs/nginx.pid;\nerror_log logs/error.log info;\nevents {}\n"
        "http { include mime.types; access_log logs/access.log; server { listen 80; root html; } }\n",
        "opt/nginx/conf/mime.types": "types { text/html html; }\n",
    }
    made = archive(attack, files, prefix="/opt/nginx", config_file="/opt/nginx/conf/nginx.conf")
    told = run(attack, "verify", made, program=str(attack.watched_nginx()))
    assert "nginx -t on the restored tree" in told["checked"], told


def test_an_archive_that_would_fill_the_disk_is_not_unpacked(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shutil.disk_usage("/")
    nearly_full = type(here)(here.total, here.total - (1 << 20), 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: nearly_full)
    zeros = [file(f"zeros{number}", b"", size=MAX_FILE_BYTES) for number in range(2)]
    path = forged(attack.place / "bomb.tar.zst", manifest(*zeros), [])
    with scratch_directory() as scratch:
        with pytest.raises(OSError, match="more than half of the free space"):
            unpack(path, (), scratch / "root", MAX_FILE_BYTES)
        assert not any((scratch / "root").iterdir())


def test_a_directive_that_this_nginx_has_not_fails_in_its_own_words(attack: Attack) -> None:
    made = archive(attack, {CONF: "events {}\nhttp { no_such_directive on; }\n"})
    told = run(attack, "verify", made, program=NGINX)
    assert told["good"] is False
    assert any('unknown directive "no_such_directive"' in each for each in told["problems"])


@pytest.fixture
def modules() -> Iterator[Path]:
    """The directory of a host's nginx's modules, with one in it: any shared object, which nginx then refuses itself."""
    with scratch_directory() as scratch:
        scratch.chmod(0o755)
        place = scratch / "lib" / "modules"
        place.mkdir(parents=True)
        found = next(Path("/usr/lib").rglob("libm.so.6"))
        (place / "ngx_http_own_module.so").write_bytes(found.read_bytes())
        # As Debian has it: PREFIX/modules is a link.
        (scratch / "share").mkdir()
        (scratch / "share" / "modules").symlink_to("../lib/modules")
        yield scratch


Ready = Callable[[str], str]


@pytest.fixture
def ready(modules: Path) -> Iterator[Ready]:
    """What nginx says of a configuration with this ``load_module``, on a host of these modules."""
    with scratch_directory() as scratch:
        build = build_facts(NGINX, 5) | {
            "modules-path": f"{modules}/lib/modules",
            "prefix": f"{modules}/share",
        }

        def test(written: str) -> str:
            root = scratch / f"root{len(list(scratch.iterdir()))}"
            conf = root / CONF
            conf.parent.mkdir(parents=True)
            (conf.parent / "modules-enabled").mkdir()
            enabled = conf.parent / "modules-enabled/50-mod.conf"
            enabled.write_text(f"load_module {written};\n")
            conf.write_text("include /etc/nginx/modules-enabled/*.conf;\nevents {}\n")
            spare = make_ready(
                root, root.with_name(f"{root.name}-run"), f"/{CONF}",
                prefix=f"{modules}/share", binary=NGINX, build=build,
            )  # fmt: skip
            return try_configuration(spare, 10).reason

        yield test


def test_a_module_of_the_hosts_own_nginx_is_loaded(ready: Ready, modules: Path) -> None:
    for written in ("modules/ngx_http_own_module.so", f"{modules}/lib/modules/ngx_http_own_module.so"):
        assert 'ngx_http_own_module.so", "ngx_modules" failed' in ready(written)


@pytest.mark.parametrize("change", ["owner", "mode", "directory"])
def test_a_module_that_others_may_change_is_not_loaded(ready: Ready, modules: Path, change: str) -> None:
    place = modules / "lib/modules"
    if change == "owner":
        os.chown(place / "ngx_http_own_module.so", 65534, 65534)
    else:
        (place if change == "directory" else place / "ngx_http_own_module.so").chmod(0o777)
    with pytest.raises(UntestedError, match="it loads code"):
        ready("modules/ngx_http_own_module.so")


def test_a_module_that_the_host_has_not_is_not_looked_for_in_the_archive(ready: Ready) -> None:
    with pytest.raises(UntestedError, match=r"/etc/nginx/modules-enabled/50-mod\.conf:1 load_module"):
        ready("modules/ngx_http_other_module.so")
