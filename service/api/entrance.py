"""A place for each request that wants a prediction, taken before its body is read and given back when it ends."""

from flask import Flask, g, request

from service.admission.client import Client, of_address
from service.admission.gate import OverloadedError, Place
from service.http import client_disconnect, forwarded
from service.http.problems import Problem
from service.monitoring.load import PREDICTION_PATHS
from service.prediction.context import context
from service.settings import read_server_settings


def register(app: Flask) -> None:
    """Let every prediction of ``app`` take a place first. After the keys of the API are checked, which name clients."""
    trusted = forwarded.Proxies(read_server_settings().forwarded_allow_ips)

    def enter() -> None:
        dear = PREDICTION_PATHS.get(request.path)
        if dear is None or request.method != "POST":
            return
        address = trusted.client_of(request.remote_addr or "", request.headers.get("X-Forwarded-For"))
        name = f"key:{g.key_name}" if "key_name" in g else of_address(address)
        client = Client(name, client_disconnect.checker())
        try:
            g.place = context().places.take(client, dear=dear)
        except OverloadedError as overload:
            raise Problem("overloaded", overload.detail, retry_after=overload.retry_after) from None

    def leave(_error: BaseException | None) -> None:
        if "place" in g:
            context().places.leave(g.place)

    app.before_request(enter)
    app.teardown_request(leave)


def place() -> Place:
    """The place that this request holds."""
    held: Place = g.place
    return held
