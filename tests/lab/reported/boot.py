"""After a boot, an upgrade or an edit, one of the two servers does not start."""

from __future__ import annotations

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers, meets
from tests.lab.faults.start import fails_to_start, with_application
from tests.lab.reported.case import Kind, report
from tests.lab.stack import Stack

DATABASE_APP = (
    """
import socket

socket.create_connection(("127.0.0.1", 5), timeout=2)  # as a driver connects while the application is imported
"""
    + PLAIN_APP
)

SETTINGS_APP = """
from django.core.wsgi import get_wsgi_application

app = get_wsgi_application()
"""


def _stays_down(stack: Stack) -> None:
    stack.stop_nginx()
    stack.try_to_start_nginx()


def _without_brotli(stack: Stack) -> None:
    stack.edit(stack.nginx_conf, "    brotli on;\n", "", apply=False)
    stack.start_nginx()


@report(
    Kind.START,
    "digitalocean/nginxconfig.io#243",
    sees=meets("refused"),
    repair=_without_brotli,
    codes=("NGX002", "NGX003"),
    says=('unknown directive "brotli"', "nginx.conf:", "load_module"),
    app=PLAIN_APP,
    layout="guide",
)
def module_is_not_loaded_any_more(stack: Stack) -> None:
    """1Panel#10140, ngx_brotli#29: the upgrade brought another nginx, and the module is not with it."""
    stack.edit(stack.nginx_conf, "    default_type", "    brotli on;\n    default_type", apply=False)
    _stays_down(stack)


LONG = "ec2-52-10-27-203.us-west-2.compute.internal.machines.of.the.laboratory.example"


def _larger_hash(stack: Stack) -> None:
    stack.edit(stack.nginx_conf, "bucket_size 64;", "bucket_size 128;", apply=False)
    stack.start_nginx()


@report(
    Kind.START,
    "geerlingguy/ansible-role-nginx#28",
    sees=meets("refused"),
    repair=_larger_hash,
    codes=("NGX002", "NGX003"),
    says=("server_names_hash_bucket_size", "128;"),
    app=PLAIN_APP,
    layout="guide",
)
def name_of_a_server_is_too_long_for_the_hash(stack: Stack) -> None:
    """certbot#922, EasyEngine#549: a machine's own long name was added."""
    size = "    server_names_hash_bucket_size 64;\n"
    stack.edit(stack.nginx_conf, "    default_type", f"{size}    default_type", apply=False)
    (stack.nginx_dir / "conf.d" / "machine.conf").write_text(
        f"server {{ listen {stack.address}:{stack.ports['http']}; server_name {LONG}; return 404; }}\n"
    )
    _stays_down(stack)


def _remove_parked(stack: Stack) -> None:
    (stack.nginx_dir / "conf.d" / "000-parked.conf").unlink()
    stack.start_nginx()


@report(
    Kind.START,
    "digitalocean/nginxconfig.io#432",
    sees=meets("refused"),
    repair=_remove_parked,
    codes=("NGX002", "NGX003"),
    says=('no "ssl_certificate" is defined', "000-parked.conf:", "ssl_reject_handshake"),
    app=PLAIN_APP,
    layout="guide",
)
def site_without_a_certificate_shares_the_port(stack: Stack) -> None:
    """nginx#696, nginx-ui#998: the site that comes first at a port with TLS must have a certificate, whoever asks."""
    (stack.nginx_dir / "conf.d" / "000-parked.conf").write_text(
        f"server {{ listen {stack.address}:{stack.ports['https']}; server_name parked.example; return 404; }}\n"
    )
    _stays_down(stack)


def _make_worker_directory(stack: Stack) -> None:
    (stack.run / "workers").mkdir()
    stack.start_gunicorn()


@report(
    Kind.START,
    "pulp/pulp-operator#299",
    sees=answers(502),
    repair=_make_worker_directory,
    codes=("GUN001", "GUN003"),
    says=("run/workers", "Can't create workertmp", "mkdir"),
    app=PLAIN_APP,
)
def directory_for_the_workers_files_is_gone(stack: Stack) -> None:
    """tubesync#458, mijn-bureau-infra#371: worker_tmp_dir is on a tmpfs that the boot has emptied."""
    stack.stop_gunicorn()
    with stack.gunicorn_conf.open("a") as conf:
        conf.write(f"worker_tmp_dir = {str(stack.run / 'workers')!r}\n")
    fails_to_start(stack)


def _database_is_up(stack: Stack) -> None:
    stack.app_file.write_text(PLAIN_APP)
    stack.start_gunicorn()


@report(
    Kind.START,
    "inventree/InvenTree#2410",
    sees=answers(502),
    repair=_database_is_up,
    codes=("GUN001", "GUN003"),
    says=("Connection refused", "app.py:4", "start"),
    app=PLAIN_APP,
)
def database_is_not_up_yet(stack: Stack) -> None:
    """picoCTF#2, romm#1911: the application connects while it is imported, and the database starts later."""
    with_application(stack, DATABASE_APP)


def _own_settings(stack: Stack) -> None:
    stack.app_file.write_text(PLAIN_APP)
    stack.start_gunicorn()


@report(
    Kind.START,
    "inventree/InvenTree#2410, of the settings",
    sees=answers(502),
    repair=_own_settings,
    codes=("GUN001", "GUN003"),
    says=("DJANGO_SETTINGS_MODULE", "Environment="),
    app=PLAIN_APP,
)
def django_is_not_told_its_settings(stack: Stack) -> None:
    """The variable is set by manage.py and not by wsgi.py."""
    with_application(stack, SETTINGS_APP)
