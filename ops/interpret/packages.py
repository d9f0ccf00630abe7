"""Compare names of Python distributions, and find the one that provides a gunicorn worker class."""

from __future__ import annotations

import re

# The distribution that each of gunicorn's own worker classes needs (gunicorn: settings, worker_class).
_OF_CLASS = {
    "eventlet": "eventlet",
    "gevent": "gevent",
    "gevent_pywsgi": "gevent",
    "gevent_wsgi": "gevent",
    "tornado": "tornado",
}
# The distribution for the first name of a dotted path.
_OF_MODULE = {"uvicorn": "uvicorn", "uvicorn_worker": "uvicorn-worker", "gevent": "gevent"}
WORKER_PACKAGES = tuple(sorted({*_OF_CLASS.values(), *_OF_MODULE.values()}))


def normal_name(name: str) -> str:
    """Return a distribution's name in its normal form (packaging.python.org: names and normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required_name(requirement: str) -> str:
    """Return the normal name of a requirement's distribution (PEP 508): ``flask`` for ``Flask>=3``."""
    return normal_name(re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0])


def worker_package(name: str | None) -> str | None:
    """Return the distribution that a worker class needs besides gunicorn; None if it needs none, or is unknown."""
    if name is None:
        return None
    own = name.removeprefix("egg:gunicorn#")
    return _OF_CLASS.get(own) or _OF_MODULE.get(own.partition(".")[0] if "." in own else "")
