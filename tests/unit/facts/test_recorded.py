"""A bundle written by the first version is read and diagnosed by this one."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path

import msgspec
import pytest

from ops.doctor import diagnose_bundle
from ops.facts.base import NotSeen
from ops.facts.bundle import BundleError, read_bundle
from ops.facts.certificates import FileProblem
from ops.facts.files import ModelProblem
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Front
from ops.facts.start import ServiceManager

# Written by `gte-ops doctor --bundle` 0.1.0 on a stack of the lab whose gunicorn had been stopped; processes of others
# are taken out.
RECORDED = Path(__file__).parent / "recorded" / "bundle-0.1.0.json"


def test_the_first_versions_bundle_names_the_same_cause() -> None:
    # The stack's interpreter had its packages from another environment, which ENV001 rightly does not find.
    diagnosis = diagnose_bundle(RECORDED, skip=["ENV001"])
    assert [cause.code for cause in diagnosis.causes] == ["GUN001"]


def test_the_first_versions_facts_are_there() -> None:
    bundle = read_bundle(RECORDED)
    assert bundle.made_by == "0.1.0"
    snapshot = bundle.snapshot
    assert not isinstance(snapshot.nginx_config, NotSeen)
    assert snapshot.nginx_config.file.endswith("/nginx/nginx.conf")
    assert snapshot.host.hostname == "vm"


# Before these words were enumerations, a bundle could hold any text; these are the ones that were written.
FAILURES = (
    "nxdomain no_address servfail refused timeout unreachable missing permission other"
    " reset closed tls malformed"
)
FILE_PROBLEMS = "missing dangling unreadable empty not_pem encrypted malformed"
MODEL_PROBLEMS = "empty lfs_pointer truncated overlong not_json absent unreadable"
WORDS: list[tuple[type[StrEnum], str]] = [
    (ProbeFailure, FAILURES),
    (FileProblem, FILE_PROBLEMS),
    (ModelProblem, MODEL_PROBLEMS),
    (ServiceManager, "systemd supervisord"),
]


@pytest.mark.parametrize(("enumeration", "words"), WORDS)
def test_the_first_versions_words_are_the_values(enumeration: type[StrEnum], words: str) -> None:
    assert {member.value for member in enumeration} == set(words.split())


def with_failure(word: str, directory: Path) -> Path:
    """The recorded bundle, with ``word`` as the reason why the front door could not be connected to."""
    content = json.loads(RECORDED.read_text())
    content["snapshot"]["front"]["connection"]["failure"] = word
    path = directory / "bundle.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("word", FAILURES.split())
def test_the_first_versions_failures_are_read_and_written_alike(word: str, tmp_path: Path) -> None:
    front = read_bundle(with_failure(word, tmp_path)).snapshot.front
    assert isinstance(front, Front)
    assert front.connection.failure is ProbeFailure(word)
    assert json.loads(msgspec.json.encode(front))["connection"]["failure"] == word


def test_an_unknown_failure_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="damaged, or changed by hand") as raised:
        read_bundle(with_failure("sideways", tmp_path))
    assert "\n" not in str(raised.value)
