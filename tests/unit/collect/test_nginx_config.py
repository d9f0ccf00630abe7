"""nginx's configuration as it lies on disk, through the real parser; what nginx says of itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.collect.services import nginx
from ops.facts.base import NotSeen
from ops.facts.nginx import Directive, NginxConfig, Pidfile
from ops.facts.snapshot import Snapshot, to_json
from ops.files.throwaway_mounts import NoThrowawayError
from ops.interpret import nginx as topology
from ops.interpret.site import NginxSiteConfig, SiteReading, find_site
from tests.unit.made_snapshot import SITE, but, directives, nginx_config, process

PRINTED = """nginx version: nginx/1.22.1
built with OpenSSL 3.0.8 7 Feb 2023
TLS SNI support enabled
configure arguments: --with-cc-opt='-g -O2 -fPIC' --prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf \
--http-log-path=/var/log/nginx/access.log --error-log-path=stderr --pid-path=/run/nginx.pid --with-debug \
--http-client-body-temp-path=/var/lib/nginx/body
"""


def read(file: Path, **more: Any) -> NginxConfig:
    config = nginx.read_config("/usr/sbin/nginx", {"prefix": str(file.parent), **more}, str(file), ())
    assert isinstance(config, NginxConfig), config
    return config


def written(directory: Path, **files: str) -> Path:
    """A configuration of these files; the first is the main one."""
    for name, text in files.items():
        (directory / f"{name}.conf").write_text(text)
    return directory / f"{next(iter(files))}.conf"


def plain(directives: tuple[Directive, ...]) -> list[Any]:
    return [(d.name, d.args, d.line, None if d.block is None else plain(d.block)) for d in directives]


def test_includes_are_resolved_in_their_place_and_keep_file_and_line(tmp_path: Path) -> None:
    main = written(
        tmp_path,
        nginx="# first\nhttp {\n    include sites/*.conf;\n    gzip on;\n}\n",
        errors="error_page 404 /x;\n",
    )
    (tmp_path / "sites").mkdir()
    for name in ("b", "a"):
        (tmp_path / "sites" / f"{name}.conf").write_text(
            f"\nserver {{ server_name {name};\ninclude errors.conf; }}"
        )
    config = read(main)
    (http,) = config.directives
    assert [d.name for d in http.block or ()] == ["server", "server", "gzip"]
    first = (http.block or ())[0]
    assert (first.file, first.line) == (str(tmp_path / "sites" / "a.conf"), 2)
    assert [d.name for d in first.block or ()] == ["server_name", "error_page"]
    assert (first.block or ())[1].file == str(tmp_path / "errors.conf")
    assert set(config.files) == {
        str(tmp_path / name) for name in ("nginx.conf", "errors.conf", "sites/a.conf", "sites/b.conf")
    }
    assert config.errors == ()


def test_the_tests_own_reader_agrees_with_the_real_parser(tmp_path: Path) -> None:
    main = written(tmp_path, nginx=SITE)
    assert plain(read(main).directives) == plain(directives(SITE))


def test_quotes_and_lua_blocks_and_braces_in_variables(tmp_path: Path) -> None:
    main = written(tmp_path, nginx="map $a $b { \"~^x{1,2}$\" 'it''s'; default \"\"; }\nset $c ${a}b;\n")
    config = read(main)
    assert config.directives[0].block
    assert config.directives[0].block[0].name == "~^x{1,2}$"
    assert config.directives[1].args == ("$c", "${a}b")


def test_where_it_cannot_be_parsed_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    main = written(
        tmp_path, nginx="http {\n  include broken.conf;\n  gzip on;\n}", broken="server {\n listen 80;\n"
    )
    config = read(main)
    assert config.errors
    assert config.errors[0].file == str(tmp_path / "broken.conf")
    assert not config.errors[0].permission
    assert "gzip" in [d.name for d in config.directives[0].block or ()]


def test_an_include_that_leads_in_a_circle_ends(tmp_path: Path) -> None:
    main = written(tmp_path, nginx="include other.conf;\ngzip on;", other="include nginx.conf;")
    assert "gzip" in [d.name for d in read(main).directives]


def test_a_file_that_is_not_there_or_too_large_is_not_seen(tmp_path: Path) -> None:
    missing = nginx.read_config(None, {}, str(tmp_path / "none.conf"), ())
    assert isinstance(missing, NotSeen)
    assert "does not exist" in missing.reason
    giant = written(tmp_path, nginx="#" * (nginx.MAX_FILE_BYTES + 1))
    assert isinstance(nginx.read_config(None, {}, str(giant), ()), NotSeen)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_asks_for_root(tmp_path: Path) -> None:
    main = written(tmp_path, nginx="gzip on;")
    main.chmod(0)
    config = nginx.read_config(None, {}, str(main), ())
    assert isinstance(config, NotSeen)
    assert config.needs_root


def test_the_running_master_s_own_file_is_read_before_the_compiled_one(tmp_path: Path) -> None:
    running = written(tmp_path, running="worker_processes 3;")
    compiled = written(tmp_path, compiled="worker_processes 1;")
    master = process(1, 0, f"nginx: master process nginx -p {tmp_path} -c running.conf")
    build = {"conf-path": str(compiled), "prefix": "/usr/share/nginx"}
    config = nginx.read_config(None, build, None, (master,))
    assert isinstance(config, NginxConfig)
    assert (config.file, config.prefix) == (str(running), str(tmp_path))
    assert isinstance(alone := nginx.read_config(None, build, None, ()), NginxConfig)
    assert (alone.file, alone.prefix) == (str(compiled), "/usr/share/nginx")
    assert isinstance(configured := nginx.read_config(None, build, str(compiled), (master,)), NginxConfig)
    assert (configured.file, configured.prefix) == (str(compiled), "/usr/share/nginx")


def test_of_several_masters_the_one_of_the_configured_file_counts(tmp_path: Path) -> None:
    file = written(tmp_path, own="worker_processes 1;")
    other = process(1, 0, "nginx: master process nginx -p /elsewhere -c /elsewhere/nginx.conf")
    own = process(2, 0, f"nginx: master process nginx -p {tmp_path}/prefix -c {file}")
    config = nginx.read_config(None, {"prefix": "/usr/share/nginx"}, str(file), (other, own))
    assert isinstance(config, NginxConfig)
    assert config.prefix == f"{tmp_path}/prefix"


def test_sites_that_no_include_takes_are_named(tmp_path: Path) -> None:
    sites = tmp_path / "conf.d"
    sites.mkdir()
    site = "server {\n    server_name shop.example www.shop.example;\n}\n"
    for name in ("loaded.conf", "shop", "shop.conf.bak", ".shop.swp"):
        (sites / name).write_text(site)
    (sites / "notes").write_text("no server here\n")
    enabled = tmp_path / "sites-available"
    enabled.mkdir()
    (enabled / "linked").symlink_to(sites / "loaded.conf")
    main = written(tmp_path, nginx="http {\n    include conf.d/*.conf;\n}\n")
    config = nginx.read_config(None, {}, str(main), ())
    assert isinstance(config, NginxConfig)
    assert [(item.path, item.names) for item in config.unloaded] == [
        (str(sites / "shop"), ("shop.example", "www.shop.example"))
    ]
    assert [(item.where, item.pattern) for item in config.includes] == [(f"{main}:2", f"{sites}/*.conf")]


@pytest.mark.parametrize(
    ("name", "content", "is_site"),
    [
        ("shop", "server { listen 443 ssl; server_name shop.example; }", True),
        ("shop", "# server {\n# server_name shop.example;\n# }\n", False),
        ("shop", "# server { listen 80; server_name shop.example; }\n", False),
        ("README.md", "server {\n    server_name shop.example;\n}\n", False),
        ("names", "server_name shop.example;\n", False),
    ],
)
def test_a_missed_site_is_a_file_with_a_server_block(
    tmp_path: Path, name: str, content: str, *, is_site: bool
) -> None:
    sites = tmp_path / "conf.d"
    sites.mkdir()
    (sites / name).write_text(content)
    main = written(tmp_path, nginx="http {\n    include conf.d/*.conf;\n}\n")
    config = nginx.read_config(None, {}, str(main), ())
    assert isinstance(config, NginxConfig)
    assert [item.names for item in config.unloaded] == [("shop.example",)] * is_site


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(
                ["http", "server", "location", "/", "{", "}", ";", " ", "\n", '"', "'", "#", "include", "x.conf", "$a",
                 "listen", "443", "proxy_pass", "http://$x", "\\", "if", "(", ")", "\x00", "~", "字"]
            ),
            max_size=25,
        ).map(" ".join),
    )
)  # fmt: skip
def test_no_file_crashes_it_nor_what_is_read_from_it(tmp_path: Path, text: str) -> None:
    main = tmp_path / "nginx.conf"
    main.write_bytes(text.encode(errors="surrogatepass"))
    config = nginx.read_config(None, {}, str(main), ())
    snapshot: Snapshot = but(nginx_config=config)
    assert to_json(snapshot)
    if isinstance(config, NginxConfig):
        for server in topology.servers(config):
            server.location_for("/predict")
            topology.proxy_passes(config, server)


# --- nginx -V and nginx -t ---


def test_the_build_s_facts_are_read_quoted_options_included() -> None:
    facts = nginx.parse_build(PRINTED)
    assert facts["version"] == "1.22.1"
    assert facts["conf-path"] == "/etc/nginx/nginx.conf"
    assert facts["with-cc-opt"] == "-g -O2 -fPIC"
    assert "with-debug" not in facts


@pytest.mark.parametrize(
    "printed", ["", "nginx", "nginx version: openresty/1.25.3.1", "configure arguments: --a='b"]
)
def test_other_words_are_read_as_far_as_they_go(printed: str) -> None:
    facts = nginx.parse_build(printed)
    assert facts.get("version") == ("1.25.3.1" if "openresty" in printed else None)


def test_a_program_that_does_not_run_has_no_facts(tmp_path: Path) -> None:
    assert nginx.build_facts(str(tmp_path / "none"), 1.0) == {}


def test_the_test_names_what_the_defaults_do_not() -> None:
    build = {"conf-path": "/etc/nginx/nginx.conf", "prefix": "/usr/share/nginx"}
    assert nginx.test_command(nginx_config(), build) == ("/usr/sbin/nginx", "-t")
    moved = nginx_config(file="/srv/n.conf", prefix="/srv")
    assert nginx.test_command(moved, build) == ("/usr/sbin/nginx", "-t", "-p", "/srv", "-c", "/srv/n.conf")


# A stand-in for nginx: it does what `nginx -t` does as root before it says whether the configuration is good.
STANDIN = """#!/bin/sh
cd {directory}
mkdir -p made/body && touch made/error.log made/nginx.pid kept.log
echo lines > made/full.log
echo 'nginx: [emerg] unknown directive "x" in {directory}/nginx.conf:1' >&2
exit 1
"""


def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, where root may have no mount namespace either."""

    def refuse(*_: object) -> None:
        raise NoThrowawayError("no namespace")

    monkeypatch.setattr(nginx, "discarding_writes", refuse)


