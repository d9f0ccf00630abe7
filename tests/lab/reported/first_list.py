"""The first collection of public reports: the doctor was made with their list in sight. They are no measure of what it
says on other hosts, and have no first try; here each repaired host is green. Most faults are of `tests/lab/faults/`."""

from __future__ import annotations

import time

from tests.lab.faults import net as doors
from tests.lab.faults import nginx, routing, start, tls, traffic
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import Case, Inject, answers, meets
from tests.lab.faults.tls import in_days
from tests.lab.reported.case import Kind, Reported, report
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


def _of(
    case: Case, kind: Kind, source: str, repair: Inject, *says: str, codes: tuple[str, ...] = ()
) -> Reported:
    """A fault of the lab as a report: the same on the host, and how it was repaired."""
    return report(
        kind,
        source,
        sees=case.sees,
        repair=repair,
        codes=codes or (case.code,),
        says=says,
        impossible=case.impossible,
        **case.stack,
    )(case.inject)


def _put_back(new: str, old: str) -> Inject:
    """Undoes an edit of the site's file."""
    return lambda stack: stack.edit(stack.site_file, new.replace("BACKEND", str(stack.ports["backend"])), old)


# --- a part of the requests, and lines of the log ---------------------------------------------------------------------


def _raise_the_limit(stack: Stack) -> None:
    # A 413 has no line in any error log: in the very second of the new start it looks like one of after it.
    met = int(time.time())
    wait_for(lambda: time.time() >= met + 1, "the second of the last refusal to be over", every=0.02)
    stack.edit(stack.app_file, LIMIT, LIMIT.replace("2000", str(1 << 20)))


LIMIT = 'app.config["MAX_CONTENT_LENGTH"] = 2000'

own_limit = _of(
    traffic.application_has_a_limit_of_its_own,
    Kind.PART,
    "NatLibFi/Annif#823",
    _raise_the_limit,
    "413",
    "MAX_CONTENT_LENGTH",
    "/predict",
)
closed_directory = _of(
    traffic.a_directory_above_the_temporary_files_is_closed,
    Kind.PART,
    "ZoeyVid/NPMplus#3369",
    lambda stack: stack.nginx_dir.chmod(0o755),
    "Permission denied",
    "chmod",
)

# --- starts -----------------------------------------------------------------------------------------------------------

VARIABLE_APP = f'import os\nDATABASE = os.environ["SHOP_DATABASE_URL"]\n{PLAIN_APP}'


def _set_variable(stack: Stack) -> None:
    stack.set_service_environment(SHOP_DATABASE_URL="sqlite:///shop.db")
    stack.start_gunicorn()


@report(
    Kind.FIX,
    "sawaliram/sawaliram#21",
    sees=answers(502),
    repair=_set_variable,
    codes=("GUN003",),
    says=("SHOP_DATABASE_URL", "environment"),
    app=PLAIN_APP,
)
def variable_of_a_login_shell_is_missing(stack: Stack) -> None:
    start.with_application(stack, VARIABLE_APP)


def _remove_pidfile(stack: Stack) -> None:
    stack.gunicorn_pidfile.unlink()
    stack.start_gunicorn()


def _name_the_application(stack: Stack) -> None:
    stack.app_file.write_text(PLAIN_APP)
    stack.start_gunicorn()


def _usual_worker(stack: Stack) -> None:
    stack.edit(stack.gunicorn_conf, "\nworker_class = 'shop_workers.Worker'\n", "")


def _without_run(stack: Stack) -> None:
    stack.stop_gunicorn()
    stack.app_file.write_text(PLAIN_APP)
    stack.start_gunicorn()


