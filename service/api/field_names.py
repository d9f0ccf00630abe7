"""The names of fields in an API that calls them otherwise than ``/predict``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from service.http.problems import Problem


@contextmanager
def field_names(names: Mapping[str, str]) -> Iterator[None]:
    """Report a problem in a field of ``/predict`` (``input_text``) by its name here: ``names[field]``."""
    try:
        yield
    except Problem as problem:
        for field, name in names.items():
            if problem.field is not None and problem.field.startswith(field):
                problem.field = problem.field.replace(field, name, 1)
                problem.detail = problem.detail.replace(field, name, 1)
        raise
