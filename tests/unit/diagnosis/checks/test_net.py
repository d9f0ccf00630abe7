"""Reaching the front door, and doors that should not be open."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from ops.collect.services.nginx import parse_config
from ops.facts.base import NotSeen
from ops.facts.host import Listener
from ops.facts.nginx import Include, NginxConfig, UnloadedSite
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, Upstreams
from ops.facts.snapshot import Snapshot
from ops.facts.target import OtherSite
from ops.interpret.nginx import servers
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    DOMAIN,
    FRONT,
    GUNICORN_LISTENER,
    GUNICORN_MASTER,
    GUNICORN_PROCESSES,
    HEALTHY,
    NGINX_LISTENERS,
    NGINX_PROCESSES,
    SITE,
    SITE_FILE,
    URL,
    but,
    exchange,
    nginx_config,
    page,
    process,
    processes,
    refused,
    silent_backend,
    without_nginx,
)

TIMED_OUT = Connection(address=FRONT, failure=ProbeFailure.TIMEOUT, detail="timed out", elapsed=4.0)


def two_services(failure: ProbeFailure | None) -> Snapshot:
    """Another site of this nginx, which nobody named either, and how a connection to its service ends."""
    site = OtherSite(name="shop.example.com", address="127.0.0.1:8001", where="/etc/nginx/conf.d/shop.conf:1")
    connection = Connection(address="127.0.0.1:8001", failure=failure)
    return but(target__other_sites=(site,), upstreams=Upstreams(answers={}, others=(connection,)))


def listening(address: str, *pids: int) -> Snapshot:
    listener = Listener(address=address, pids=pids, queued=0)
    return but(processes=processes(listeners=(*NGINX_LISTENERS, listener)))


def declared(address: str) -> Snapshot:
    """gunicorn listens where gte-ops.toml says."""
    return but(
        listening(address, GUNICORN_MASTER),
        target__backend=address,
        target__origin={"backend": "gte-ops.toml"},
    )


def plain(status: int, location: str | None = None) -> Snapshot:
    return but(
        front__plain=page(
            status, "-", url=f"http://{DOMAIN}/health", address="127.0.0.1:80", location=location
        )
    )


def second_name(rules: str) -> Snapshot:
    """The site has a second name, and these rules for plain HTTP; the first name is redirected."""
    site = SITE.replace("return 308 https://gte-api.example.com$request_uri;", rules)
    site = site.replace(
        "server_name gte-api.example.com;", "server_name gte-api.example.com www.gte-api.example.com;"
    )
    return but(plain(308, f"{URL}/health"), nginx_config=nginx_config(site))


def foreign_on_all_addresses() -> Snapshot:
    squatter = process(4242, 1, "/usr/sbin/apache2", "-k", "start")
    return but(
        processes=processes(
            NGINX_PROCESSES,
            (squatter,),
            listeners=(*NGINX_LISTENERS, Listener(address="0.0.0.0:8000", pids=(4242,))),
        ),
        target__gunicorn_master=None,
        target__gunicorn_workers=(),
        backend=silent_backend(Connection(address="127.0.0.1:8000")),
    )


def refused_with_listen(at: str, *options: str, front: str = FRONT) -> Snapshot:
    """The front address is refused while nginx runs, and the site has this one listen directive."""
    written = " ".join(("listen", at, "ssl", *options))
    return but(
        front__connection=refused(front),
        nginx_config=nginx_config(SITE.replace("listen 443 ssl", written)),
    )


def net001_steps(snapshot: Snapshot) -> str:
    finding = found(snapshot)["NET001"]
    return "\n".join(step if isinstance(step, str) else step.en for step in finding.fix or ())


def test_a_door_of_one_family_gets_a_listen_of_the_other() -> None:
    assert f"10a listen 443 ssl;' {SITE_FILE}" in net001_steps(refused_with_listen("[::]:443"))
    assert f"10a listen 127.0.0.1:443 ssl;' {SITE_FILE}" in net001_steps(refused_with_listen("[::1]:443"))
    assert "listen [::]:443 ssl;" in net001_steps(refused_with_listen("443", front="[::1]:443"))
    assert "listen" not in net001_steps(refused_with_listen("443"))


def test_a_site_at_other_ports_alone_gets_a_listen_for_the_door() -> None:
    steps = net001_steps(refused_with_listen("8443"))
    assert f"10a listen 443 ssl;' {SITE_FILE}" in steps
    assert f"{SITE_FILE}:10: listen 8443 ssl;" in steps, "the line as it is written"


def test_a_block_on_one_line_gets_its_listen_inside(tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        "http {\nupstream b { server 127.0.0.1:8000; }\n"
        f"server {{ listen 8443 ssl; server_name {DOMAIN}; location / {{ proxy_pass http://b; }} }}\n}}\n"
    )
    config = parse_config(str(conf), str(tmp_path), None, None)
    steps = net001_steps(but(front__connection=refused(FRONT), nginx_config=config)).splitlines()
    (command,) = (step for step in steps if step.startswith("sed"))
    subprocess.run(command, shell=True, check=True)  # noqa: S602  the step as it is printed
    after = parse_config(str(conf), str(tmp_path), None, None)
    assert isinstance(after, NginxConfig)
    assert [[listen.port for listen in server.listens] for server in servers(after)] == [[8443, 443]]


def net004_steps(site: str) -> str:
    snapshot = but(
        front__plain=page(200, "-", url=f"http://{DOMAIN}/health", address="127.0.0.1:80"),
        nginx_config=nginx_config(site),
    )
    fix = found(snapshot)["NET004"].fix or ()
    return "\n".join(step if isinstance(step, str) else step.en for step in fix)


def test_plain_http_is_redirected_but_for_the_challenge_of_a_renewal() -> None:
    serving = SITE.replace(
        "return 308 https://gte-api.example.com$request_uri;", "proxy_pass http://gte_backend;"
    )
    rule = "if ($request_uri !~ ^/[.]well-known/acme-challenge/) { return 301 https://$host$request_uri; }"
    assert f"5a {rule}' {SITE_FILE}" in net004_steps(serving)


@pytest.mark.parametrize("names", ["_", "gte-api.example.com shop.example"])
def test_a_block_for_other_names_is_not_made_to_redirect_them(names: str) -> None:
    serving = SITE.replace(
        "return 308 https://gte-api.example.com$request_uri;", "proxy_pass http://gte_backend;"
    ).replace("listen 80;\n    server_name gte-api.example.com;", f"listen 80;\n    server_name {names};")
    steps = net004_steps(serving)
    assert "sed" not in steps
    assert "server_name gte-api.example.com; location / { return 301 https://$host$request_uri; }" in steps


def test_a_block_that_serves_https_too_or_has_a_return_is_a_person_s() -> None:
    both = SITE.replace("listen 443 ssl;", "listen 443 ssl; listen 80 default_server;").replace(
        "listen 80;\n    server_name gte-api.example.com;", "listen 80;\n    server_name other.example;"
    )
    assert net004_steps(both) == ""
    assert (
        net004_steps(
            SITE.replace("    location / { return 308", "    return 302 /x; location / { return 308")
        )
        == ""
    )


CATCH_ALL = "server { listen 80 default_server; server_name _; location / { return 404; } }\n"


def catch_all_answers(www_rules: str = "return 308 https://$host$request_uri;") -> str:
    """The steps where the site's second name has no block for plain HTTP, and the one for strangers answers it."""
    site = SITE.replace(
        "listen 443 ssl;\n    server_name ", "listen 443 ssl;\n    server_name www.gte-api.example.com "
    )
    site = CATCH_ALL + site.replace("return 308 https://gte-api.example.com$request_uri;", www_rules)
    finding = found(but(plain(308, f"{URL}/health"), nginx_config=nginx_config(site)))["NET004"]
    assert "return 404 (Host www.gte-api.example.com)" in str(finding.evidence)
    return "\n".join(step if isinstance(step, str) else step.en for step in finding.fix or ())