stale_pidfile = _of(
    start.pidfile_names_a_process_that_is_another,
    Kind.START,
    "benoitc/gunicorn#3383",
    _remove_pidfile,
    "Already running on PID",
    "rm -- ",
)
attribute = _of(
    start.attribute_is_called_otherwise,
    Kind.START,
    "tombii/xtream2m3u#17",
    _name_the_application,
    "Failed to find attribute 'app' in 'app'",
)
worker_class = _of(
    start.package_of_the_worker_class_is_missing,
    Kind.START,
    "benoitc/gunicorn#2774",
    _usual_worker,
    "shop_workers",
    "pip install",
)
runs_itself = _of(
    start.application_runs_itself_when_it_is_imported,
    Kind.START,
    "benoitc/gunicorn#2311",
    _without_run,
    "app.run",
    "__main__",
)

# --- certificates -----------------------------------------------------------------------------------------------------


def _whole_bundle(stack: Stack) -> None:
    stack.certificate.resolve().write_bytes(stack.issued.fullchain_pem)


def _start_with_whole_bundle(stack: Stack) -> None:
    _whole_bundle(stack)
    stack.start_nginx()


def _reload_with_whole_bundle(stack: Stack) -> None:
    _whole_bundle(stack)
    stack.reload_nginx()


joined = _of(
    tls.two_blocks_are_joined_without_a_newline,
    Kind.EACH,
    "keybase/keybase-issues#1283",
    _start_with_whole_bundle,
    "fullchain.pem:",
    "BEGIN follows the END",
    "sed -i",
)
other_intermediate = _of(
    tls.intermediate_is_another_year_s,
    Kind.EACH,
    "dummyunit/lecm#62",
    _reload_with_whole_bundle,
    "did not sign",
)
HIDDEN = "    location ~ /\\. { deny all; }\n"


def _let_the_challenge_in(stack: Stack) -> None:
    stack.edit(stack.site_file, HIDDEN, "")
    stack.replace_certificate(not_before=in_days(-1), not_after=in_days(89))


@report(
    Kind.FIX,
    "kshcherban/acme-nginx#23",
    sees=meets("expired"),
    repair=_let_the_challenge_in,
    codes=("NGX039", "TLS024"),
    says=("403", "/.well-known/acme-challenge/", "gte-api.conf:", "deny all"),
)
def rule_for_hidden_files_keeps_the_renewal_out(stack: Stack) -> None:
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))
    place = "    location /.well-known/acme-challenge/ {"
    stack.edit(stack.site_file, place, f"{HIDDEN}{place}")


# --- nginx's routing --------------------------------------------------------------------------------------------------


def _answer_again(stack: Stack) -> None:
    (stack.nginx_dir / "conf.d" / "a-old.conf").unlink()
    stack.reload_nginx()


def _lone_server(stack: Stack) -> None:
    lines = stack.site_file.read_text().splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.rstrip().endswith(" down;"))
    stack.site_file.write_text(kept.replace(" fail_timeout=300s", " max_fails=0"))
    stack.reload_nginx()


def _proxy_the_api(stack: Stack) -> None:
    root = stack.directory / "html"
    stack.edit(
        stack.site_file,
        f"location /p {{ root {root}; try_files $uri /index.html; }}\n    location = /index.html {{ root {root}; }}",
        "",
    )


