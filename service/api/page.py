"""The page for trying each task, and the description of the API."""

from pathlib import Path
from typing import cast

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    redirect,
    render_template_string,
    send_from_directory,
)
from flask_openapi3.openapi import OpenAPI
from werkzeug.wrappers import Response as BaseResponse

from service.api.answers import json_answer
from service.http.problems import CODES

WEB = Path(__file__).parent.parent / "web"

api = Blueprint("page", __name__)


@api.get("/")
def index() -> Response:
    """The page."""
    return send_from_directory(WEB, "index.html")


@api.get("/openapi.json")
def openapi_json() -> Response:
    """The description, generated from the models that validate the requests."""
    return json_answer(cast(OpenAPI, current_app).api_doc)


@api.get("/docs")
def docs() -> BaseResponse:
    """The description as a page."""
    return redirect("/docs/swagger" if "swagger" in current_app.blueprints else "/openapi.json")


@api.get("/docs/errors")
def errors() -> Response:
    """The error codes; each problem's ``type`` links here."""
    return Response(render_template_string(_ERRORS, codes=CODES), mimetype="text/html")


def register_docs(app: Flask) -> None:
    """Register Swagger UI, whose package contains its files, under ``/docs/swagger``."""
    try:
        from flask_openapi3_swagger.plugins import (  # type: ignore[import-untyped,unused-ignore]
            RegisterPlugin,
        )
    except ImportError:
        return
    swagger = RegisterPlugin.register(doc_url="../openapi.json")
    swagger.after_request(_allow_inline)
    app.register_blueprint(swagger, url_prefix="/docs")


def _allow_inline(response: Response) -> Response:
    # Swagger UI's page has an inline script; it shows nothing that a client sent.
    policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
    response.headers["Content-Security-Policy"] = f"{policy}; img-src 'self' data:; frame-ancestors 'none'"
    return response


_ERRORS = """<!doctype html> <html lang="en"><meta charset="utf-8"><title>Errors</title><h1>Errors</h1>
<table><tr><th>code<th>status<th>meaning</tr> {% for code, (status, title) in codes.items() %}<tr id="{{ code
}}"><td>{{ code }}<td>{{ status }}<td>{{ title }}</tr> {% endfor %}</table></html>
"""
