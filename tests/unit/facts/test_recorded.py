"""A bundle written by the first version is read and diagnosed by this one."""

from __future__ import annotations

from pathlib import Path

from ops.doctor import diagnose_bundle
from ops.facts.base import NotSeen
from ops.facts.bundle import read_bundle

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
