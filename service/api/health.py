"""``/health`` and ``/ready``: whether the service is alive, and whether it would serve a prediction now."""

import os

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from service.api.answers import json_answer
from service.monitoring import progress
from service.monitoring.load import Load, load_of
from service.prediction.context import context
from service.prediction.readiness import judge
from service.settings import Settings
from service.version import version

api = APIBlueprint("health", __name__, abp_tags=[Tag(name="state", description="Whether the service works")])


class Health(BaseModel):
    """The service is alive."""

    status: str = Field(description="always ok", examples=["ok"])
    service: str = Field(description="always gte: distinguishes this service from others on the same port")
    version: str
    engine: str = Field(description="embedded, or gte where GTE_MODEL_DIR is set")


class Ready(BaseModel):
    """Whether a prediction would be served now."""

    status: str = Field(description="ready or not_ready")
    ready: bool
    reason: str | None = Field(description="null, loading, model_missing, load_failed or saturated")
    detail: str


@api.get(
    "/health",
    responses={200: Health},
    summary="Alive: answers at once, also while every prediction place is taken",
)
def health() -> Response:
    """Touches no engine and waits for nothing. At the door (``entrance``) it needs no thread either."""
    return json_answer(health_members(context().settings))


def health_members(settings: Settings) -> dict[str, str]:
    """What ``/health`` answers."""
    engine = "gte" if settings.engine == "auto" and settings.model_dir is not None else "embedded"
    return {"status": "ok", "service": "gte", "version": version(), "engine": engine}


@api.get("/ready", responses={200: Ready, 503: Ready}, summary="Whether a prediction would be served now")
def ready() -> Response:
    """200 with ``ready: true``, or 503 with the reason and what to do."""
    _, load = workers()
    verdict = judge(context().engines.readiness(), load)
    is_ready = verdict.reason is None
    return json_answer(
        {
            "status": "ready" if is_ready else "not_ready",
            "ready": is_ready,
            "reason": verdict.reason,
            "detail": verdict.detail,
        },
        200 if is_ready else 503,
    )


def workers() -> tuple[list[progress.Record], Load]:
    """The records of this gunicorn's workers and their load; without records, of this process alone."""
    places = context().places
    own = progress.current()
    if own is None:
        return [], Load(places.inside, places.capacity)
    others = [record for record in progress.read_all(own.directory) if record.pid != os.getpid()]
    # Take this process's own record from memory: it is newer than its file.
    records = [own.snapshot(), *progress.siblings(others, os.getppid())]
    return records, load_of(records, places.capacity)
