"""A process that calls itself nginx decides nothing for root: not which program runs, nor which configuration loads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks import attacker
from tests.attacks.host import (
    NGINX,
    advice,
    check_of,
    codes,
    gte_ops,
    guide_host,
    report,
    start_nginx,
    unseen,
)
from tests.attacks.namespaces import on_a_host_of_its_own

COMMANDS = {
    "version": ("version",),
    "cert check": ("cert", "check"),
    "doctor": ("doctor",),
    "preflight": ("preflight",),
    "render nginx": ("render", "nginx"),
    "render logrotate": ("render", "logrotate"),
    "backup create": ("backup", "create"),
    "watchdog --once": ("watchdog", "--once"),
}


def run_as_root(*names: str) -> dict[str, list[str]]:
    """What of the attacker's each command ran as root; empty where none did."""
    found = {}
    for name in names or COMMANDS:
        gte_ops(*COMMANDS[name])
        if lines := attacker.owned():
            found[name] = lines
    return found


@pytest.mark.parametrize("nginx", ["running", "stopped"])
@on_a_host_of_its_own
def test_no_command_runs_the_program_of_a_process_that_only_calls_itself_nginx(nginx: str) -> None:
    guide_host()
    attacker.decoy(attacker.program(attacker.place() / "nginx"))
    if nginx == "running":
        start_nginx()
    assert run_as_root() == {}


def another_title(title: str) -> Callable[[], None]:
    def place() -> None:
        attacker.decoy(attacker.program(attacker.place() / "nginx"), title)

    return place


def words_on_the_command_line() -> None:
    words = ["nginx: master process", NGINX, "-p", str(attacker.PLACE)]
    attacker.start(attacker.program(attacker.place() / "nginx"), words)


def deleted_program() -> None:
    program = attacker.program(attacker.place() / "nginx")
    attacker.decoy(program)
    program.unlink()
    attacker.program(attacker.PLACE / "nginx (deleted)")
    attacker.program(program)


def program_in_tmp() -> None:
    attacker.decoy(attacker.program(Path("/tmp/nginx")))


def set_user_id() -> None:
    attacker.decoy(attacker.program(attacker.place() / "nginx", mode=0o4755))


def user_namespace() -> None:
    program = attacker.program(attacker.place() / "nginx")
    attacker.decoy(program, within=("unshare", "--user", "--map-root-user"))


def pid_namespace() -> None:
    program = attacker.program(attacker.place() / "nginx")
    attacker.decoy(program, within=("unshare", "--user", "--map-root-user", "--pid", "--fork"))


def mount_namespace() -> None:
    """What is mounted over the real program there is the attacker's."""
    program = attacker.program(attacker.place() / "nginx")
    mounted = f'mount --bind {program} {NGINX}; exec "$@"'
    within = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh")
    attacker.decoy(NGINX, within=within)


def container_of_root() -> None:
    """Root's own process, but in another pid and mount namespace: a container's, whose files its maker chose."""
    program = attacker.program(attacker.shared("image") / "nginx", uid=0)
    attacker.decoy(program, uid=0, within=("unshare", "--mount", "--pid", "--fork"))


def roots_program_in_a_directory_of_the_attackers() -> None:
    attacker.decoy(attacker.program(attacker.place() / "nginx", uid=0), uid=0)


def roots_program_in_a_directory_for_everybody() -> None:
    attacker.decoy(attacker.program(attacker.shared("bin", mode=0o777) / "nginx", uid=0), uid=0)


def roots_program_that_others_may_write() -> None:
    program = attacker.program(Path("/usr/local/sbin/nginx-own"), uid=0, mode=0o777)
    attacker.decoy(program, uid=0)


