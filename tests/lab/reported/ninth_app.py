"""A ninth collection, the application's part and the process's, rebuilt from much-read reports before the doctor was
asked about any of it."""

from __future__ import annotations

import socket
import ssl

from tests.lab.applications import FASTAPI, UVICORN_WORKER
from tests.lab.authority import write_lineage
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers, meets
from tests.lab.faults.tls import in_days
from tests.lab.reported.case import Kind, healthy, report
from tests.lab.reported.users import always, predicts
from tests.lab.stack import REPOSITORY, Stack
from tests.lab.waiting import wait_for

RAISES = ("APP020", "APP004")


def _asking(application: str, *, imports: str = "") -> str:
    """The plain application with Flask's request, and these routes."""
    return (
        imports + PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + application
    )


def _failed_start(stack: Stack, words: str) -> None:
    """Starts gunicorn, which says ``words`` and does not come up."""
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: words in stack.gunicorn_said(), "gunicorn to fail", within=30)


# --- a part of the requests fails -------------------------------------------------------------------------------------

NOTES_APP = _asking(
    """
@app.put("/notes")
def notes():
    note = request.get_json()
    return jsonify(saved=bool(note))
"""
)


def _finishes_without_a_note(stack: Stack) -> int | None:
    """As the page does that has nothing to send: no body, and so no type of one."""
    return stack.request("PUT", "/notes").status


@report(
    Kind.PART,
    "bcgov/queue-management#1084",
    sees=lambda stack: {_finishes_without_a_note(stack) for _ in range(4)} == {415},
    repair=lambda stack: stack.edit(stack.app_file, "get_json()", "get_json(silent=True)"),
    codes=(),
    says=("/notes", "415", "Content-Type"),
    app=NOTES_APP,
    layout="guide",
)
def new_framework_wants_to_be_told_that_it_is_json(stack: Stack) -> None:
    """werkzeug#2550, flask-restful#975: since Flask 2.1 who does not say it is refused; some clients never did."""
    for _ in range(4):
        stack.request("PUT", "/notes", json_body={"text": "a"})
        _finishes_without_a_note(stack)


MEMBERS_APP = FASTAPI + (
    """
from typing import Optional

from pydantic import BaseModel


class Member(BaseModel):
    name: str
    nickname: Optional[str]


@app.post("/members")
async def member(new: Member):
    return {"welcome": new.name}
"""
)
MEMBERS = [f"127.0.6.{number}" for number in range(1, 13)]


def _become_members(stack: Stack) -> set[int | None]:
    sent = {"name": "a"}
    return {stack.request("POST", "/members", json_body=sent, source=member).status for member in MEMBERS}


