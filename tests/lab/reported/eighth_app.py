"""An eighth collection, the application's part: one setting of the frameworks after the other, each with a value that
people really wrote, rebuilt before the doctor was asked about any of it."""

from __future__ import annotations

from tests.lab.applications import DJANGO, FASTAPI, UVICORN_WORKER
from tests.lab.faults.app import PLAIN_APP
from tests.lab.reported.case import Kind, healthy, report
from tests.lab.reported.users import always, predicts
from tests.lab.stack import Stack

RAISES = ("APP020", "APP004")


def _asking(application: str, *, imports: str = "") -> str:
    """The plain application with Flask's request, and these routes."""
    return (
        imports + PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + application
    )


# --- Flask ------------------------------------------------------------------------------------------------------------

SESSION_APP = _asking(
    """
from flask import session

app.secret_key = os.environ.get("SHOP_SECRET")

@app.post("/login")
def login():
    session["user"] = "alice"
    return jsonify(welcome=True)

@app.get("/me")
def me():
    if "user" not in session:
        return jsonify(error="log in first"), 401
    return jsonify(name=session["user"])
""",
    imports="import os\n",
)


def _give_it_the_secret(stack: Stack) -> None:
    stack.set_service_environment(SHOP_SECRET="f" * 32)
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "sandeepsudhakaran/rchat-app#3",
    sees=lambda stack: always(stack, "/login", 500, method="POST"),
    repair=_give_it_the_secret,
    codes=RAISES,
    says=("no secret key was set", "/login", "secret_key"),
    app=SESSION_APP,
    layout="guide",
)
def sessions_have_no_secret(_stack: Stack) -> None:
    """exafs#2, Penny-Dreadful-Tools#2798: the key comes from a variable that the service does not have."""


COOKIE_DOMAIN = 'app.config["SESSION_COOKIE_DOMAIN"] = "shop-old.example"\n'


def _as_a_browser(stack: Stack) -> int | None:
    """Logs in and goes on. A browser takes no cookie for a name that it did not ask."""
    cookie = stack.request("POST", "/login").headers.get("Set-Cookie", "")
    domain = cookie.partition("Domain=")[2].partition(";")[0]
    is_taken = not domain or stack.domain.endswith(domain)
    headers = {"Cookie": cookie.partition(";")[0]} if is_taken else {}
    return stack.request(path="/me", headers=headers).status


@report(
    Kind.PART,
    "clusterify/clusterify#40",
    sees=lambda stack: {_as_a_browser(stack) for _ in range(5)} == {401},
    repair=lambda stack: stack.edit(stack.app_file, COOKIE_DOMAIN, ""),
    codes=(),
    says=("cookie", "shop-old.example", "SESSION_COOKIE_DOMAIN"),
    app=SESSION_APP,
    service_environment={"SHOP_SECRET": "f" * 32},
    layout="guide",
)
def cookie_is_for_the_name_before_the_move(stack: Stack) -> None:
    """cacti#7869: whoever logs in is asked to log in, and each answer is as it should be."""
    stack.edit(stack.app_file, "app.secret_key", f"{COOKIE_DOMAIN}app.secret_key")


FORM_APP = _asking(
    """
@app.post("/submit")
def submit():
    return jsonify(length=len(request.form["text"]))
"""
)
BOUNDARY = "----shop"
LARGE_FORM = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="text"\r\n\r\n{"x" * 600_000}\r\n--{BOUNDARY}--\r\n'


def _submits(stack: Stack) -> int | None:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return stack.request("POST", "/submit", body=LARGE_FORM, headers=headers).status


def _larger_forms(stack: Stack) -> None:
    name = "app = Flask(__name__)\n"
    stack.edit(stack.app_file, name, f'{name}app.config["MAX_FORM_MEMORY_SIZE"] = 20_000_000\n')


@report(
    Kind.PART,
    "pallets/werkzeug#3003",
    sees=lambda stack: {_submits(stack) for _ in range(4)} == {413},
    repair=_larger_forms,
    codes=("APP021",),
    says=("/submit", "MAX_FORM_MEMORY_SIZE"),
    app=FORM_APP,
    site={"max_body": "20m"},
    layout="guide",
)
def form_is_larger_than_the_new_framework_reads(_stack: Stack) -> None:
    """hashview#314, abogen#167: since Werkzeug 3.1 there is a limit for forms, where nobody has set one."""


EXPORT_APP = _asking(
    """
from flask import send_file

app.config["USE_X_SENDFILE"] = True

@app.get("/export")
def export():
    return send_file(__file__, mimetype="text/plain")
"""
)