plain_backend = _of(
    routing.proxy_pass_speaks_tls_to_a_plain_port,
    Kind.ROUTING,
    "serghey-rodin/vesta#2010",
    _put_back("proxy_pass https://gte_backend;", "proxy_pass http://gte_backend;"),
    "gte-api.conf:",
    "http://",
)
localhost = _of(
    routing.localhost_is_not_where_gunicorn_listens,
    Kind.ROUTING,
    "google/CodeCity#416",
    _put_back("proxy_pass http://localhost:BACKEND;", "proxy_pass http://gte_backend;"),
    "localhost",
    "listens on",
)
set_aside = _of(
    routing.restart_sets_the_only_live_server_aside,
    Kind.ROUTING,
    "nginx-proxy/nginx-proxy#1495",
    _lone_server,
    "no live upstreams",
    "max_fails",
)
no_ssl = _of(
    routing.ssl_is_missing_on_the_listen_directive,
    Kind.ROUTING,
    "Countly/countly-server#5120",
    lambda stack: stack.edit(
        stack.site_file,
        f"listen {stack.address}:{stack.ports['https']};",
        f"listen {stack.address}:{stack.ports['https']} ssl;",
    ),
    "gte-api.conf:",
    "ssl",
)
single_page = _of(
    routing.page_of_the_front_end_covers_the_api,
    Kind.ROUTING,
    "ant-design/ant-design-pro#10434",
    _proxy_the_api,
    "/predict",
    "proxy_pass",
)
slash = _of(
    routing.slash_behind_proxy_pass_replaces_the_path,
    Kind.ROUTING,
    "owntracks/frontend#63",
    _put_back("location /predict { proxy_pass http://gte_backend/; }", ""),
    "POST /",
    "gte-api.conf:",
)
old_copy = _of(
    routing.old_copy_of_the_site_claims_the_name_first,
    Kind.ROUTING,
    "ajenti/ajenti-v#105",
    _answer_again,
    "a-old.conf:",
)

FORWARDED = "        proxy_set_header X-Forwarded-Proto $scheme;\n"
HTTPS_ONLY_APP = PLAIN_APP + (
    """
@app.before_request
def https_only():
    from flask import redirect, request
    if request.headers.get("X-Forwarded-Proto", "http") != "https":
        return redirect(request.url.replace("http://", "https://", 1), 302)
"""
)


def _loops(stack: Stack) -> bool:
    answer = stack.request(path="/health")
    return answer.status == 302 and answer.headers.get("Location", "").endswith("/health")


@report(
    Kind.ROUTING,
    "not-kennethreitz/django-sslify#23",
    sees=_loops,
    repair=lambda stack: stack.edit(
        stack.site_file,
        "        proxy_set_header X-Real-IP",
        f"{FORWARDED}        proxy_set_header X-Real-IP",
    ),
    codes=("NGX013",),
    says=("302", "X-Forwarded-Proto"),
    app=HTTPS_ONLY_APP,
    layout="guide",
)
def application_is_not_told_of_https(stack: Stack) -> None:
    stack.edit(stack.site_file, FORWARDED, "")


# --- processes --------------------------------------------------------------------------------------------------------


def _end_the_other(stack: Stack) -> None:
    for process in stack.processes():
        if "-c" in process.cmdline() and "ThreadingHTTPServer" in " ".join(process.cmdline()):
            process.kill()
    wait_for(lambda: not stack.listens(f"{stack.address}:{stack.ports['https']}"), "the door to be free")
    stack.start_nginx()


def _write_the_pidfile(stack: Stack) -> None:
    masters = [p for p in stack.processes() if p.name() == "nginx" and "master" in " ".join(p.cmdline())]
    stack.nginx_pidfile.write_text(f"{masters[0].pid}\n")
    stack.reload_nginx()


def _share_the_directory(stack: Stack) -> None:
    stack.stop_gunicorn()
    stack.launcher = []
    stack.start_gunicorn(wait="nothing")


holder = _of(
    doors.another_server_holds_the_front_address,
    Kind.DOOR,
    "StreisandEffect/streisand#91",
    _end_the_other,
    "pid",
    "python",
)
empty_pidfile = _of(
    nginx.pidfile_is_empty_and_the_renewal_is_not_taken_up,
    Kind.LOOKING,
    "ruby-china/homeland-docker#50",
    _write_the_pidfile,
    "nginx.pid",
    "kill -HUP",
)
private_tmp = _of(
    nginx.socket_is_in_a_private_tmp,
    Kind.DOOR,
    "benoitc/gunicorn#1524",
    _share_the_directory,
    "gunicorn.sock",
    "mount namespace",
    "RuntimeDirectory",
)
