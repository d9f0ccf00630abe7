"""A staged tree is loaded by a real nginx, and nothing of it, nor of nginx, touches the host."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.backups.staging import ScratchError, SpareNginx, make_ready, try_configuration
from ops.backups.staging_directory import scratch_directory
from ops.collect.services.nginx import build_facts
from ops.deployment.render import NginxSite, render_nginx
from tests.lab.authority import Authority, write_lineage
from tests.lab.guide import guide_site

BINARY = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "nginx"
DOMAIN = "gte-api.example.com"
MAIN = """user www-data;
daemon on;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 64; }
http {
    access_log /var/log/nginx/access.log;
    include conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
"""


@pytest.fixture
def staged() -> Iterator[Path]:
    """The deployment guide's host, with its files below a directory in place of the host's, where an nginx without
    privileges can read them."""
    with scratch_directory() as scratch:
        yield laid_out(scratch / "root")


def laid_out(root: Path) -> Path:
    nginx = root / "etc/nginx"
    for text_path, text in {"nginx.conf": MAIN, **render_nginx(NginxSite())}.items():
        (nginx / text_path).parent.mkdir(parents=True, exist_ok=True)
        (nginx / text_path).write_text(text)
    write_lineage(root / "etc/letsencrypt", DOMAIN, Authority().issue([DOMAIN]))
    return root


def ready(root: Path) -> SpareNginx:
    return make_ready(
        root,
        root.parent / "run",
        "/etc/nginx/nginx.conf",
        prefix="/usr/share/nginx",
        binary=BINARY,
        build=build_facts(BINARY, 5),
    )


def test_the_deployed_configuration_passes(staged: Path) -> None:
    spare = ready(staged)
    tested = try_configuration(spare, 10)
    assert tested.passed, tested.lines
    assert sorted(spare.addresses) == ["*:443", "*:80"]
    assert len(set(spare.addresses.values())) == 2


def test_the_guides_configuration_passes(staged: Path) -> None:
    (staged / "etc/nginx/conf.d/gte-api.conf").write_text(guide_site(NginxSite()))
    tested = try_configuration(ready(staged), 10)
    assert tested.passed, tested.lines


def test_nothing_is_written_outside_the_scratch_directory(staged: Path) -> None:
    spare = ready(staged)
    try_configuration(spare, 10)
    text = "".join(p.read_text() for p in (staged / "etc/nginx").rglob("*.conf"))
    words = text.replace(str(staged), "").replace(str(spare.run), "RUN").split()
    assert not [w for w in words if w.startswith(("/var/log", "/run", "/var/lib"))]
    assert (spare.run / "var/log/nginx/gte-error.log").exists()


def test_a_certificate_missing_from_the_backup_fails_the_test_and_is_named_as_on_the_host(
    staged: Path,
) -> None:
    (staged / f"etc/letsencrypt/archive/{DOMAIN}/fullchain1.pem").unlink()
    tested = try_configuration(ready(staged), 10)
    assert tested.passed is False
    assert f"/etc/letsencrypt/live/{DOMAIN}/fullchain.pem" in tested.reason
    assert str(staged) not in tested.reason


def test_an_absolute_link_leads_below_the_scratch_directory(staged: Path) -> None:
    enabled = staged / "etc/nginx/sites-enabled"
    enabled.mkdir()
    (staged / "etc/nginx/sites-available").mkdir()
    (staged / "etc/nginx/sites-available/extra").write_text(
        "server { listen 8181; server_name extra.example; }\n"
    )
    (enabled / "absolute").symlink_to("/etc/nginx/sites-available/extra")
    spare = ready(staged)
    tested = try_configuration(spare, 10)
    assert tested.passed, tested.lines
    assert "*:8181" in spare.addresses


def test_a_link_that_climbs_out_does_not_reach_the_host(staged: Path) -> None:
    outside = staged.parent / "outside.conf"
    outside.write_text("this is not nginx's;")
    enabled = staged / "etc/nginx/sites-enabled"
    enabled.mkdir()
    (enabled / "escaping").symlink_to(os.path.relpath(outside, enabled))
    assert try_configuration(ready(staged), 10).passed is False
    assert not (enabled / "escaping").exists()
    assert outside.read_text() == "this is not nginx's;"


def test_words_survive_the_rewriting(staged: Path) -> None:
    (staged / "etc/nginx/conf.d/words.conf").write_text(
        r"""
map $uri $odd { default "#not a comment"; "~*\.(jpg|png)$" 'it''s'; include words.map; }
log_format j escape=json '{"a": "$uri", "b": "\t\"x\""}';
server {
    listen 8080; listen unix:/run/words.sock;
    listen [::1]:8443 ssl; ssl_certificate /etc/letsencrypt/live/gte-api.example.com/fullchain.pem;
    ssl_certificate_key "/etc/letsencrypt/live/gte-api.example.com/privkey.pem";
    location ~ "^/a{2}\d+$" { return 200 "#one { two; }\n"; }
    if ($http_user_agent ~* "(a b|c)") { return 403 ""; }
    location / { add_header X-Odd "${odd}x" always; error_page 404 = @none; }
    location @none { return 404; }
}
""".replace("'it''s'", '"it\'s"')
    )
    (staged / "etc/nginx/words.map").write_text("/user www-data;\npid kept;\n")
    spare = ready(staged)
    tested = try_configuration(spare, 10)
    assert tested.passed, tested.lines
    assert {"*:8080", "unix:/run/words.sock", "[::1]:8443"} <= set(spare.addresses)
    assert "pid kept;" in (staged / "etc/nginx/words.map").read_text()
    rewritten = (staged / "etc/nginx/conf.d/words.conf").read_text()
    assert '"#one { two; }\\n"' in rewritten
    assert r'"~*\.(jpg|png)$"' in rewritten
    assert r"\"x\"" in rewritten


def test_what_cannot_be_parsed_is_named(staged: Path) -> None:
    (staged / "etc/nginx/conf.d/broken.conf").write_text("server {")
    with pytest.raises(ScratchError, match=r"^/etc/nginx/conf\.d/broken\.conf cannot be parsed"):
        ready(staged)
    (staged / "etc/nginx/nginx.conf").unlink()
    with pytest.raises(ScratchError, match=r"/etc/nginx/nginx\.conf is not in the backup"):
        ready(staged)


def test_an_nginx_that_hangs_is_not_waited_for(staged: Path) -> None:
    slow = staged.parent / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    spare = make_ready(
        staged, staged.parent / "run", "/etc/nginx/nginx.conf", prefix="/", binary=str(slow), build={}
    )
    tested = try_configuration(spare, 0.2)
    assert tested.passed is None
    assert "0.2 s" in tested.reason
