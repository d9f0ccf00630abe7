"""What nginx makes of a request before the service sees it."""

from __future__ import annotations

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers
from tests.lab.reported.case import Kind, add_location, remove_location, report
from tests.lab.stack import Stack

DJANGO_APP = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    SECRET_KEY="lab", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["DOMAIN"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)

def health(request):
    return JsonResponse({"status": "ok", "service": "django"})

@csrf_exempt
def predict(request):
    return JsonResponse({"result": {}})

urlpatterns = [path("health", health), path("predict", predict)]
app = get_wsgi_application()
"""

SEARCH_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.get("/search")
def search():
    if "q" not in request.args:
        return jsonify(error="the parameter q is missing"), 422
    return jsonify(hits=[])
"""
)

JSON_APP = PLAIN_APP.replace('@app.post("/predict")', '@app.post("/predict.json")')


SLASHED = """location /predict/ {
        proxy_pass http://gte_backend;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }"""


@report(
    Kind.ROUTING,
    "CERT-Polska/mwdb-core#580",
    sees=answers(301),
    repair=lambda stack: stack.edit(stack.site_file, "location /predict/ {", "location /predict {"),
    codes=("NGX014",),
    says=("location /predict/", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def slash_of_the_location_redirects(stack: Stack) -> None:
    """geolens#1597, mfserv#630: nginx itself sends 301 to the path with the slash, and the POST becomes a GET."""
    add_location(stack, SLASHED)


def _static_files(stack: Stack) -> str:
    return f"location ~* \\.(js|css|json)$ {{\n        root {stack.directory}/static;\n        expires 7d;\n    }}"


@report(
    Kind.ROUTING,
    "jherforth/HomeGlow#155",
    sees=lambda stack: stack.request("POST", "/predict.json", json_body={}).status in (404, 405),
    repair=lambda stack: stack.edit(stack.site_file, "(js|css|json)", "(js|css)"),
    codes=(),
    says=("location ~* \\.(js|css|json)$", "gte-api.conf:"),
    app=JSON_APP,
    layout="guide",
)
def rule_for_static_files_takes_the_api(stack: Stack) -> None:
    """code-server#4312, writefreely#404: a regular expression goes before the prefix of the API."""
    (stack.directory / "static").mkdir()
    stack.config["target"]["predict_path"] = "/predict.json"
    stack.write_config()
    add_location(stack, _static_files(stack))


HOST = "        proxy_set_header Host $host;\n"


@report(
    Kind.ROUTING,
    "ML-TANGO/TANGO#79",
    sees=answers(400),
    repair=lambda stack: stack.edit(
        stack.site_file, "        proxy_set_header X-Real-IP", f"{HOST}        proxy_set_header X-Real-IP"
    ),
    codes=(),
    says=("gte_backend", "proxy_set_header Host", "gte-api.conf:"),
    app=DJANGO_APP,
    layout="guide",
    wait="listening",
)
def name_of_the_upstream_is_sent_as_host(stack: Stack) -> None:
    """riparias/gbif-alert#78, cadasta-platform#1939: Django refuses a Host that is not in ALLOWED_HOSTS, or has an
    underscore."""
    stack.edit(stack.app_file, "DOMAIN", stack.domain)
    stack.edit(stack.site_file, HOST, "")


BY_REGEX = """location ~ ^/api/(.*)$ {
        proxy_pass http://gte_backend/$1;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }"""


def _search_fails(stack: Stack) -> bool:
    return {stack.request(path="/api/search?q=beijing").status for _ in range(5)} == {422}


@report(
    Kind.ROUTING,
    "ShelterTechSF/askdarcel-web#40",
    sees=_search_fails,
    repair=lambda stack: stack.edit(stack.site_file, "gte_backend/$1;", "gte_backend/$1$is_args$args;"),
    codes=(),
    says=("/api/search", "gte-api.conf:", "$is_args$args"),
    app=SEARCH_APP,
    layout="guide",
)
def query_is_lost_in_a_proxy_pass_with_a_variable(stack: Stack) -> None:
    """openfoodfacts-server#11768: with a variable in proxy_pass the URI is what stands there, and no more."""
    add_location(stack, BY_REGEX)


WRONG_ALIAS = """location = /predict {
        rewrite ^/(.*)$ /v2/$1 break;
        proxy_pass http://gte_backend;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }"""


@report(
    Kind.ROUTING,
    "StackStorm/st2#4172",
    sees=answers(404),
    repair=lambda stack: remove_location(stack, WRONG_ALIAS),
    codes=(),
    says=("/v2/predict", "rewrite", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def rewrite_sends_a_path_the_service_does_not_have(stack: Stack) -> None:
    """home-assistant.io#5439 and its like: the service is asked for another path than the client."""
    add_location(stack, WRONG_ALIAS)