DECOYS = {
    "a title with options": another_title(f"nginx: master process {NGINX} -g daemon off; -p /srv/attacker"),
    "words on the command line": words_on_the_command_line,
    "a deleted program": deleted_program,
    "a program in /tmp": program_in_tmp,
    "set-user-ID": set_user_id,
    "user namespace": user_namespace,
    "pid namespace": pid_namespace,
    "mount namespace": mount_namespace,
    "a container of root's": container_of_root,
    "root's program in a directory of the attacker's": roots_program_in_a_directory_of_the_attackers,
    "root's program in a directory for everybody": roots_program_in_a_directory_for_everybody,
    "root's program that others may write": roots_program_that_others_may_write,
}


@pytest.mark.parametrize("decoy", DECOYS)
@on_a_host_of_its_own
def test_no_decoy_has_its_program_run(decoy: str) -> None:
    guide_host()
    DECOYS[decoy]()
    found = {"stopped": run_as_root("version")}
    start_nginx()
    found["running"] = run_as_root("doctor")
    assert found == {"stopped": {}, "running": {}}


def evil_configuration(path: Path | None = None, *, uid: int = attacker.UID) -> Path:
    """A configuration that loads the attacker's module, and sites as plausible as the host's own."""
    file = path or attacker.place() / "nginx.conf"
    module = attacker.module(attacker.PLACE / "evil.so")
    text = f"""load_module {module};
pid {attacker.PLACE}/nginx.pid;
error_log {attacker.PLACE}/error.log;
events {{}}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:9443;
        server_name gte-api.example.com;
        location / {{ proxy_pass http://127.0.0.1:8000; }}
    }}
}}
"""
    return attacker.write(file, text, uid=uid)


def title_names_a_configuration() -> None:
    attacker.decoy(
        attacker.program(attacker.place() / "nginx"),
        f"nginx: master process {NGINX} -c {evil_configuration()}",
    )


def title_names_a_prefix() -> None:
    (attacker.place("etc/nginx")).mkdir(exist_ok=True)
    attacker.place("conf")
    evil_configuration(attacker.PLACE / "conf/nginx.conf")
    title = f"nginx: master process {NGINX} -p {attacker.PLACE} -c conf/nginx.conf"
    attacker.decoy(attacker.program(attacker.PLACE / "nginx"), title)


def package_program_in_a_users_hands() -> None:
    """A rootless nginx of the real program: it runs, and its configuration is the attacker's to change at any time."""
    conf = attacker.write(attacker.place() / "nginx.conf", _rootless_configuration(attacker.PLACE))
    start_nginx("-c", str(conf), pidfile=f"{attacker.PLACE}/nginx.pid", uid=attacker.UID)
    evil_configuration()


def roots_master_of_a_users_configuration() -> None:
    """Root's own nginx, started on a file that belongs to a user: it has loaded what was in it then."""
    conf = attacker.write(attacker.place() / "nginx.conf", _rootless_configuration(attacker.PLACE))
    start_nginx("-c", str(conf), pidfile=f"{attacker.PLACE}/nginx.pid")
    evil_configuration()


def _rootless_configuration(home: Path, port: int = 9080) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"    {kind}_temp_path {home}/tmp-{kind};\n" for kind in kinds)
    return f"""pid {home}/nginx.pid;
error_log {home}/error.log;
events {{}}
http {{
    access_log {home}/access.log;
{temporary}    server {{
        listen 127.0.0.1:{port};
        server_name rootless.example;
        location / {{ proxy_pass http://127.0.0.1:8000; }}
    }}
}}
"""


TITLES = {
    "-c": title_names_a_configuration,
    "-p": title_names_a_prefix,
    "rootless": package_program_in_a_users_hands,
}


@on_a_host_of_its_own
def test_a_users_configuration_is_not_tested_though_roots_own_nginx_runs_it() -> None:
    guide_host()
    roots_master_of_a_users_configuration()
    attacker.owned()
    assert run_as_root("doctor", "preflight") == {}


def file_of_a_user_included() -> None:
    attacker.place()
    Path("/etc/nginx/modules-enabled/more.conf").symlink_to(attacker.PLACE / "more.conf")
    attacker.write(
        attacker.PLACE / "more.conf", f"load_module {attacker.module(attacker.PLACE / 'evil.so')};\n"
    )


