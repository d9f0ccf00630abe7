"""Where nginx sends a request, and what it leaves out on the way."""

from __future__ import annotations

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers
from tests.lab.reported.case import Kind, add_location, report
from tests.lab.stack import Stack

HTTPS_ONLY_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, redirect, request") + (
    """
@app.before_request
def https_only():
    if request.headers.get("X-Forwarded-Proto") != "https":
        return redirect("URL" + request.path, 301)
"""
)

TOKEN_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.before_request
def token():
    if request.path != "/health" and request.headers.get("Authorization") != "Bearer sesame":
        return jsonify(detail="Not authenticated"), 401, {"WWW-Authenticate": "Bearer"}
"""
)


def _style_is_missing(stack: Stack) -> bool:
    return {stack.request(path="/static/app.css").status for _ in range(5)} == {404}


def _alias(stack: Stack, slash: str) -> str:
    return f"location /static/ {{\n        alias {stack.directory}/static{slash};\n    }}"


def _add_slash(stack: Stack) -> None:
    stack.edit(stack.site_file, _alias(stack, ""), _alias(stack, "/"))


@report(
    Kind.ROUTING,
    "allianceauth/allianceauth#966",
    sees=_style_is_missing,
    repair=_add_slash,
    codes=(),
    says=("/static/app.css", "staticapp.css", "alias", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def alias_without_its_slash(stack: Stack) -> None:
    """Yamtrack#1288, etesync#74: alias replaces the prefix, its slash included."""
    (stack.directory / "static").mkdir()
    (stack.directory / "static" / "app.css").write_text("body {}\n")
    add_location(stack, _alias(stack, ""))


PREFIXED = """location /api/v1/ml/ {
        proxy_pass http://gte_backend;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }"""


@report(
    Kind.ROUTING,
    "KanishJebaMathewM/Truxify#10427",
    sees=lambda stack: (
        {stack.request("POST", "/api/v1/ml/predict", json_body={}).status for _ in range(5)} == {404}
    ),
    repair=lambda stack: stack.edit(
        stack.site_file, PREFIXED, PREFIXED.replace("http://gte_backend;", "http://gte_backend/;")
    ),
    codes=(),
    says=("/api/v1/ml/predict", "gte-api.conf:", "proxy_pass http://gte_backend/;"),
    app=PLAIN_APP,
    layout="guide",
)
def prefix_is_not_taken_away(stack: Stack) -> None:
    """fastapi#1294, fastapi#1441: the service has its routes at the root, and gets the whole path."""
    stack.config["target"]["predict_path"] = "/api/v1/ml/predict"
    stack.write_config()
    add_location(stack, PREFIXED)


IN_SERVER = "    proxy_set_header Host $host;\n    proxy_set_header X-Forwarded-Proto $scheme;\n"


@report(
    Kind.ROUTING,
    "alphagov/govuk-helm-charts#542",
    sees=answers(301),
    repair=lambda stack: stack.edit(
        stack.site_file,
        "        proxy_set_header X-Real-IP",
        "        proxy_set_header X-Forwarded-Proto $scheme;\n        proxy_set_header X-Real-IP",
    ),
    codes=("NGX013", "NGX014"),
    says=("X-Forwarded-Proto", "gte-api.conf:", "inherit"),
    app=HTTPS_ONLY_APP,
    layout="guide",
)
def headers_of_the_server_block_are_not_inherited(stack: Stack) -> None:
    """nginx-proxy#697, lemmy-ansible#155: one proxy_set_header in a location, and all those above it are gone."""
    stack.edit(stack.app_file, "URL", stack.url)
    stack.edit(stack.site_file, "        proxy_set_header X-Forwarded-Proto $scheme;\n", "", apply=False)
    stack.edit(stack.site_file, "    location / {", f"{IN_SERVER}    location / {{")


NO_TOKEN = '        proxy_set_header Authorization "";\n'


def _token_is_refused(stack: Stack) -> bool:
    return {stack.predict(headers={"Authorization": "Bearer sesame"}).status for _ in range(5)} == {401}


@report(
    Kind.ROUTING,
    "home-assistant/core#16306",
    sees=_token_is_refused,
    repair=lambda stack: stack.edit(stack.site_file, NO_TOKEN, ""),
    codes=(),
    says=("401", 'proxy_set_header Authorization ""', "gte-api.conf:"),
    app=TOKEN_APP,
    layout="guide",
)
def token_is_not_passed_on(stack: Stack) -> None:
    """codex#373: a line for a password at nginx, which is there no more, takes the API's token away."""
    stack.edit(
        stack.site_file, "        proxy_set_header X-Real-IP", f"{NO_TOKEN}        proxy_set_header X-Real-IP"
    )


@report(
    Kind.ROUTING,
    "nginx/docker-nginx#191",
    sees=answers(500),
    repair=lambda stack: stack.edit(
        stack.nginx_conf, "$backend {", "$backend {\n        default gte_backend;"
    ),
    codes=(),
    says=("$backend", "map", "nginx.conf:", "default"),
    app=PLAIN_APP,
    layout="guide",
    nginx_extra="    map $http_x_server_select $backend {\n        blue gte_backend;\n    }",
)
def map_has_no_default(stack: Stack) -> None:
    """ABTestingGateway#67: who sends no such header has no server, and nginx says 500."""
    stack.edit(stack.site_file, "proxy_pass http://gte_backend;", "proxy_pass http://$backend;")


X_ACCEL_APP = (
    PLAIN_APP
    + """
@app.get("/download")
def download():
    return "", 200, {"X-Accel-Redirect": "/protected/scan.pdf"}
"""
)


def _protected(stack: Stack, directive: str) -> str:
    return (
        f"location /protected/ {{\n        internal;\n        {directive} {stack.directory}/media/;\n    }}"
    )


@report(
    Kind.ROUTING,
    "projectsend/projectsend#1215",
    sees=lambda stack: {stack.request(path="/download").status for _ in range(5)} == {404},
    repair=lambda stack: stack.edit(stack.site_file, _protected(stack, "root"), _protected(stack, "alias")),
    codes=(),
    says=("/download", "media/protected/scan.pdf", "root", "alias", "gte-api.conf:"),
    app=X_ACCEL_APP,
    layout="guide",
)
def file_that_the_service_hands_over_is_not_found(stack: Stack) -> None:
    """projectsend#857: the service answers 200 with X-Accel-Redirect, and nginx looks in the wrong place."""
    (stack.directory / "media").mkdir()
    (stack.directory / "media" / "scan.pdf").write_text("%PDF\n")
    add_location(stack, _protected(stack, "root"))
