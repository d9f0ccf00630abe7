"""``/metrics``: for Prometheus; nginx does not pass it on to the public."""

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from service.api.health import workers
from service.monitoring import exposition

api = APIBlueprint("metrics", __name__, abp_tags=[Tag(name="state", description="Whether the service works")])


@api.get(
    "/metrics",
    responses={
        200: {"description": "the metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
    summary="Counters and gauges of all worker processes together, in Prometheus's text format",
)
def all_metrics() -> Response:
    """Requests by route, task and outcome, their latency, and what the workers are doing now."""
    return Response(exposition.render(*workers()), content_type=exposition.MEDIA_TYPE)