def test_strangers_are_not_redirected_for_a_name_of_the_site() -> None:
    steps = catch_all_answers()
    assert "https://$host" not in steps
    assert "gte-api.example.com www.gte-api.example.com" in steps, "the redirecting block gets the name"
    by_hand = catch_all_answers("if ($host = gte-api.example.com) { return 308 https://$host$request_uri; }")
    assert "sed" not in by_hand
    assert "Redirect www.gte-api.example.com to https://" in by_hand


def without_the_site(*names: str, pattern: str = "/etc/nginx/conf.d/*.conf") -> Snapshot:
    """nginx runs with another site alone; a file with these names was not included."""
    config = msgspec.structs.replace(
        nginx_config("server { listen 80; server_name _; }"),
        includes=(Include("/etc/nginx/nginx.conf:30", pattern, "http"),),
        unloaded=(UnloadedSite("/etc/nginx/conf.d/gte-api", names),),
    )
    return but(front__connection=refused(FRONT), nginx_config=config)


def test_the_site_s_file_gets_the_name_that_the_include_takes() -> None:
    assert "mv -n /etc/nginx/conf.d/gte-api /etc/nginx/conf.d/gte-api.conf" in net001_steps(
        without_the_site(DOMAIN)
    )
    steps = net001_steps(without_the_site(DOMAIN, pattern="/etc/nginx/enabled/*.conf"))
    assert "include /etc/nginx/conf.d/gte-api;" in steps


