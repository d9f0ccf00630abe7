"""The service without engines, so that a worker starts at once: ``bare_service:create()``."""

from typing import Any

from service.app import create_app
from service.engines.registry import EngineRegistry


def create() -> Any:
    """The application, which has the routes and no models."""
    return create_app(engines=EngineRegistry({}, load_wait=0))
