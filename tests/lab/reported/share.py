"""A part of the users' requests fails: pages, uploads, downloads, one form; the doctor's own requests pass."""

from __future__ import annotations

import os

import psutil

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.host import limit_files
from tests.lab.reported.case import (
    Kind,
    add_location,
    needs_root,
    report,
    without_root_s_rights,
)
from tests.lab.reported.routing import DJANGO_APP
from tests.lab.stack import Stack

UPLOAD_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.post("/upload")
def upload():
    with open("UPLOADS/scan.pdf", "wb") as file:
        file.write(request.get_data())
    return jsonify(stored=True)
"""
)

LARGE_BODY_APP = DJANGO_APP.replace(
    'return JsonResponse({"result": {}})', "return JsonResponse(result(request))"
) + (
    """
def result(request):
    return {"result": {}, "length": len(request.body)}
"""
)

LOGIN_FORM_APP = DJANGO_APP.replace(
    '    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],',
    """    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    LOGGING={"version": 1, "disable_existing_loggers": False,
             "handlers": {"console": {"class": "logging.StreamHandler"}},
             "loggers": {"django": {"handlers": ["console"], "level": "INFO"}}},""",
).replace(
    "urlpatterns = [",
    """def login(request):
    return JsonResponse({"user": "alice"})

urlpatterns = [path("login", login), """,
)

SLOW_EXPORT_APP = PLAIN_APP.replace("from flask", "import time\nfrom flask") + (
    """
@app.get("/export")
def export():
    def rows():
        for _ in range(8):
            yield "row\\n" * 4000
            time.sleep(1)
    return rows(), 200, {"Content-Type": "text/csv", "X-Accel-Buffering": "no"}
"""
)

CORS_APP = (
    PLAIN_APP
    + """
@app.after_request
def allow(response):
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response
"""
)

SHARDS_APP = (
    PLAIN_APP
    + """
@app.get("/report")
def report():
    shards = [open(__file__) for _ in range(200)]
    return jsonify(shards=len(shards))
"""
)


def _style_is_forbidden(stack: Stack) -> bool:
    return {stack.request(path="/static/app.css").status for _ in range(5)} == {403}


def _static_location(stack: Stack) -> str:
    return f"location /static/ {{\n        alias {stack.directory}/home/shop/static/;\n    }}"


@report(
    Kind.PART,
    "FuzzyGrim/Yamtrack#1288",
    sees=_style_is_forbidden,
    repair=lambda stack: (stack.directory / "home" / "shop").chmod(0o711),
    codes=(),
    says=("/static/app.css", "Permission denied", "home/shop", "chmod"),
    impossible=needs_root,
    app=PLAIN_APP,
    layout="guide",
)
def home_above_the_static_files_is_closed(stack: Stack) -> None:
    """netbox#161, one-click#8: collected into a home directory, which is its owner's alone."""
    static = stack.directory / "home" / "shop" / "static"
    static.mkdir(parents=True)
    (static / "app.css").write_text("body {}\n")
    static.parent.chmod(0o700)
    add_location(stack, _static_location(stack))


FORWARDED = "        proxy_set_header X-Forwarded-Proto $scheme;\n"


def _login_is_refused(stack: Stack) -> bool:
    sent = {
        "Origin": f"https://{stack.domain}",
        "Cookie": f"csrftoken={'c' * 32}",
        "X-CSRFToken": "c" * 32,
    }
    return {stack.request("POST", "/login", headers=sent).status for _ in range(5)} == {403}


@report(
    Kind.PART,
    "opengisch/QFieldCloud#1083",
    sees=_login_is_refused,
    repair=lambda stack: stack.edit(
        stack.site_file,
        "        proxy_set_header X-Real-IP",
        f"{FORWARDED}        proxy_set_header X-Real-IP",
    ),
    codes=(),
    says=("Origin checking failed", "/login", "X-Forwarded-Proto", "gte-api.conf:"),
    app=LOGIN_FORM_APP,
    layout="guide",
    wait="listening",
)
def every_form_is_taken_for_a_forgery(stack: Stack) -> None:
    """horilla-hr#151, linkding#750: Django is not told that the user spoke HTTPS, and Origin says that he did."""
    stack.edit(stack.app_file, "DOMAIN", stack.domain)
    stack.edit(stack.site_file, FORWARDED, "")


def _uploads_fail(stack: Stack) -> bool:
    return {stack.request("POST", "/upload", body="scan").status for _ in range(5)} == {500}


def _give_uploads_to_the_service(stack: Stack) -> None:
    os.chown(stack.directory / "media", 0, 0)


@report(
    Kind.PART,
    "studentenportal/web#266",
    sees=_uploads_fail,
    repair=_give_uploads_to_the_service,
    codes=("APP020",),
    says=("Permission denied", "media/scan.pdf", "/upload", "chown"),
    impossible=needs_root,
    app=UPLOAD_APP,
)
def directory_of_uploads_belongs_to_another_user(stack: Stack) -> None:
    """szurubooru#216, rse-grand-challenge#195: the new server was set up as root."""
    media = stack.directory / "media"
    media.mkdir(mode=0o755)
    os.chown(media, 65534, 65534)
    without_root_s_rights(stack)
    stack.edit(stack.app_file, "UPLOADS", str(media))


def _large_bodies_fail(stack: Stack) -> bool:
    large = {stack.request("POST", "/predict", body=b"x" * 3_000_000).status for _ in range(3)}
    return large == {400} and stack.predict().status == 200


@report(
    Kind.PART,
    "OasisLMF/OasisPlatform#598",
    sees=_large_bodies_fail,
    repair=lambda stack: stack.edit(
        stack.app_file, 'SECRET_KEY="lab"', 'SECRET_KEY="lab", DATA_UPLOAD_MAX_MEMORY_SIZE=20_000_000'
    ),
    codes=("APP021",),
    says=("DATA_UPLOAD_MAX_MEMORY_SIZE", "/predict"),
    app=LARGE_BODY_APP,
    layout="guide",
    site={"max_body": "20m"},
    wait="listening",
)
def framework_has_a_limit_of_its_own_and_says_400(stack: Stack) -> None:
    """gyrinx#1097, ms2ldaviz#78: 2.5 MB by Django's default, and its answer is 400 and not 413."""
    stack.edit(stack.app_file, "DOMAIN", stack.domain)


@report(
    Kind.PART,
    "benoitc/gunicorn#1186",
    sees=lambda stack: stack.request(path="/export", timeout=20).error == "closed",
    repair=lambda stack: stack.edit(stack.gunicorn_conf, "timeout = 2", "timeout = 60"),
    codes=("GUN004",),
    says=("WORKER TIMEOUT", "/export", "timeout"),
    app=SLOW_EXPORT_APP,
    worker_class="sync",
    workers=2,
    timeout=2,
)
def download_is_cut_off_by_the_worker_s_timeout(_stack: Stack) -> None:
    """gunicorn#3259, danbyte#229: a sync worker gives no heartbeat while it sends; the status is 200."""


def _origin_is_allowed_twice(stack: Stack) -> bool:
    return len(stack.predict().headers.get_all("Access-Control-Allow-Origin") or []) == 2


CORS_LINE = "        add_header Access-Control-Allow-Origin * always;\n"


@report(
    Kind.PART,
    "expressjs/cors#145",
    sees=_origin_is_allowed_twice,
    repair=lambda stack: stack.edit(stack.site_file, CORS_LINE, ""),
    codes=(),
    says=("Access-Control-Allow-Origin", "add_header", "gte-api.conf:"),
    app=CORS_APP,
    layout="guide",
)
def browsers_are_told_twice_who_may_ask(stack: Stack) -> None:
    """flask-cors#215, nginx-cors#7: nginx and the application each add the header; a browser refuses two."""
    stack.edit(
        stack.site_file,
        "        proxy_set_header X-Real-IP",
        f"{CORS_LINE}        proxy_set_header X-Real-IP",
    )


def _report_fails(stack: Stack) -> bool:
    return {stack.request(path="/report").status for _ in range(5)} == {500} and stack.predict().status == 200


@report(
    Kind.PART,
    "czcorpus/kontext#1383",
    sees=_report_fails,
    repair=Stack.restart_gunicorn,
    codes=("HST004", "APP020"),
    says=("Too many open files", "/report", "LimitNOFILE"),
    app=SHARDS_APP,
)
def service_may_open_too_few_files(stack: Stack) -> None:
    """uvicorn#1030, gunicorn#3339: the limit is met by the requests that open many."""
    for process in [stack.gunicorn_master, *stack.gunicorn_workers]:
        assert isinstance(process, psutil.Process)
        limit_files(process, 100)