DEBIAN = """include {0}/modules-enabled/*.conf;
events {{ }}
http {{
    include {0}/conf.d/*.conf;
    include {0}/sites-enabled/*;
}}
"""
OF_NGINX_ORG = "events {{ }}\nhttp {{\n    include {0}/conf.d/*.conf;\n}}\n"


@pytest.mark.parametrize("main", [DEBIAN, OF_NGINX_ORG], ids=["debian", "nginx.org"])
@pytest.mark.parametrize(
    "file",
    [
        "sites-available/gte-api",
        "sites-available/gte-api.conf",
        "sites-enabled/gte-api",
        "conf.d/gte-api",
        "conf.d/gte-api.disabled-no",
    ],
)
def test_the_step_makes_nginx_load_the_missed_file(tmp_path: Path, main: str, file: str) -> None:
    for name in ("modules-enabled", "conf.d", "sites-enabled", "sites-available"):
        (tmp_path / name).mkdir()
    conf = tmp_path / "nginx.conf"
    conf.write_text(main.format(tmp_path))
    (tmp_path / file).write_text(f"server {{\n    listen 443 ssl;\n    server_name {DOMAIN};\n}}\n")
    before = parse_config(str(conf), str(tmp_path), None, None)
    assert isinstance(before, NginxConfig)
    if (main, file) == (DEBIAN, "sites-enabled/gte-api"):
        assert servers(before), "the include takes it as it is"
        return
    command, *_ = net001_steps(but(front__connection=refused(FRONT), nginx_config=before)).splitlines()
    subprocess.run(command, shell=True, check=True)  # noqa: S602  the step as it is printed
    after = parse_config(str(conf), str(tmp_path), None, None)
    assert isinstance(after, NginxConfig)
    assert [server.names for server in servers(after)] == [(DOMAIN,)]