def test_what_the_test_leaves_behind_is_removed_and_what_was_there_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_namespaces(monkeypatch)
    (tmp_path / "made").mkdir()
    (tmp_path / "kept.log").touch()
    program = tmp_path / "nginx"
    program.write_text(STANDIN.format(directory=tmp_path))
    program.chmod(0o755)
    main = written(
        tmp_path,
        nginx="""error_log made/error.log; pid made/nginx.pid;
        http { access_log kept.log; access_log made/full.log; client_body_temp_path made/body;
        server { access_log syslog:server=x; error_log stderr; access_log off; access_log logs/$host.log; } }""",
    )
    config = msgspec.structs.replace(read(main), binary=str(program))
    tested = nginx.test_config(config, {}, timeout=10.0)
    assert not isinstance(tested, NotSeen)
    assert tested.exit_code == 1
    assert tested.lines[0].startswith('nginx: [emerg] unknown directive "x"')
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    # A log that was there, and one that somebody wrote to meanwhile.
    assert names == {"nginx", "nginx.conf", "kept.log", "made", "made/full.log"}


MEDDLER = """#!/bin/sh
chown 65534:65534 {directory}/body && chmod 700 {directory}/body
: > {directory}/nginx.pid
echo '[emerg] refused' >> {directory}/error.log
mkdir {directory}/proxy
exit 1
"""


