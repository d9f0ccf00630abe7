"""Faults that a check of nginx's configuration would hide, were it let."""

from __future__ import annotations

import os
import shutil
import signal

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import meets
from tests.lab.faults.tls import in_days
from tests.lab.faults.traffic import predict
from tests.lab.reported.case import Kind, report
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


def _long_texts_fail(stack: Stack) -> bool:
    return predict(stack, "北" * 20_000).status == 500 and stack.predict().status == 200


def _make_directory(stack: Stack) -> None:
    body = stack.nginx_dir / "tmp" / "client_body"
    body.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(body, 65534, 65534)


@report(
    Kind.LOOKING,
    "NixOS/nixpkgs#259475",
    sees=_long_texts_fail,
    repair=_make_directory,
    codes=("NGX040",),
    says=("client_body", "No such file or directory"),
    app=PLAIN_APP,
    layout="guide",
)
def temporary_directory_was_cleaned_away(stack: Stack) -> None:
    """NixOS/nixpkgs#257812: ten days without a long request, and systemd-tmpfiles takes the directory."""
    shutil.rmtree(stack.nginx_dir / "tmp" / "client_body")


def _write_pidfile(stack: Stack, number: int) -> None:
    stack.nginx_pidfile.write_text(f"{number}\n")
    stack.reload_nginx()


def _renewed_pidfile(stack: Stack) -> None:
    masters = [p for p in stack.processes() if p.name() == "nginx" and "master" in " ".join(p.cmdline())]
    _write_pidfile(stack, masters[0].pid)


@report(
    Kind.LOOKING,
    "sous-chefs/nginx#248",
    sees=meets("expired"),
    repair=_renewed_pidfile,
    codes=("NGX050",),
    says=("nginx.pid", "kill -HUP"),
    layout="guide",
)
def pidfile_is_gone(stack: Stack) -> None:
    """catalyst-owner#97: without it `nginx -s reload` fails; `nginx -t` makes an empty one in its place."""
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))
    stack.nginx_pidfile.unlink()
    stack.replace_certificate(reload=False)


def _reopen(stack: Stack) -> None:
    master = stack.nginx_master
    assert master is not None
    master.send_signal(signal.SIGUSR1)
    wait_for(stack.nginx_access_log.exists, "nginx to make its log anew")


@report(
    Kind.LOOKING,
    "oerdnj/deb.sury.org#428",
    sees=lambda stack: stack.predict().status == 200 and not stack.nginx_access_log.exists(),
    repair=_reopen,
    codes=("OPS002",),
    says=("gte-access.log", "nginx"),
    layout="guide",
)
def log_was_moved_and_nobody_was_told(stack: Stack) -> None:
    """YunoHost/issues#2549: nginx writes into the moved file; `nginx -t` makes an empty one, and all looks well."""
    stack.predict()
    stack.nginx_access_log.rename(stack.nginx_access_log.with_suffix(".log.1"))