@report(
    Kind.PART,
    "mlc-ai/mlc-llm#581",
    sees=lambda stack: _become_members(stack) == {422},
    repair=lambda stack: stack.edit(stack.app_file, "Optional[str]", "Optional[str] = None"),
    codes=(),
    says=("/members", "422"),
    app=MEMBERS_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def what_was_optional_is_required_now(_stack: Stack) -> None:
    """pydantic#6475: since Pydantic 2 a field without a default must be sent, and nobody's program sends this one."""


POLLS_APP = _asking(
    """
sessions = set()

@app.route("/socket.io/", methods=["GET", "POST"])
def poll():
    number = request.args.get("sid")
    if number is None:
        sessions.add(number := secrets.token_hex(8))
        return jsonify(sid=number)
    if number not in sessions:
        return jsonify("Invalid session"), 400
    return jsonify([])
""",
    imports="import secrets\n",
)


def _polls(stack: Stack) -> set[int | None]:
    session = stack.request(path="/socket.io/?EIO=4&transport=polling").json()["sid"]
    return {stack.request(path=f"/socket.io/?EIO=4&sid={session}").status for _ in range(8)}


@report(
    Kind.EACH,
    "miguelgrinberg/Flask-SocketIO#671",
    sees=lambda stack: _polls(stack) | _polls(stack) == {200, 400},
    repair=lambda stack: stack.edit(stack.gunicorn_conf, "workers = 3", "workers = 1"),
    codes=(),
    says=("/socket.io/", "400", "workers"),
    app=POLLS_APP,
    workers=3,
    worker_class="sync",
    layout="guide",
)
def session_of_the_page_is_another_worker_s(stack: Stack) -> None:
    """Flask-SocketIO#963, python-engineio#29: the first answer opens a session, and the others ask anybody."""
    # Which worker answers is chance: in a few polls it may hardly show.
    for _ in range(6):
        _polls(stack)


# --- other applications and workers -----------------------------------------------------------------------------------

MATCHING_APP = PLAIN_APP.replace(
    "app = Flask(__name__)",
    'app = Flask(__name__, subdomain_matching=True)\napp.config["SERVER_NAME"] = "shop.example"',
)


@report(
    Kind.APPLICATION,
    "pallets/flask#1554",
    sees=lambda stack: always(stack, "/health", 404) and stack.predict().status == 404,
    repair=lambda stack: stack.edit(stack.app_file, "shop.example", stack.domain),
    codes=("APP026",),
    says=("SERVER_NAME", "shop.example"),
    app=MATCHING_APP,
    layout="guide",
)
def every_route_is_another_name_s(_stack: Stack) -> None:
    """b2share#1057: Flask is told its name, and finds no route for requests to another."""


@report(
    Kind.APPLICATION,
    "Kludex/uvicorn#1969",
    sees=lambda stack: always(stack, "/health", 500),
    repair=lambda stack: stack.edit(stack.gunicorn_conf, UVICORN_WORKER, "gthread"),
    codes=("APP004", "GUN003"),
    says=("start_response", "WSGI"),
    app=PLAIN_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def wsgi_application_under_an_asgi_worker(_stack: Stack) -> None:
    """uvicorn#483: the start line was copied from a FastAPI project, and this is Flask."""


# --- a start that fails -----------------------------------------------------------------------------------------------


def _packages(stack: Stack, name: str, version: str, source: str, requires: str) -> None:
    """Lays a package down as pip would, where the service's Python looks for packages."""
    site = stack.directory / "site-packages"
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").write_text(source)
    facts = site / f"{name}-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requires}\n"
    )
    stack.set_service_environment(PYTHONPATH=f"{REPOSITORY}:{site}")


def _without(stack: Stack, line: str) -> None:
    stack.app_file.write_text(stack.app_file.read_text().replace(line, ""))
    stack.start_gunicorn()


@report(
    Kind.START,
    "workos/python-flask-example-applications#57",
    sees=answers(502),
    repair=lambda stack: _without(stack, "import flask_restplus\n"),
    codes=("GUN003",),
    says=("cannot import name 'url_quote'", "werkzeug 3", "versions that fit"),
    app=PLAIN_APP,
    layout="guide",
)
def package_below_was_upgraded_alone(stack: Stack) -> None:
    """nllb-serve#9 and very many: the one above did not say which version it needs, so pip took the newest."""
    stack.stop_gunicorn()
    _packages(stack, "flask_restplus", "0.13.0", "from werkzeug.urls import url_quote\n", "werkzeug")
    stack.app_file.write_text(f"import flask_restplus\n{PLAIN_APP}")
    _failed_start(stack, "url_quote")


@report(
    Kind.START,
    "benoitc/gunicorn#2268",
    sees=answers(502),
    repair=lambda stack: _named(stack, "app:app"),
    codes=("GUN003",),
    says=("No module named '/", "chdir"),
    app=PLAIN_APP,
    layout="guide",
)
def application_is_named_by_its_path(stack: Stack) -> None:
    """The file is there, at this very path; gunicorn wants the name of a module."""
    stack.stop_gunicorn()
    stack.wsgi = f"{stack.app_dir}/app:app"
    stack.config["app"]["wsgi"] = stack.wsgi
    stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
    stack.write_config()
    _failed_start(stack, "No module named")


def _named(stack: Stack, wsgi: str) -> None:
    stack.wsgi = stack.config["app"]["wsgi"] = wsgi
    stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
    stack.write_config()
    stack.start_gunicorn()


UPGRADED = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
UPSTREAM = "upstream gte_backend {"
MAP = 'map $http_upgrade $connection_upgrade { default upgrade; "" ""; }'


def _with_the_map(stack: Stack) -> None:
    stack.edit(stack.site_file, UPSTREAM, f"{MAP}\n{UPSTREAM}", apply=False)
    stack.start_nginx()


@report(
    Kind.START,
    "digitalocean/nginxconfig.io#491",
    sees=meets("refused"),
    repair=_with_the_map,
    codes=("NGX003",),
    says=('unknown "connection_upgrade" variable', "map $http_upgrade"),
    app=PLAIN_APP,
    layout="guide",
)
def half_of_a_recipe_was_copied(stack: Stack) -> None:
    """jupyterhub#781, go-ssb-room#260: the variable is not nginx's own, a map at http level makes it."""
    stack.edit(
        stack.site_file,
        "proxy_set_header Host $host;",
        f"proxy_set_header Host $host; {UPGRADED}",
        apply=False,
    )
    stack.stop_nginx()
    stack.try_to_start_nginx()


# --- a fix that fits --------------------------------------------------------------------------------------------------


@report(
    Kind.FIX,
    "johnpooch/diplicity-react#489",
    sees=answers(502),
    repair=lambda stack: _without(stack, "import flask_migrate_old\n"),
    codes=("GUN003", "ENV001"),
    says=("No module named 'pkg_resources'", "setuptools<81"),
    app=PLAIN_APP,
    layout="guide",
)
def module_is_part_of_a_package_of_another_name(stack: Stack) -> None:
    """drf-yasg#875, gunicorn#1716: no package is called so; setuptools had it, and newer ones do not."""
    stack.stop_gunicorn()
    _packages(stack, "flask_migrate_old", "1.2.0", "import pkg_resources\n", "flask")
    stack.app_file.write_text(f"import flask_migrate_old\n{PLAIN_APP}")
    _failed_start(stack, "pkg_resources")


CITIES_APP = (
    PLAIN_APP
    + """
@app.get("/cities")
def cities():
    with open("data/cities.csv") as file:
        return jsonify(cities=file.read().split())
"""
)


@report(
    Kind.FIX,
    "flaskbb/flaskbb#281",
    sees=lambda stack: always(stack, "/cities", 500),
    repair=lambda stack: stack.edit(
        stack.app_file, '"data/cities.csv"', f'"{stack.app_dir}/data/cities.csv"'
    ),
    codes=RAISES,
    says=("No such file or directory: 'data/cities.csv'", "/cities", "working directory"),
    app=CITIES_APP,
    layout="guide",
)
def file_is_looked_for_where_the_service_was_started(stack: Stack) -> None:
    """It was always started from the application's directory by hand; the service starts in another."""
    (stack.app_dir / "data").mkdir()
    (stack.app_dir / "data" / "cities.csv").write_text("Ulm\nBern\n")
    where = f"chdir = {str(stack.run)!r}\npythonpath = {str(stack.app_dir)!r}\n"
    stack.edit(stack.gunicorn_conf, "bind = ", f"{where}bind = ")


# --- certificates -----------------------------------------------------------------------------------------------------


def _bundle(stack: Stack, content: bytes) -> None:
    stack.certificate.resolve().write_bytes(content)


def _right_way_round(stack: Stack) -> None:
    _bundle(stack, stack.issued.fullchain_pem)
    stack.start_nginx()


@report(
    Kind.CERTIFICATE,
    "dehydrated-io/dehydrated#26",
    sees=meets("refused"),
    repair=_right_way_round,
    codes=("TLS022",),
    says=("fullchain.pem",),
    app=PLAIN_APP,
    layout="guide",
)
def bundle_begins_with_the_authority(stack: Stack) -> None:
    """acme-client#28, ruby-acme-cli#1: nginx takes the first for the site's, and says that the key does not fit."""
    _bundle(stack, stack.issued.chain_pem + stack.issued.pem)
    stack.stop_nginx()
    stack.try_to_start_nginx()


def _expired(stack: Stack, days: int) -> None:
    """The certificate ended so many days ago, and the one before it is not kept."""
    stack.replace_certificate(not_before=in_days(-90 - days), not_after=in_days(-days))
    for file in (stack.letsencrypt / "archive" / stack.domain).glob("*1.pem"):
        file.unlink()


def _point_to(stack: Stack, lineage: str) -> None:
    old = stack.certificate.parent
    new = old.with_name(lineage)
    stack.edit(stack.site_file, f"{old}/", f"{new}/")
    stack.config["tls"] |= {"certificate": f"{new}/fullchain.pem", "private_key": f"{new}/privkey.pem"}
    stack.write_config()


@report(
    Kind.CERTIFICATE,
    "JonasAlfredsson/docker-nginx-certbot#277",
    sees=meets("expired"),
    repair=lambda stack: _point_to(stack, f"{stack.domain}-0001"),
    codes=("TLS001", "TLS008", "TLS023"),
    says=("gte.lab.example-0001",),
    app=PLAIN_APP,
    layout="guide",
)
def renewed_one_lies_beside_under_another_number(stack: Stack) -> None:
    """alexwlchan.net#85, certbot#2617: it was asked for with one name more once, and that made a lineage of its own."""
    _expired(stack, 3)
    (stack.letsencrypt / "renewal" / f"{stack.domain}.conf").unlink()
    fresh = stack.authority.issue([stack.domain, "www.gte.lab.example"])
    write_lineage(stack.letsencrypt, f"{stack.domain}-0001", fresh)


def _issue_anew(stack: Stack) -> None:
    stack.replace_certificate()


@report(
    Kind.CERTIFICATE,
    "linuxserver/docker-swag#129",
    sees=meets("expired"),
    repair=_issue_anew,
    codes=("TLS001", "TLS011", "TLS024"),
    says=("symbolic link", "live/"),
    app=PLAIN_APP,
    layout="guide",
)
def links_of_certbot_became_files_in_the_move(stack: Stack) -> None:
    """certbot#6276, NginxProxyManager#244: copied without links to the new host, and every renewal passes it over."""
    _expired(stack, 1)
    for link in (stack.letsencrypt / "live" / stack.domain).glob("*.pem"):
        content = link.read_bytes()
        link.unlink()
        link.touch(mode=0o600)
        link.write_bytes(content)


# --- unusual, and healthy ---------------------------------------------------------------------------------------------

TOKENS_APP = _asking(
    """
valid = set()

@app.post("/token")
def refresh():
    valid.add(token := secrets.token_hex(8))
    return jsonify(token=token)

@app.get("/items")
def items():
    if request.headers.get("Authorization", "").removeprefix("Bearer ") not in valid:
        return jsonify(error="token expired"), 401
    return jsonify(items=[])
""",
    imports="import secrets\n",
)


@healthy(
    "LanternOps/breeze#4568",
    serves=lambda stack: predicts(stack) and stack.request("POST", "/token").status == 200,
    app=TOKENS_APP,
    layout="guide",
)
def each_token_is_used_until_it_is_refused(stack: Stack) -> None:
    """The app on the phone learns from a 401 that its token has expired, fetches another and asks again."""
    for number in range(1, 10):
        phone = f"127.0.7.{number}"
        old = {"Authorization": "Bearer 0"}
        assert stack.request(path="/items", headers=old, source=phone).status == 401
        token = stack.request("POST", "/token", source=phone).json()["token"]
        fresh = {"Authorization": f"Bearer {token}"}
        assert stack.request(path="/items", headers=fresh, source=phone).status == 200


FILM_APP = _asking(
    """
from flask import send_file

@app.get("/film")
def film():
    return send_file("film.mp4", conditional=True)
"""
)


def _jumps_in_the_film(stack: Stack, start: int) -> None:
    """As a player does: asks from there to the end, takes what it needs and hangs up."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    with (
        socket.create_connection(stack.https, 5) as raw,
        context.wrap_socket(raw, server_hostname=stack.domain) as tls,
    ):
        asked = f"GET /film HTTP/1.1\r\nHost: {stack.domain}\r\nRange: bytes={start}-\r\n\r\n"
        tls.sendall(asked.encode())
        assert b" 206 " in tls.recv(400)


@healthy(
    "videojs/video.js#1968",
    serves=lambda stack: predicts(stack) and stack.request(path="/film").status == 200,
    app=FILM_APP,
    threads=4,
    layout="guide",
)
def players_jump_in_a_film(stack: Stack) -> None:
    """Each jump is a new request for the rest of the film, and the one before is given up."""
    (stack.app_dir / "film.mp4").write_bytes(b"film" * 2_000_000)
    for number in range(12):
        _jumps_in_the_film(stack, number * 400_000)
        stack.predict()