def facts(directory: Path) -> dict[str, tuple[int, ...]]:
    """Owner, permissions, size and time of everything in a tree."""
    everything = (directory, *directory.rglob("*"))
    return {
        str(path): (s.st_uid, s.st_gid, s.st_mode, s.st_size if path.is_file() else 0, s.st_mtime_ns)
        for path in everything
        for s in (path.lstat(),)
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's test can change owners")
@pytest.mark.parametrize("has_namespaces", [True, False])
def test_the_test_leaves_owners_permissions_and_times_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_namespaces: bool
) -> None:
    if not has_namespaces:
        without_namespaces(monkeypatch)
    (tmp_path / "body").mkdir(mode=0o555)
    (tmp_path / "nginx.pid").write_text("" if not has_namespaces else "77\n")
    (tmp_path / "error.log").touch()
    program = tmp_path / "nginx"
    # Without a namespace what nginx writes into its own log stays there.
    meddles = MEDDLER if has_namespaces else "\n".join(x for x in MEDDLER.splitlines() if "emerg" not in x)
    program.write_text(meddles.format(directory=tmp_path))
    program.chmod(0o755)
    main = written(
        tmp_path,
        nginx="error_log error.log; pid nginx.pid; http { client_body_temp_path body; proxy_temp_path proxy; }",
    )
    before = facts(tmp_path)
    tested = nginx.test_config(msgspec.structs.replace(read(main), binary=str(program)), {}, timeout=10.0)
    assert not isinstance(tested, NotSeen)
    assert tested.exit_code == 1
    assert facts(tmp_path) == before