@report(
    Kind.PART,
    "projectsend/projectsend#866",
    sees=lambda stack: all(
        "send_file" not in stack.request(path="/export", timeout=8.0).text for _ in range(3)
    ),
    repair=lambda stack: stack.edit(
        stack.app_file, '["USE_X_SENDFILE"] = True', '["USE_X_SENDFILE"] = False'
    ),
    codes=(),
    says=("/export", "X-Sendfile", "X-Accel-Redirect"),
    app=EXPORT_APP,
    worker_class="sync",
    layout="guide",
)
def file_is_handed_over_in_apache_s_words(_stack: Stack) -> None:
    """ruTorrent#1106, projectsend#824: nginx does not know the header, so every download is empty."""


LIMITER_APP = _asking(
    """
asked = collections.Counter()

@app.get("/quote")
def quote():
    asked[request.remote_addr] += 1
    if asked[request.remote_addr] > 25:
        return jsonify(error="too many requests, come back in an hour"), 429
    return jsonify(quote="a")
""",
    imports="import collections\n",
)
VISITORS = [f"127.0.4.{number}" for number in range(1, 41)]


def _trust_nginx(stack: Stack) -> None:
    fixed = "from werkzeug.middleware.proxy_fix import ProxyFix\napp.wsgi_app = ProxyFix(app.wsgi_app)\n"
    stack.edit(stack.app_file, "asked = ", f"{fixed}asked = ")


@report(
    Kind.PART,
    "alisaifee/flask-limiter#278",
    sees=lambda stack: 429 in {stack.request(path="/quote", source=visitor).status for visitor in VISITORS},
    repair=_trust_nginx,
    codes=(),
    says=("/quote", "429", "X-Forwarded-For"),
    app=LIMITER_APP,
    threads=4,
    layout="guide",
)
def application_takes_nginx_for_its_only_visitor(_stack: Stack) -> None:
    """MediaCrush#26, mwdb-core#844: it counts by the address that it sees, and that is nginx's for everybody."""


JOBS_APP = _asking(
    """
jobs = {}

@app.post("/jobs")
def start():
    number = secrets.token_hex(4)
    jobs[number] = "done"
    return jsonify(job=number)

@app.get("/jobs/<number>")
def job(number):
    if number not in jobs:
        return jsonify(error="no such job"), 404
    return jsonify(state=jobs[number])
""",
    imports="import secrets\n",
)


def _asks_for_the_job(stack: Stack) -> set[int | None]:
    number = stack.request("POST", "/jobs").json()["job"]
    return {stack.request(path=f"/jobs/{number}").status for _ in range(12)}


@report(
    Kind.EACH,
    "eshaan7/Flask-Shell2HTTP#24",
    sees=lambda stack: 404 in _asks_for_the_job(stack) | _asks_for_the_job(stack),
    repair=lambda stack: stack.edit(stack.gunicorn_conf, "workers = 3", "workers = 1"),
    codes=(),
    says=("/jobs/", "404", "workers"),
    app=JOBS_APP,
    workers=3,
    worker_class="sync",
    layout="guide",
)
def each_worker_has_a_memory_of_its_own(_stack: Stack) -> None:
    """natlas#260, flask-executor#55: the job is known to the worker that took it, and another one is asked."""


# --- Django and FastAPI -----------------------------------------------------------------------------------------------

LOGS_TO_CONSOLE = (
    'LOGGING={"version": 1, "disable_existing_loggers": False, "handlers": {"console": {"class": '
    '"logging.StreamHandler"}}, "loggers": {"django": {"handlers": ["console"], "level": "INFO"}}},\n    '
)
SETTINGS = "    ROOT_URLCONF=__name__,\n"
STATIC_SETTINGS = (
    'INSTALLED_APPS=["django.contrib.staticfiles"],\n    STATIC_URL="/static/",\n    STATIC_ROOT="collected",\n    '
    'STORAGES={"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}, "staticfiles": {"BACKEND": '
    '"django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}},\n'
)
PAGE_APP = DJANGO.replace(SETTINGS, f"{SETTINGS}    {LOGS_TO_CONSOLE}{STATIC_SETTINGS}").replace(
    "urlpatterns = [",
    """
def page(_request):
    from django.http import HttpResponse
    from django.templatetags.static import static

    return HttpResponse('<link rel="stylesheet" href="' + static("shop.css") + '">')


urlpatterns = [path("page", page), """,
)


def _collect(stack: Stack) -> None:
    collected = stack.app_dir / "collected"
    collected.mkdir()
    (collected / "shop.1.css").write_text("h1 {}\n")
    manifest = '{"version": "1.1", "paths": {"shop.css": "shop.1.css"}, "hash": ""}'
    (collected / "staticfiles.json").write_text(manifest)
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "nitely/Spirit#297",
    sees=lambda stack: always(stack, "/page", 500),
    repair=_collect,
    codes=RAISES,
    says=("Missing staticfiles manifest entry", "/page", "collectstatic"),
    app=PAGE_APP,
    layout="guide",
)
def static_files_were_not_collected(_stack: Stack) -> None:
    """bedrock#8435, whitenoise#572: a style was added, and the deployment did not gather it."""


