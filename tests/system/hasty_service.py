"""The service without engines, whose clients have two seconds to send a request: ``hasty_service:create()``."""

from typing import Any

from service import gunicorn_patches
from tests.system import bare_service

PATIENCE = 2


def create() -> Any:
    """The application."""
    gunicorn_patches._PATIENCE = PATIENCE
    return bare_service.create()
