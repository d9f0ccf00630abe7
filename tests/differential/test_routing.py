"""The model of nginx's routing does what nginx does: a sample for CI, the whole by `scripts/test --long` or
`python -m tests.differential`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.differential.compare import Counts, compare
from tests.differential.real_nginx import RealNginx
from tests.differential.versions import nginx_versions

MAX_UNKNOWN_SHARE = 0.02


def differences(
    binary: str, version: str, directory: Path, *, seed: int, sites: int, requests: int, port: int
) -> Counts:
    counts = Counts()
    with RealNginx(binary, directory) as nginx:
        compare(nginx, version, seed, sites, requests, port, counts)
    return counts


@pytest.mark.parametrize(("number", "program"), enumerate(nginx_versions()))
def test_sixty_random_requests_go_where_the_model_says(
    number: int, program: tuple[str, str], short_directory: Path
) -> None:
    counts = differences(*program, short_directory, seed=7, sites=20, requests=4, port=28000 + 100 * number)
    assert counts.differences == []
    assert counts.requests >= 60


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200, 210))
@pytest.mark.parametrize(("number", "program"), enumerate(nginx_versions()))
def test_thousands_of_random_requests_go_where_the_model_says(
    number: int, program: tuple[str, str], seed: int, short_directory: Path
) -> None:
    port = 28200 + 100 * number + 200 * (seed % 10)
    counts = differences(*program, short_directory, seed=seed, sites=50, requests=15, port=port)
    assert counts.differences == []
    assert counts.outcomes.get("unknown", 0) <= MAX_UNKNOWN_SHARE * counts.requests