DATABASE_SETTINGS = (
    'DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}},\n'
)
DATABASE_APP = DJANGO.replace(SETTINGS, f"{SETTINGS}    {LOGS_TO_CONSOLE}{DATABASE_SETTINGS}").replace(
    "urlpatterns = [",
    """
def orders(_request):
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM shop_order")
        return JsonResponse({"orders": cursor.fetchall()})


urlpatterns = [path("orders", orders), """,
)


def _migrate(stack: Stack) -> None:
    import contextlib
    import sqlite3

    with contextlib.closing(sqlite3.connect(stack.app_dir / "shop.sqlite3")) as database:
        database.execute("CREATE TABLE shop_order (number INTEGER)")


@report(
    Kind.PART,
    "spdx/spdx-online-tools#51",
    sees=lambda stack: always(stack, "/orders", 500),
    repair=_migrate,
    codes=RAISES,
    says=("no such table: shop_order", "/orders", "migrate"),
    app=DATABASE_APP,
    layout="guide",
)
def database_was_not_migrated(_stack: Stack) -> None:
    """orthosie#19, hotelhub#1: the code is the new one, and the tables are the old ones."""


SILENT_APP = DJANGO.replace(
    "urlpatterns = [",
    """
def basket(_request):
    return JsonResponse({"basket": {}["items"]})


urlpatterns = [path("basket", basket), """,
)


@report(
    Kind.PART,
    "benoitc/gunicorn#708",
    sees=lambda stack: always(stack, "/basket", 500, times=6),
    repair=lambda stack: stack.edit(stack.app_file, '{}["items"]', "{}"),
    codes=(),
    says=("/basket", "LOGGING"),
    app=SILENT_APP,
    layout="guide",
)
def framework_says_nothing_of_its_errors(_stack: Stack) -> None:
    """healthchecks#203, gunicorn#491: Django would mail them to somebody, and nobody is named."""


CORS_APP = FASTAPI + (
    """
from fastapi.middleware.cors import CORSMiddleware

app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example/"], allow_methods=["*"], allow_headers=["*"])
"""
)


def _asks_before(stack: Stack) -> int | None:
    """What a browser gets that asks whether the page of the shop may send JSON here."""
    headers = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    return stack.request("OPTIONS", "/predict", headers=headers).status


@report(
    Kind.PART,
    "Eshajha19/agri#1406",
    sees=lambda stack: {_asks_before(stack) for _ in range(6)} == {400},
    repair=lambda stack: stack.edit(stack.app_file, "https://shop.example/", "https://shop.example"),
    codes=(),
    says=("OPTIONS", "/predict", "allow_origins"),
    app=CORS_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def origin_ends_with_a_slash(_stack: Stack) -> None:
    """dearmep#340, laravel-cors#239: no browser writes it so, and the two are compared as they stand."""


# --- unusual, and healthy ---------------------------------------------------------------------------------------------

OLD_API_APP = _asking(
    """
@app.get("/v1/items")
def gone():
    return jsonify(error="version 1 ended in June", use="/v2/items"), 410

@app.get("/v2/items")
def items():
    return jsonify(items=[])
"""
)


@healthy(
    "FlexMeasures/flexmeasures#667",
    serves=lambda stack: (
        predicts(stack) and always(stack, "/v2/items", 200) and always(stack, "/v1/items", 410)
    ),
    app=OLD_API_APP,
    layout="guide",
)
def old_clients_are_told_that_their_api_has_ended(stack: Stack) -> None:
    """bacalhau#4104: they go on asking for years, and get the answer that is meant for them."""
    for _ in range(12):
        stack.request(path="/v1/items")
        stack.request(path="/v2/items")


SIGN_UP_APP = FASTAPI + (
    """
from pydantic import BaseModel


class Member(BaseModel):
    name: str
    age: int


@app.post("/members")
async def member(new: Member):
    return {"welcome": new.name}
"""
)


@healthy(
    "xr843/fojin#648",
    serves=lambda stack: stack.request("POST", "/members", json_body={"name": "a", "age": 7}).status == 200,
    app=SIGN_UP_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def users_mistype_what_they_fill_in(stack: Stack) -> None:
    """Every other form comes back with what is wrong in it, and is sent again."""
    for number in range(12):
        wrong = stack.request("POST", "/members", json_body={"name": "a", "age": "seven"})
        assert wrong.status == 422
        stack.request("POST", "/members", json_body={"name": "a", "age": number})