def test_a_test_that_hangs_is_not_seen_and_says_how_long_it_waited(tmp_path: Path) -> None:
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\nexec sleep 20\n")
    program.chmod(0o755)
    config = msgspec.structs.replace(read(written(tmp_path, x="gzip on;")), binary=str(program))
    tested = nginx.test_config(config, {}, timeout=0.2)
    assert tested == NotSeen(reason="nginx -t did not finish within 0.2 s")


def test_without_a_program_there_is_no_test() -> None:
    assert isinstance(nginx.test_config(nginx_config(binary=None), {}, 1.0), NotSeen)
    assert isinstance(nginx.test_config(nginx_config(binary="/none/nginx"), {}, 1.0), NotSeen)


@pytest.mark.parametrize(
    ("content", "pid"),
    [("700\n", 700), ("", None), ("abc", None), ("-5", None), ("²", None), ("700 900", 700)],
)
def test_a_pidfile_names_a_process_or_none(tmp_path: Path, content: str, pid: int | None) -> None:
    file = tmp_path / "x.pid"
    file.write_text(content)
    assert nginx.read_pidfile(str(file)) == Pidfile(path=str(file), pid=pid)


def test_a_pidfile_that_is_not_there_is_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "x.pid")
    assert nginx.read_pidfile(path) == Pidfile(path=path, missing=True)
    assert nginx.read_pidfile(str(tmp_path)).unreadable


def test_the_program_is_the_running_master_s_own(tmp_path: Path) -> None:
    own = tmp_path / "nginx"
    own.touch()
    master = process(1, 0, "nginx: master process", executable=str(own))
    assert nginx.find_binary("nginx", (master,)) == str(own)
    assert nginx.find_binary("/none/such-nginx", (master,)) is None


# --- layouts ---


def test_nginx_built_from_source_has_its_configuration_below_its_prefix(tmp_path: Path) -> None:
    """configure without options; a relative path is compiled in as it is, and -p moves it (nginx -h says so)."""
    build = nginx.parse_build("nginx version: nginx/1.26.2\nconfigure arguments:\n")
    assert (build["prefix"], build["conf-path"]) == ("/usr/local/nginx", "conf/nginx.conf")
    assert topology.compiled_path(build, "conf-path") == "/usr/local/nginx/conf/nginx.conf"
    assert topology.compiled_path(build, "pid-path", "/srv/n") == "/srv/n/logs/nginx.pid"
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "site.conf").write_text(
        "server { listen 80; access_log logs/a.log; ssl_certificate a.pem; }"
    )
    (tmp_path / "conf" / "nginx.conf").write_text("http { include site.conf; }")
    master = process(1, 0, f"nginx: master process sbin/nginx -p {tmp_path}")
    config = nginx.read_config("sbin/nginx", build, None, (master,))
    assert isinstance(config, NginxConfig), config
    assert (config.prefix, config.file) == (str(tmp_path), str(tmp_path / "conf/nginx.conf"))
    site = find_site(config, None, None) or NginxSiteConfig(topology.servers(config)[0], ())
    reading = SiteReading(config, build, site)
    assert reading.access_log() == str(tmp_path / "logs/a.log")
    assert reading.error_logs() == (str(tmp_path / "logs/error.log"),)
    assert reading.file_of("ssl_certificate") == str(tmp_path / "conf/a.pem")
    assert nginx.test_command(config, build) == ("sbin/nginx", "-t", "-p", str(tmp_path))


