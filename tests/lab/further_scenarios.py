"""More scenarios of change: deployments by a link, drop-ins, files that are gone, snippets, pairs of changes.

They were written before the doctor was tried on them; docs/accuracy.md has the share that was right at once."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.lab.authority import Authority
from tests.lab.change_scenarios import (
    SCENARIOS,
    UNIT,
    failing_start,
    gunicorn,
    nginx,
    scenario,
    with_prices,
    with_toolbox,
)
from tests.lab.faults.app import PLAIN_APP, RAISING_APP, SLOW_APP
from tests.lab.faults.case import answers, meets
from tests.lab.faults.routing import put_before
from tests.lab.stack import Stack

__all__ = ["SCENARIOS"]


def with_releases(stack: Stack) -> None:
    """The application's directory is a link to a release, as Capistrano and its like lay it out."""
    releases = stack.directory / "releases"
    releases.mkdir()
    stack.stop_gunicorn()
    stack.app_dir.rename(releases / "41")
    stack.app_dir.symlink_to(releases / "41")
    stack.start_gunicorn()


@scenario(
    "APP004", guilty=("app.py",), load=gunicorn, sees=answers(500), prepare=with_releases, app=PLAIN_APP
)
def release_is_swapped_by_a_link(stack: Stack) -> None:
    """Nothing in the former release is written: the link leads to another one."""
    releases = stack.directory / "releases"
    shutil.copytree(releases / "41", releases / "42")
    (releases / "42" / "app.py").write_text(RAISING_APP)
    link = stack.directory / "next"
    link.symlink_to(releases / "42")
    link.replace(stack.app_dir)


READS_LIMIT = f"import os\n\nLIMIT = int(os.environ.get('SHOP_LIMIT', '10'))\n{PLAIN_APP}"


@scenario("GUN003", guilty=(f"{UNIT}.d/limit.conf",), load=failing_start, sees=answers(502), app=READS_LIMIT)
def drop_in_sets_a_variable_that_is_wrong(stack: Stack) -> None:
    path = stack.systemd / f"{UNIT}.d" / "limit.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text("[Service]\nEnvironment=SHOP_LIMIT=ten\n")
    stack.set_service_environment(SHOP_LIMIT="ten")


@scenario(
    "TLS005", guilty=("fullchain.pem", "privkey.pem", "served"), load=nginx, sees=meets("unable to get")
)
def renewed_certificate_has_another_chain(stack: Stack) -> None:
    """A renewal at another authority, which clients do not know: certificate and key are one change, and so served."""
    stack.replace_certificate(Authority("Elsewhere").issue([stack.domain]), reload=False)


@scenario(
    "NGX007",
    guilty=("gte-api.conf", "build/app.py"),
    load=gunicorn,
    sees=answers(504),
    app=PLAIN_APP,
    threads=4,
    worker_class="gthread",
)
def patience_is_cut_and_the_code_becomes_slower(stack: Stack) -> None:
    """A second served every prediction until they took longer."""
    text = stack.site_file.read_text()
    old = next(line.strip() for line in text.splitlines() if "proxy_read_timeout" in line)
    stack.edit(stack.site_file, old, "proxy_read_timeout 1s;")
    assert stack.predict().status == 200
    stack.app_file.write_text(SLOW_APP.replace("sleep(0.7)", "sleep(1.6)"))


@scenario(
    "GUN003", guilty=("toolbox",), load=failing_start, sees=answers(502), prepare=with_toolbox, app=PLAIN_APP
)
def package_is_removed(stack: Stack) -> None:
    """`pip uninstall` of what looked unused."""
    site_packages = next((stack.directory / "venv").glob("lib/*/site-packages"))
    (site_packages / "toolbox.py").unlink()
    shutil.rmtree(next(site_packages.glob("toolbox-*.dist-info")))


@scenario(
    "GUN003",
    guilty=("build/prices.py",),
    load=failing_start,
    sees=answers(502),
    prepare=with_prices,
    app=PLAIN_APP,
)
def module_is_gone(stack: Stack) -> None:
    """Tidied away: what is guilty is no file any more."""
    (stack.app_dir / "prices.py").unlink()


@scenario("NET001", guilty=("conf.d/gte-api.conf",), load=nginx, sees=meets("refused"))
def site_was_set_aside(stack: Stack) -> None:
    """Renamed, so that nginx no longer includes it."""
    stack.site_file.rename(stack.site_file.with_name("gte-api.conf.disabled"))


def with_snippet(stack: Stack) -> None:
    """The site includes a file of a directory that nothing else is in."""
    snippet = _snippet(stack)
    snippet.parent.mkdir()
    snippet.write_text("keepalive_requests 500;\n")
    put_before(stack, f"include {snippet};")


def _snippet(stack: Stack) -> Path:
    return stack.nginx_dir / "parts" / "limits.conf"


@scenario("NGX038", guilty=("parts/limits.conf",), load=nginx, sees=answers(403), prepare=with_snippet)
def snippet_denies_everybody(stack: Stack) -> None:
    _snippet(stack).write_text("keepalive_requests 500;\ndeny all;\n")


@scenario("OPS001", guilty=("logrotate.d/gte-api",), load=gunicorn, sees=answers(200))
def rotation_matches_one_log_alone(stack: Stack) -> None:
    rule = stack.logrotate / "gte-api"
    rule.write_text(rule.read_text().replace("/*.log {", "/gte-access.log {"))


@scenario(
    "GUN004", guilty=("gte.env", "build/app.py"), load=gunicorn, sees=answers(500), app=PLAIN_APP, timeout=30
)
def timeout_of_the_environment_meets_slower_code(stack: Stack) -> None:
    """GUNICORN_CMD_ARGS, which served until predictions took longer."""
    path = stack.directory / "gte.env"
    path.write_text(path.read_text() + "GUNICORN_CMD_ARGS='--timeout 2'\n")
    stack.restart_gunicorn()
    assert stack.predict().status == 200
    stack.app_file.write_text(SLOW_APP.replace("sleep(0.7)", "sleep(4)"))


@scenario(
    "NGX016", guilty=("gunicorn.conf.py",), load=gunicorn, sees=answers(502), unix_socket=True, wait="nothing"
)
def umask_closes_the_socket(stack: Stack) -> None:
    stack.gunicorn_conf.write_text(stack.gunicorn_conf.read_text() + "umask = 0o177\n")


@scenario("GUN001", guilty=("gunicorn.conf.py",), load=failing_start, sees=answers(502), app=PLAIN_APP)
def worker_class_is_of_a_package_that_is_not_there(stack: Stack) -> None:
    stack.gunicorn_conf.write_text(stack.gunicorn_conf.read_text() + "worker_class = 'eventlet'\n")
