"""The objects that the routes share, attached to the Flask application."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from service.admission.gate import Places, Turns
from service.engines.registry import EngineRegistry
from service.settings import Settings

_KEY = "gte"


@dataclass(frozen=True)
class Context:
    """The settings, the engines, and the places and turns in front of them."""

    settings: Settings
    engines: EngineRegistry
    places: Places
    turns: Turns


def attach(extensions: dict[str, object], context: Context) -> None:
    """Attach ``context`` to an application, given its ``extensions``."""
    extensions[_KEY] = context


def context() -> Context:
    """The context of the application that handles this request."""
    return context_of(current_app.extensions)


def context_of(extensions: dict[str, object]) -> Context:
    """The context that was attached to an application, given its ``extensions``."""
    return cast(Context, extensions[_KEY])