def test_what_was_not_printed_is_not_made_up() -> None:
    assert nginx.parse_build("") == {}


@pytest.mark.parametrize(
    ("listens", "front"),
    [
        ("listen [::]:443 ssl;", "[::1]:443"),
        ("listen [::]:443 ssl; listen 443 ssl;", "127.0.0.1:443"),
        ("listen [::]:443 ssl ipv6only=off;", "127.0.0.1:443"),
        ("listen [::1]:8443 ssl; listen [::]:443 ssl;", "[::1]:443"),
        ("listen [2001:db8::7]:443 ssl;", "[2001:db8::7]:443"),
    ],
)
def test_a_door_of_ipv6_alone_is_knocked_at_by_ipv6(listens: str, front: str) -> None:
    config = nginx_config(f"server {{ {listens} server_name a.example; }}")
    (server,) = topology.servers(config)
    listen = SiteReading(config, {}, NginxSiteConfig(server, ())).front(443, ssl=True)
    assert listen is not None
    assert listen.dialled == front


# --- whose configuration nginx itself is run on ---

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
WHOLE = """load_module modules/x.so;
http {
  include mime.conf;
  include sites/*.conf;
  js_path /srv/none;
  js_import tools/app.js;
  lua_package_path "lua/?.lua;;";
}
"""


def laid_out(root: Path) -> Path:
    for name in ("sites/a.conf", "modules/x.so", "tools/app.js", "lua/app.lua", "mime.conf"):
        place = root / name
        place.parent.mkdir(exist_ok=True)
        place.write_text("")
    (root / "nginx.conf").write_text(WHOLE)
    return root / "nginx.conf"


def test_a_configuration_that_root_alone_decides_is_trusted(tmp_path: Path) -> None:
    main = laid_out(tmp_path)
    assert read(main).distrusted is None
    paths = {str(tmp_path / name) for name in ("modules/x.so", "tools/app.js", "lua")} | {"/srv/none"}
    assert paths <= set(topology.loaded_code(read(main)))


@as_root
@pytest.mark.parametrize(
    "theirs",
    ["nginx.conf", "mime.conf", "sites/a.conf", "sites", "modules/x.so", "modules", "tools/app.js", "lua"],
)
def test_a_configuration_of_which_another_user_could_write_a_part_is_read_and_not_run(
    tmp_path: Path, theirs: str
) -> None:
    main = laid_out(tmp_path)
    os.chown(tmp_path / theirs, 65534, 65534)
    config = read(main)
    assert config.distrusted is not None
    assert f"{tmp_path / theirs} belongs to user 65534" in config.distrusted
    assert config.directives
    tested = nginx.test_config(config, {"prefix": str(tmp_path)}, 1.0)
    assert isinstance(tested, NotSeen)
    assert tested.is_refused
    assert tested.reason == f"nginx -t was not run: {config.distrusted}"


def test_a_directory_in_which_others_may_put_a_further_site_counts_while_it_is_empty(tmp_path: Path) -> None:
    main = laid_out(tmp_path)
    (tmp_path / "sites" / "a.conf").unlink()
    assert read(main).distrusted is None
    (tmp_path / "sites").chmod(0o1777)
    assert read(main).distrusted == f"everybody may write {tmp_path / 'sites'}"


@as_root
@pytest.mark.parametrize("spoiled", ["program", "directory"])
def test_a_program_that_others_could_change_is_not_asked_for_its_version(
    tmp_path: Path, spoiled: str
) -> None:
    place = tmp_path / "sbin"
    place.mkdir()
    program = place / "nginx"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    os.chown(program if spoiled == "program" else place, 65534, 65534)
    assert nginx.build_facts(str(program), timeout=5.0) == {}
    assert not (tmp_path / "ran").exists()
    os.chown(program if spoiled == "program" else place, 0, 0)
    nginx.build_facts(str(program), timeout=5.0)
    assert (tmp_path / "ran").exists()


