"""The rendered site before two scanners: sslyze by Mozilla's intermediate profile, gixy-next on the configuration.

Each has an environment of its own: sslyze asks for another cryptography, and gixy-next brings crossplane, of which
nginx-crossplane is a fork with the same name for its module."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.stack import Stack

SCANNERS = ("sslyze==6.3.1", "gixy-next==0.9.0")
# What is left, and why: docs/deployment.md, What scanners say. The lab's authority is in no public store.
TLS_LEFT = {"certificate_path_validation", "tls_curves"}
CURVES_LEFT = {"X448", "secp521r1"}
CONFIGURATION_LEFT = {"default_server_flag"}
PIP_SECONDS = 900.0

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def scanners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the scanners' programs."""
    directory = tmp_path_factory.mktemp("scanners") / "environment"
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    subprocess.run(
        [directory / "bin/python", "-m", "pip", "install", "--quiet", *SCANNERS],
        check=True,
        timeout=PIP_SECONDS,
    )
    return directory / "bin"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def test_sslyze_finds_nothing_by_mozillas_intermediate_profile_but_what_has_a_reason(
    scanners: Path, stack: Stack
) -> None:
    host, port = stack.https
    ran = subprocess.run(
        [scanners / "sslyze", "--mozilla_config=intermediate", "--sni", stack.domain, f"{host}:{port}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    verdict = ran.stdout.partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2]
    assert "intermediate" in verdict, ran.stdout + ran.stderr
    findings = dict(re.findall(r"^ {8}\* (\w+): (.*)$", verdict, re.MULTILINE))
    assert findings.keys() <= TLS_LEFT, verdict
    assert set(re.findall(r"'(\w+)'", findings.get("tls_curves", ""))) <= CURVES_LEFT, verdict


def test_gixy_finds_nothing_in_the_configuration_but_what_has_a_reason(scanners: Path, stack: Stack) -> None:
    ran = subprocess.run(
        [scanners / "gixy", "--format", "json", stack.nginx_conf],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    findings = json.loads(ran.stdout)
    assert {finding["plugin"] for finding in findings} <= CONFIGURATION_LEFT, ran.stdout


def test_the_scanners_see_what_is_wrong(scanners: Path, stack: Stack) -> None:
    """Neither is silent because it looked at nothing."""
    wrong = stack.directory / "wrong.conf"
    wrong.write_text(
        "events {}\nhttp { server { listen 80; location ~ /a/(.*) { proxy_pass http://127.0.0.1$uri; } } }\n"
    )
    ran = subprocess.run(
        [scanners / "gixy", "--format", "json", wrong],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert {finding["severity"] for finding in json.loads(ran.stdout)} & {"HIGH", "MEDIUM"}, ran.stdout
    host, port = stack.https
    modern = subprocess.run(
        [scanners / "sslyze", "--mozilla_config=modern", "--sni", stack.domain, f"{host}:{port}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "TLSv1.2" in modern.stdout.partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2], modern.stdout
