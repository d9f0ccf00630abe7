"""Names of Python distributions: how they are compared, and which of them a worker class of gunicorn comes from."""

from __future__ import annotations

import re

# The distribution that each of gunicorn's own names needs beside it (gunicorn: settings, worker_class).
_OF_CLASS = {
    "eventlet": "eventlet",
    "gevent": "gevent",
    "gevent_pywsgi": "gevent",
    "gevent_wsgi": "gevent",
    "tornado": "tornado",
}
# The distribution by the first name of a dotted path.
_OF_MODULE = {"uvicorn": "uvicorn", "uvicorn_worker": "uvicorn-worker", "gevent": "gevent"}
WORKER_PACKAGES = tuple(sorted({*_OF_CLASS.values(), *_OF_MODULE.values()}))


def normal_name(name: str) -> str:
    """A distribution's name as names are compared (packaging.python.org: names and normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required_name(requirement: str) -> str:
    """The compared name of what a requirement asks for (PEP 508): ``Flask>=3`` asks for ``flask``."""
    return normal_name(re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0])


def worker_package(name: str | None) -> str | None:
    """The distribution that a worker class comes from, beside gunicorn; None where it needs none, or an unknown one."""
    if name is None:
        return None
    own = name.removeprefix("egg:gunicorn#")
    return _OF_CLASS.get(own) or _OF_MODULE.get(own.partition(".")[0] if "." in own else "")
