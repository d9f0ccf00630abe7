"""The application: wiring only. Gunicorn's target is ``service.app:create_app()``."""

import sys

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError

from service.admission.gate import Places, Turns
from service.admission.rate_limit import RateLimit
from service.api import (
    access,
    cors,
    description,
    embeddings,
    entrance,
    errors,
    health,
    metrics,
    models,
    page,
    predict,
    rerank,
)
from service.api.json_request import JsonRequest, invalid_fields
from service.engines.registry import EngineRegistry, engines_of
from service.http import unread_body
from service.http.forwarded import Proxies
from service.keys.keyring import Keyring
from service.monitoring import metrics as counts
from service.monitoring import progress
from service.prediction.context import Context, attach, context_of
from service.settings import Settings, SettingsError, per_second, read_server_settings, read_settings
from service.version import version


class Service(OpenAPI):
    """The Flask application class of this service."""

    request_class = JsonRequest
    # Looks at requests before they get a thread, see gunicorn_patches.receive_aside.
    door: entrance.Door | None = None

    def generate_spec_json(self) -> None:
        """Generate the description of the API."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]
        self.spec_json = description.corrected(self.spec_json, context_of(self.extensions))


def create_app(settings: Settings | None = None, engines: EngineRegistry | None = None) -> Service:
    """The WSGI application; its engines (``engines``, or those that the settings ask for) load in the background.

    Without ``settings`` they come from the environment; if a variable is unusable, the process ends with one line on
    standard error.
    """
    if settings is None:
        try:
            settings = read_settings()
        except SettingsError as error:
            sys.exit(f"service: {error}")
    app = _flask_application(settings)
    engines = engines or engines_of(settings)
    places = Places(settings.max_concurrent + settings.max_queue)
    turns = Turns(settings.max_concurrent, settings.queue_timeout, counts.QUEUE_DEPTH.labels("gate").set)
    here = Context(settings, engines, places, turns)
    attach(app.extensions, here)
    proxies = Proxies(read_server_settings().forwarded_allow_ips)
    keyring = None if settings.api_keys_file is None else Keyring(settings.api_keys_file)
    limit = None if settings.rate is None else RateLimit(per_second(settings.rate), settings.burst)
    _register_routes(app, settings, entrance.Entrance(proxies, limit), keyring)
    app.door = entrance.Door(here, proxies, keyring, limit)
    record = progress.current()
    engines.start(then=lambda: record.enter(progress.Phase.READY) if record else None)
    return app


def _flask_application(settings: Settings) -> Service:
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
    # Flask reads FLASK_DEBUG by itself; no environment variable may show tracebacks to the public.
    app.config.update(
        DEBUG=False,
        TESTING=False,
        PROPAGATE_EXCEPTIONS=False,
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
    )
    return app


def _register_routes(
    app: Service, settings: Settings, inside: entrance.Entrance, keyring: Keyring | None
) -> None:
    errors.register(app)
    if settings.cors_origins:
        cors.register(app, settings.cors_origins)
    if keyring is not None:
        access.register(app, keyring, inside.count_refused)
    inside.register(app)
    unread_body.register(app)
    for group in (health.api, predict.api, embeddings.api, models.api, rerank.api, metrics.api):
        app.register_api(group)
    app.register_blueprint(page.api)
    page.register_docs(app)


def _refuse(error: ValidationError) -> None:
    raise invalid_fields(error)
