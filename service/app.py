"""The application: wiring only. Gunicorn's target is ``service.app:create_app()``."""

import sys

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError

from service.admission.gate import Admission
from service.api import access, description, embeddings, errors, health, metrics, page, predict
from service.api.json_request import JsonRequest, invalid_fields
from service.engines.registry import EngineRegistry, roster_of
from service.http import unread_body
from service.keys.keyring import KeyRing
from service.monitoring import metrics as counts
from service.monitoring import progress
from service.prediction.context import Context, attach, context_of
from service.settings import Settings, SettingsError, read_settings
from service.version import version


class Service(OpenAPI):
    """The Flask application class of this service."""

    request_class = JsonRequest

    def generate_spec_json(self) -> None:
        """Generate the description of the API."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]
        self.spec_json = description.corrected(self.spec_json, context_of(self.extensions))


def create_app(settings: Settings | None = None, roster: EngineRegistry | None = None) -> Service:
    """The WSGI application, its engines (``roster``, or those the settings ask for) loading in the background.

    Ends the process with one line on standard error if ``settings`` are to come from the environment and a
    variable there cannot be used.
    """
    if settings is None:
        try:
            settings = read_settings()
        except SettingsError as error:
            sys.exit(f"service: {error}")
    app = Service(
        "service",
        info=Info(
            title="GTE service", version=version(), description="Chinese NLP: predictions over HTTP and JSON"
        ),
        doc_ui=False,
        static_folder=str(page.WEB),
        static_url_path="/static",
        validation_error_status=400,
        validation_error_model=predict.ProblemDetails,
        validation_error_callback=_refuse,
    )
    # Flask reads FLASK_DEBUG by itself; a traceback must never be one environment variable away from the
    # public.
    app.config.update(
        DEBUG=False,
        TESTING=False,
        PROPAGATE_EXCEPTIONS=False,
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
    )
    roster = roster or roster_of(settings)
    admission = Admission(
        settings.max_concurrent,
        settings.max_queue,
        settings.queue_timeout,
        counts.QUEUE_DEPTH.labels("gate").set,
    )
    attach(app.extensions, Context(settings, roster, admission))
    errors.register(app)
    if settings.api_keys_file is not None:
        access.register(app, KeyRing(settings.api_keys_file))
    unread_body.register(app)
    for group in (health.api, predict.api, embeddings.api, metrics.api):
        app.register_api(group)
    app.register_blueprint(page.api)
    page.register_docs(app)

    record = progress.current()
    roster.start(then=lambda: record.enter("ready") if record else None)
    return app


def _refuse(error: ValidationError) -> None:
    raise invalid_fields(error)
