"""A client of the service for Python programs.

    from gte_api_client import GteClient

    with GteClient("https://gte-api.example.com", api_key=key) as client:
        client.ner("2022年北京冬奥会在北京举行")
        client.embed(thousands_of_texts)

One client serves any number of threads; each has its own connections. ``AsyncGteClient`` is for asyncio. The package
needs ``requests`` and nothing of the service: its modules import each other by relative names alone, because the
distribution gte-api-client installs them as ``gte_api_client`` and gte-ops as ``service.client``. ``docs/client.md``
describes which calls are repeated, when, and for how long.
"""

from .async_client import AsyncGteClient
from .batches import Limits, batches
from .errors import (
    ApiError,
    BadAnswerError,
    BadRequestError,
    GteError,
    TooSlowError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
)
from .results import Answer, Argument, Choice, Event, Prediction, Relation, Span, State
from .retries import Clock, Patience, retry_after
from .sync_client import GteClient, Role
from .this_host import is_this_host

__all__ = [
    "Answer",
    "ApiError",
    "Argument",
    "AsyncGteClient",
    "BadAnswerError",
    "BadRequestError",
    "Choice",
    "Clock",
    "Event",
    "GteClient",
    "GteError",
    "Limits",
    "Patience",
    "Prediction",
    "Relation",
    "Role",
    "Span",
    "State",
    "TooSlowError",
    "UnauthorizedError",
    "UnavailableError",
    "UnreachableError",
    "batches",
    "is_this_host",
    "retry_after",
]