def test_an_include_on_the_line_of_its_block_is_written_by_a_person(tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_text("http { include conf.d/*.conf; }\n")
    (tmp_path / "sites-enabled").mkdir()
    (tmp_path / "sites-enabled/gte-api").write_text(f"server {{\nserver_name {DOMAIN};\n}}\n")
    config = parse_config(str(conf), str(tmp_path), None, None)
    steps = net001_steps(but(front__connection=refused(FRONT), nginx_config=config))
    assert f"Write include {tmp_path}/sites-enabled/gte-api; into http" in steps


def test_another_site_s_file_is_not_the_missing_one() -> None:
    assert "mv" not in net001_steps(without_the_site("other.example"))


CASES: list[Case] = [
    fires(
        "NET001",
        "the site's file is not included",
        without_the_site(DOMAIN),
        "/etc/nginx/conf.d/gte-api server_name",
        "include /etc/nginx/conf.d/*.conf; does not take it",
    ),
    fires(
        "NET001",
        "refused while nginx runs",
        but(front__connection=refused(FRONT)),
        "connection refused",
        "nginx's master is running",
        severity="fail",
        facts={"address": FRONT},
    ),
    fires(
        "NET001",
        "nginx listens over IPv6 alone",
        refused_with_listen("[::]:443"),
        f"{SITE_FILE}:10 listen [::]:443 ssl; takes IPv6 alone, and 127.0.0.1 is IPv4",
    ),
    fires(
        "NET001",
        "nginx listens over IPv4 alone",
        refused_with_listen("443", front="[::1]:443"),
        f"{SITE_FILE}:10 listen 443 ssl; takes IPv4 alone, and ::1 is IPv6",
    ),
    fires(
        "NET001",
        "nginx listens at another address of the family",
        refused_with_listen("192.0.2.10:443"),
        "listen 192.0.2.10:443 ssl; does not take 127.0.0.1",
    ),
    fires(
        "NET001",
        "the socket for both families was not loaded",
        refused_with_listen("[::]:443", "ipv6only=off"),
        "listen [::]:443 ssl ipv6only=off; nginx runs without it",
    ),
    quiet("NET001", "nginx does not run: that is NGX002", without_nginx()),
    quiet(
        "NET001",
        "another configuration's nginx is none of ours",
        but(
            front__connection=refused(FRONT),
            nginx_pidfile=NotSeen(reason="-"),
            processes=processes(
                (process(77, 1, "nginx: master process nginx -c /opt/other/nginx.conf"),),
                GUNICORN_PROCESSES,
                listeners=(GUNICORN_LISTENER,),
            ),
        ),
    ),
    quiet("NET001", "a time-out is no refusal", but(front__connection=TIMED_OUT)),
    fires(
        "NET002",
        "the connection times out",
        but(front__connection=TIMED_OUT),
        "no answer in 4.0 s",
        severity="fail",
        facts={"waited": "4.0 s"},
    ),
    quiet("NET002", "refused is an answer", but(front__connection=refused(FRONT))),
    fires(
        "NET003",
        "gunicorn listens on every address",
        listening("0.0.0.0:8000", *GUNICORN_LISTENER.pids),
        "0.0.0.0:8000",
        severity="warn",
        facts={"listening": "0.0.0.0:8000"},
    ),
    fires("NET003", "so it does by IPv6", listening("[::]:8000", GUNICORN_MASTER)),
    fires("NET003", "a second, public address counts", listening("192.0.2.10:9000", GUNICORN_MASTER)),
    fires(
        "NET003",
        "a development server on every address",
        but(
            processes=processes(
                NGINX_PROCESSES,
                (process(55, 1, "python", "app.py"),),
                listeners=(*NGINX_LISTENERS, Listener(address="0.0.0.0:8000", pids=(55,))),
            ),
            target__gunicorn_master=None,
            target__gunicorn_workers=(),
            backend__health=page(404, "Not Found", server="Werkzeug/3.0 Python/3.11"),
        ),
    ),
    quiet(
        "NET003", "the private address that gte-ops.toml names, for a balancer", declared("10.0.0.11:8000")
    ),
    fires("NET003", "gte-ops.toml names a public address", declared("203.0.114.7:8000")),
    fires("NET003", "a private address that nobody names", listening("10.0.0.11:8000", GUNICORN_MASTER)),
    quiet("NET003", "nginx's own public ports are meant", HEALTHY),
    quiet("NET003", "IPv6 loopback", listening("[::1]:8000", GUNICORN_MASTER)),
    quiet("NET003", "a socket file is reachable from this host alone", listening("unix:/run/gte.sock", 900)),
    quiet("NET003", "what somebody else's program publishes", listening("0.0.0.0:5432", 4242)),
    quiet(
        "NET003", "the port's holder is neither gunicorn nor a development server", foreign_on_all_addresses()
    ),
    fires("NET004", "content over plain HTTP", plain(200), severity="warn", facts={"status": "200"}),
    fires("NET004", "a redirect that is not permanent", plain(302, f"{URL}/health"), "302"),
    fires("NET004", "a permanent redirect to plain HTTP", plain(301, f"http://{DOMAIN}/health")),
    fires("NET004", "a permanent redirect within plain HTTP", plain(308, "/health/")),
    fires(
        "NET004",
        "another name of the site is refused over plain HTTP",
        second_name(
            "if ($host = gte-api.example.com) { return 308 https://$host$request_uri; }\n    return 404;"
        ),
        "return 404 (Host www.gte-api.example.com)",
        severity="warn",
        facts={"status": "404"},
    ),
    quiet("NET004", "both names are redirected", second_name("return 308 https://$host$request_uri;")),
    quiet("NET004", "301", plain(301, f"{URL}/health")),
    quiet("NET004", "308", plain(308, f"{URL}/health")),
    quiet("NET004", "port 80 is closed", but(front__plain=exchange(failure=ProbeFailure.REFUSED))),
    quiet("NET004", "port 80 was not asked", but(front__plain=NotSeen(reason="-"))),
    quiet(
        "NET004",
        "the service is published over plain HTTP on purpose",
        msgspec.structs.replace(plain(200), target=but(target__url=f"http://{DOMAIN}").target),
    ),
    fires(
        "NET020",
        "the other one refuses connections",
        two_services(ProbeFailure.REFUSED),
        "proxy_pass 127.0.0.1:8001",
        severity="warn",
        facts={
            "name": "shop.example.com",
            "address": "127.0.0.1:8001",
            "site": "/etc/nginx/conf.d/shop.conf:1",
        },
    ),
    fires("NET020", "its socket is not there", two_services(ProbeFailure.MISSING)),
    quiet("NET020", "the other one answers", two_services(None)),
    quiet(
        "NET020",
        "it does not answer in time: it may be busy, and another's",
        two_services(ProbeFailure.TIMEOUT),
    ),
    quiet(
        "NET020",
        "settings say which is meant",
        but(two_services(ProbeFailure.REFUSED), target__other_sites=()),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)