@as_root
def test_of_two_programs_the_one_that_nobody_else_may_change_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nginx").write_text("")
        (tmp_path / name / "nginx").chmod(0o755)
    os.chown(tmp_path / "theirs", 65534, 65534)
    monkeypatch.setattr(nginx, "_USUAL_PLACES", (str(tmp_path / "ours/nginx"),))
    monkeypatch.setenv("PATH", str(tmp_path / "theirs"))
    assert nginx.find_binary("nginx", ()) == str(tmp_path / "ours/nginx")
    running = process(1, 0, "nginx: master process", executable=str(tmp_path / "theirs/nginx"))
    assert nginx.find_binary("nginx", (running,)) == str(tmp_path / "ours/nginx")


# What was not read here nginx would read all the same.


def users_link(root: Path) -> str:
    (root / "x.conf").symlink_to(root / "mime.conf")
    os.chown(root / "x.conf", 65534, 65534, follow_symlinks=False)
    return "include x.conf;"


def large_file(root: Path) -> str:
    (root / "x.conf").write_text("#" * (nginx.MAX_FILE_BYTES + 1))
    return "include x.conf;"


def other_name(root: Path) -> str:
    (root / "theirs").mkdir()
    (root / "theirs" / "x.conf").hardlink_to(root / "mime.conf")
    os.chown(root / "theirs", 65534, 65534)
    return "include theirs/x.conf;"


def pipe(root: Path) -> str:
    os.mkfifo(root / "x.conf")
    return "include x.conf;"


def deep_includes(root: Path) -> str:
    for number in range(25):
        (root / f"{number}.conf").write_text(f"include {number + 1}.conf;")
    (root / "25.conf").write_text("gzip on;")
    return "include 0.conf;"


def pattern_of_glob_3(root: Path) -> str:
    (root / "more").mkdir()
    return "include more/[^z]*;"


def pattern_of_classes(root: Path) -> str:
    (root / "more").mkdir()
    return "include more/[[:alpha:]]*;"


def file_that_somebody_else_could_make(root: Path) -> str:
    (root / "theirs").mkdir()
    os.chown(root / "theirs", 65534, 65534)
    return "include theirs/not-yet.conf;"


def include_behind_what_cannot_be_parsed(root: Path) -> str:
    (root / "theirs.conf").write_text("")
    os.chown(root / "theirs.conf", 65534, 65534)
    return "}\ninclude theirs.conf;"


@as_root
@pytest.mark.parametrize(
    "unread",
    [
        users_link,
        large_file,
        other_name,
        pipe,
        deep_includes,
        pattern_of_glob_3,
        pattern_of_classes,
        file_that_somebody_else_could_make,
        include_behind_what_cannot_be_parsed,
    ],
)
def test_a_configuration_of_which_a_part_was_not_read_is_not_run(
    tmp_path: Path, unread: Callable[[Path], str]
) -> None:
    main = laid_out(tmp_path)
    main.write_text(f"{unread(tmp_path)}\n{WHOLE}")
    config = read(main)
    assert config.distrusted is not None
    assert isinstance(nginx.test_config(config, {"prefix": str(tmp_path)}, 1.0), NotSeen)


@as_root
@pytest.mark.parametrize("bound", [large_file, deep_includes, pattern_of_glob_3])
def test_a_bound_of_ours_is_no_accusation(tmp_path: Path, bound: Callable[[Path], str]) -> None:
    main = laid_out(tmp_path)
    main.write_text(f"{bound(tmp_path)}\n{WHOLE}")
    assert read(main).is_partly_read


def test_a_missing_or_broken_file_of_root_s_is_for_nginx_to_judge(tmp_path: Path) -> None:
    main = laid_out(tmp_path)
    main.write_text(f"include not-there.conf;\n{WHOLE}")
    assert read(main).distrusted is None
    main.write_text(f"{WHOLE}}}\ninclude mime.conf;")
    assert read(main).distrusted is None
