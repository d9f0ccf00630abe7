"""The service asked by the paths that nginx hands on."""

from __future__ import annotations

from typing import Any

import pytest

from ops.collect.handed_on import as_handed_on, lacks_a_path, without_prefix
from ops.facts.probes import Backend
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from tests.unit.made_snapshot import AT_BACKEND, HEALTHY, SITE, but, nginx_config, page

PATHS: dict[str, Any] = {
    "target__predict_path": "/api/ml/predict",
    "target__health_path": "/api/ml/health",
    "target__ready_path": "/api/ml/ready",
}


def site(location: str) -> Snapshot:
    """The service is behind ``location``, and its users ask below /api/ml."""
    text = SITE.replace(
        "location / {\n        limit_req", f"{location}\n    location / {{\n        limit_req"
    )
    return but(nginx_config=nginx_config(text), **PATHS)


def paths(target: Target | None) -> tuple[str, str] | None:
    return None if target is None else (target.predict_path, target.health_path)


@pytest.mark.parametrize(
    "location",
    [
        "location /api/ml/ { proxy_pass http://gte_backend/; }",
        "location ^~ /api/ml { rewrite ^/api/ml(/.*)$ $1 break; proxy_pass http://gte_backend; }",
        "location ~ ^/api/ml(/.*)$ { proxy_pass http://gte_backend$1; }",
    ],
)
def test_a_prefix_that_nginx_takes_away_is_not_asked_for(location: str) -> None:
    snapshot = site(location)
    assert paths(as_handed_on(snapshot.target, snapshot.nginx_config)) == ("/predict", "/health")  # type: ignore[arg-type]


def test_paths_that_nginx_leaves_alone_stay() -> None:
    snapshot = site("location /api/ml/ { proxy_pass http://gte_backend; }")
    assert as_handed_on(snapshot.target, snapshot.nginx_config) is None  # type: ignore[arg-type]
    assert paths(without_prefix(snapshot.target, snapshot.nginx_config)) == ("/predict", "/health")  # type: ignore[arg-type]


def test_the_root_is_no_prefix() -> None:
    assert without_prefix(HEALTHY.target, HEALTHY.nginx_config) is None  # type: ignore[arg-type]


def test_only_a_path_that_is_not_there_is_looked_for_elsewhere() -> None:
    def backend(predict: int) -> Backend:
        snapshot = but(backend__predict=page(predict, "x", method="POST", **AT_BACKEND))
        assert isinstance(snapshot.backend, Backend)
        return snapshot.backend

    assert lacks_a_path(backend(404))
    assert lacks_a_path(backend(405))
    assert not lacks_a_path(backend(500))
    assert not lacks_a_path(HEALTHY.backend)