def directory_of_a_user_included() -> None:
    file = Path("/etc/nginx/nginx.conf")
    file.write_text(f"include {attacker.place('conf.d')}/*.conf;\n{file.read_text()}")
    module = attacker.module(attacker.PLACE / "evil.so", uid=0)
    attacker.write(attacker.PLACE / "conf.d/more.conf", f"load_module {module};\n", uid=0)


def module_of_a_user_loaded() -> None:
    file = Path("/etc/nginx/nginx.conf")
    module = attacker.place() / "module.so"
    file.write_text(f"load_module {module};\n{file.read_text()}")
    attacker.module(module)


def configuration_everybody_may_write() -> None:
    file = Path("/etc/nginx/nginx.conf")
    file.write_text(f"load_module {attacker.module(attacker.place() / 'evil.so')};\n{file.read_text()}")
    file.chmod(0o666)


INCLUDED = {
    "file": file_of_a_user_included,
    "directory": directory_of_a_user_included,
    "module": module_of_a_user_loaded,
    "writable": configuration_everybody_may_write,
}


@pytest.mark.parametrize("included", INCLUDED)
@on_a_host_of_its_own
def test_roots_configuration_is_not_tested_where_a_part_of_it_is_a_users_and_the_report_says_why(
    included: str,
) -> None:
    guide_host()
    start_nginx()
    INCLUDED[included]()
    document = report()
    assert attacker.owned() == []
    assert run_as_root("preflight") == {}
    assert check_of(document, "nginx.configuration")["status"] != "pass", document["checks"]
    part = "/etc/nginx/nginx.conf" if included == "writable" else str(attacker.PLACE)
    assert part in unseen(document), unseen(document)


# --- the backup and the doctor's advice -------------------------------------------------------------------------------


def in_the_backup() -> set[str]:
    """Makes a backup as the nightly timer does; the paths in it."""
    from ops.archive.reading import open_archive

    ran = gte_ops("backup", "create")
    (archive,) = Path("/var/backups/gte-ops").glob("*.tar.*[tz]")
    with open_archive(archive, ()) as opened:
        found = {f"/{entry.path}" for entry in opened.manifest.entries}
    assert ran.returncode == 0, ran.stderr
    return found


@pytest.mark.parametrize("nginx", ["running", "stopped"])
@pytest.mark.parametrize("title", TITLES)
@on_a_host_of_its_own
def test_a_title_decides_neither_what_is_tested_nor_backed_up_nor_advised(title: str, nginx: str) -> None:
    guide_host()
    TITLES[title]()
    if nginx == "running":
        start_nginx()
    document = report()
    assert attacker.owned() == []
    assert run_as_root("preflight", "render nginx", "watchdog --once") == {}
    assert not [line for line in advice(document) if str(attacker.PLACE) in line], advice(document)
    assert document["target"]["site_file"] == "/etc/nginx/conf.d/gte-api.conf", document["target"]
    # nginx does not run, whatever calls itself nginx.
    assert ("NGX002" in codes(document)) == (nginx == "stopped"), codes(document)
    found = in_the_backup()
    assert attacker.owned() == []
    assert {"/etc/nginx/nginx.conf", "/etc/nginx/conf.d/gte-api.conf"} <= found, sorted(found)
    assert not [path for path in found if path.startswith(str(attacker.PLACE))]


# --- the harmless twins -----------------------------------------------------------------------------------------------


@on_a_host_of_its_own
def test_nginx_of_the_package_is_found_tested_and_backed_up() -> None:
    guide_host()
    start_nginx()
    document = report()
    assert check_of(document, "nginx.configuration")["status"] == "pass", document["checks"]
    assert document["target"]["site_file"] == "/etc/nginx/conf.d/gte-api.conf"
    assert "nginx" in gte_ops("version").stdout
    assert "/etc/nginx/conf.d/gte-api.conf" in in_the_backup()
    Path("/etc/nginx/conf.d/broken.conf").write_text("nonsense;\n")
    assert "NGX003" in codes(report())


def self_built() -> tuple[Path, Path]:
    """nginx copied to its own prefix as `make install` does, and its configuration there."""
    prefix = Path("/usr/local/nginx")
    (prefix / "sbin").mkdir(parents=True)
    (prefix / "conf").mkdir()
    (prefix / "logs").mkdir()
    shutil.copy(NGINX, prefix / "sbin/nginx")
    shutil.move("/etc/nginx/conf.d/gte-api.conf", prefix / "conf/gte-api.conf")
    (prefix / "conf/nginx.conf").write_text(
        f"pid {prefix}/logs/nginx.pid;\nerror_log {prefix}/logs/error.log;\nevents {{}}\n"
        f"http {{\n    access_log {prefix}/logs/access.log;\n    include gte-api.conf;\n}}\n"
    )
    return prefix / "sbin/nginx", prefix / "conf/nginx.conf"


@on_a_host_of_its_own
def test_nginx_built_from_source_is_found_tested_and_backed_up() -> None:
    guide_host()
    program, conf = self_built()
    start_nginx("-c", str(conf), program=str(program), pidfile="/usr/local/nginx/logs/nginx.pid")
    document = report()
    assert check_of(document, "nginx.configuration")["status"] == "pass", document["checks"]
    assert document["target"]["site_file"] == "/usr/local/nginx/conf/gte-api.conf"
    assert {str(conf), "/usr/local/nginx/conf/gte-api.conf"} <= in_the_backup()


@on_a_host_of_its_own
def test_two_instances_of_roots_are_told_apart_by_the_settings() -> None:
    guide_host()
    second = Path("/etc/nginx/second.conf")
    home = Path("/var/lib/second-nginx")
    home.mkdir()
    second.write_text(_rootless_configuration(home))
    start_nginx()
    start_nginx("-c", str(second), pidfile=f"{home}/nginx.pid")
    named = Path("/etc/gte-ops/gte-ops.toml")
    named.parent.mkdir()
    for conf, site in (
        ("/etc/nginx/nginx.conf", "/etc/nginx/conf.d/gte-api.conf"),
        (str(second), str(second)),
    ):
        named.write_text(f'[nginx]\nconfig_file = "{conf}"\n')
        document = report()
        assert check_of(document, "nginx.configuration")["status"] == "pass", document["checks"]
        assert check_of(document, "nginx.process")["status"] == "pass", document["checks"]
        assert document["target"]["site_file"] == site


@on_a_host_of_its_own
def test_a_users_own_rootless_nginx_is_that_users_to_diagnose() -> None:
    guide_host()
    home = attacker.place()
    conf = attacker.write(home / "nginx.conf", _rootless_configuration(home))
    start_nginx("-c", str(conf), pidfile=f"{home}/nginx.pid", uid=attacker.UID)
    document = report(uid=attacker.UID)
    assert document["target"]["site_file"] == str(conf)
    assert check_of(document, "nginx.configuration")["status"] == "pass", document["checks"]


@on_a_host_of_its_own
def test_a_containers_nginx_beside_roots_own_changes_nothing() -> None:
    guide_host()
    start_nginx()
    program = Path("/var/lib/containers/image/nginx")
    program.parent.mkdir(parents=True)
    attacker.program(program, uid=0)
    attacker.decoy(
        program,
        "nginx: master process nginx -g daemon off;",
        uid=0,
        within=("unshare", "--mount", "--pid", "--fork"),
    )
    document = report()
    assert attacker.owned() == []
    assert check_of(document, "nginx.configuration")["status"] == "pass", document["checks"]
    assert check_of(document, "nginx.process")["status"] == "pass", document["checks"]
    assert document["target"]["site_file"] == "/etc/nginx/conf.d/gte-api.conf"


@on_a_host_of_its_own
def test_what_is_not_believed_is_said() -> None:
    guide_host()
    start_nginx()
    attacker.decoy(attacker.program(attacker.place() / "nginx"))
    said = gte_ops("doctor").stdout
    assert "nginx: master process" in said or "calls itself nginx" in said, said
    assert "nobody" in said, said
