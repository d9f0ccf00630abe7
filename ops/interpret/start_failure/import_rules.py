"""Exceptions of importing: modules, packages, names and what lies in their files."""

from __future__ import annotations

import itertools
import re
import sys

from ops.facts.start import LastStart, Use
from ops.interpret.packages import normal_name
from ops.interpret.start_failure.kind import Found, Kind
from ops.interpret.start_failure.words import Trace, is_in, mentioned

# A word of the command line that gunicorn took for the application's module: it begins with a dash that is no hyphen.
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
# A file's path where gunicorn wants the name of a module: /srv/shop/app, shop/app.py.
_PATH_MODULE = re.compile(
    r"(?:No module named|.*to perform a relative import for|Failed to find application, did you mean) "
    r"'([^':]{0,300}/[^':]{1,100})[':]"
)
_DASHED_MODULE = re.compile(rf"No module named '([{DASHES}-][^']{{0,200}})'")


def module_rule(trace: Trace, name: str, message: str, last: LastStart | None) -> Found:
    if name == "ModuleNotFoundError" and (option := _DASHED_MODULE.match(message)):
        return Kind.OPTION, {"detail": message, "word": option[1]}
    path = (
        _PATH_MODULE.match(message) if name in ("ModuleNotFoundError", "ImportError", "TypeError") else None
    )
    if path and trace.own is None:
        return Kind.WSGI_MODULE, {"module": path[1], "path": path[1]}
    match = re.match(r"No module named '?([\w.]+)'?", message)
    if name not in ("ModuleNotFoundError", "ImportError") or match is None:
        return None
    module = match[1]
    first = module.partition(".")[0]
    values = {"module": module, "first": first}
    if last is not None and module in last.extensions:
        return Kind.EXTENSION, {
            **values,
            "path": last.extensions[module],
            "package": PACKAGES.get(first, first),
        }
    if last is not None and last.other_python and not any(place.name == first for place in last.modules):
        return Kind.OLD_ENVIRONMENT, {**values, "path": last.other_python}
    # gunicorn itself imports the module, not a line of the application.
    is_wsgi = trace.own is None and is_in(trace, "gunicorn/util.py")
    places = [place.directory for place in last.modules if place.name == first] if last else []
    if places and module != first and (inner := _submodule(trace, message, module, places[0], last)):
        return inner
    if places:
        values["directory"] = places[0]
        return (Kind.WSGI_MODULE if is_wsgi else Kind.OWN_MODULE), values
    if last is not None and normal_name(PACKAGES.get(first, first)) in last.requirements:
        values["package"] = PACKAGES.get(first, first)
        values["listed"] = "yes"
        return Kind.PACKAGE, values
    if is_wsgi:
        return Kind.WSGI_MODULE, values
    values["package"] = PACKAGES.get(first, first)
    return Kind.PACKAGE, values


def _submodule(trace: Trace, message: str, module: str, directory: str, last: LastStart | None) -> Found:
    """Match a module missing from the application's own package, or a file found in place of the package."""
    values = {"module": module, "package": module.rpartition(".")[0], "directory": directory}
    values["name"] = module.rpartition(".")[2]
    if "is not a package" in message:
        values["file"] = f"{directory}/{module.partition('.')[0]}.py"
        return Kind.SUBMODULE, values
    if last is None or any(place.name == module for place in last.modules):
        return None
    if is_in(trace, "django/conf/__init__.py"):
        values["variable"] = "DJANGO_SETTINGS_MODULE"
        read = next((r for r in last.reads if r.name == "DJANGO_SETTINGS_MODULE"), None)
        values |= {"where": f"{read.path}:{read.line}"} if read else {}
    return Kind.SUBMODULE, values


# PyPI's package names that differ from the module's name.
PACKAGES = {
    "dotenv": "python-dotenv", "yaml": "PyYAML", "cv2": "opencv-python-headless", "PIL": "Pillow",
    "sklearn": "scikit-learn", "bs4": "beautifulsoup4", "MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary",
    "jwt": "PyJWT", "dateutil": "python-dateutil", "Crypto": "pycryptodome", "serial": "pyserial",
    "git": "GitPython", "magic": "python-magic", "OpenSSL": "pyOpenSSL", "decouple": "python-decouple",
    "environ": "django-environ", "rest_framework": "djangorestframework", "corsheaders": "django-cors-headers",
    "jose": "python-jose", "multipart": "python-multipart", "socketio": "python-socketio", "engineio":
    "python-engineio", "pkg_resources": "setuptools", "attr": "attrs", "zmq": "pyzmq", "fitz": "PyMuPDF",
    "docx": "python-docx", "pptx": "python-pptx", "ldap": "python-ldap", "slugify": "python-slugify",
    "werkzeug": "Werkzeug", "flask": "Flask", "jinja2": "Jinja2", "django": "Django", "distutils": "setuptools",
}  # fmt: skip
# Where the newest version of the package has the module no more (setuptools.pypa.io, pkg_resources).
_BELOW = {"pkg_resources": "<81"}


def requirement_of(module: str) -> str | None:
    """What `pip install` is to be given for a module, by its name on PyPI; None if that is not known."""
    return f"{PACKAGES[module]}{_BELOW.get(module, '')}" if module in PACKAGES else None


def _is_library(path: str) -> bool:
    return any(mark in path for mark in ("site-packages/", "dist-packages/", "/lib/python", "/lib64/python"))


def _is_package(module: str, last: LastStart | None) -> bool:
    """Whether a package has that name: in Python's standard library, in the application's requirements, installed for
    it, or in `PACKAGES`."""
    if module in sys.stdlib_module_names or module in PACKAGES:
        return True
    if last is None:
        return False
    return normal_name(module) in last.requirements or any(
        place.name == module and _is_library(f"{place.directory}/") for place in last.modules
    )


def _hiding(trace: Trace, message: str, last: LastStart | None) -> str | None:
    """Return the application's file that Python imports in place of a package of that name: one that is imported by
    the package's name while it is still being loaded, or by a library. Modules of the application that import each
    other hide nothing."""
    match = re.match(
        r"cannot import name '\w+' from partially initialized module '(\w+)' .*\((/[^)]+)\)$", message
    )
    if (
        match
        and not _is_library(match[2])
        and match[2].rpartition("/")[2] == f"{match[1]}.py"
        and _is_package(match[1], last)
    ):
        return match[2] if any(path == match[2] for path, _, _ in trace.frames) else None
    for (before, _, _), (after, _, function) in itertools.pairwise(trace.frames):
        imports = _is_library(before) and "/importlib/" not in before and "/gunicorn/" not in before
        if imports and after.startswith("/") and not _is_library(after) and function == "<module>":
            return after
    return None


def looked_up_rule(trace: Trace, name: str, message: str, last: LastStart | None) -> Found:
    """Match a failed lookup of a name that a variable gives: getattr(logging, os.environ["LEVEL"])."""
    if last is None or name not in ("AttributeError", "ModuleNotFoundError", "ImportError"):
        return None
    own = {f"{path}:{line}" for path, line, _ in trace.frames}
    read = next((r for r in last.reads if r.frame in own and r.use is Use.NAME), None)
    if read is None:
        return None
    return Kind.VARIABLE_VALUE, {
        "name": read.name,
        "detail": f"{name}: {message}"[:300],
        "where": f"{read.path}:{read.line}",
    }


def hides_rule(trace: Trace, name: str, message: str, last: LastStart | None) -> Found:
    if name not in ("ImportError", "AttributeError", "ModuleNotFoundError"):
        return None
    path = _hiding(trace, message, last)
    return (
        (Kind.HIDES, {"path": path, "module": path.rpartition("/")[2].removesuffix(".py")}) if path else None
    )


def import_name_rule(trace: Trace, name: str, message: str, _last: LastStart | None) -> Found:
    if name == "AttributeError" and (
        match := re.match(r"(?:partially initialized )?module '([\w.]+)' has no attribute '(\w+)'", message)
    ):
        if message.startswith("partially"):
            return Kind.CIRCULAR, {"module": match[1], "name": match[2]}
        return _clash(trace, match[1], match[2])
    if name != "ImportError":
        return None
    if message.startswith("attempted relative import"):
        return Kind.RELATIVE_IMPORT, {}
    match = re.match(
        r"cannot import name '(\w+)' from (partially initialized module )?'([\w.]+)'(.*)", message
    )
    if match is None:
        return None
    if match[2] or "circular import" in match[4]:
        return Kind.CIRCULAR, {"module": match[3], "name": match[1]}
    file = re.search(r"\((/[^)]+)\)", match[4])
    if file and not any(mark in file[1] for mark in ("site-packages/", "dist-packages/", "/lib/python")):
        return Kind.OWN_NAME, {"module": match[3], "name": match[1], "file": file[1]}
    return _clash(trace, match[3], match[1])


def _clash(trace: Trace, module: str, attribute: str) -> Found:
    """Return the version clash of ``module``, which lacks ``attribute``, and the package that imports it, if any."""
    last = trace.last[0] if trace.last else ""
    inside = re.search(r"(?:site|dist)-packages/([\w-]+?)(?:\.py)?(?:/|$)", last)
    values = {"module": module, "name": attribute, "package": module.partition(".")[0]}
    if inside and inside[1] != values["package"]:
        values["importer"] = inside[1]
    return Kind.VERSION_CLASH, values


_DAMAGE = re.compile(r"null bytes|bad marshal data|marshal data too short|bad magic number in")


def damaged_rule(_trace: Trace, _name: str, message: str, last: LastStart | None) -> Found:
    """Match a module whose file is damaged: the traceback has only the statement that imports it."""
    if not _DAMAGE.search(message):
        return None
    path = next(iter(last.damaged), None) if last else None
    return Kind.DAMAGED, {"path": path} if path else {}


_PICKLES = (".pickle", ".pkl", ".joblib", ".pt", ".pth")


def pickled_rule(trace: Trace, name: str, message: str, last: LastStart | None) -> Found:
    """Match a pickle whose classes are not where it was saved with them."""
    path = mentioned(trace, last, _PICKLES)
    values = {"path": path} if path else {}
    if match := re.match(r"(?:Can't|Custom object) get attribute '(\w+)' on <module '([\w.]+)'", message):
        # With `python -m gunicorn` the program's own module is called so.
        module = "__main__" if match[2].endswith(".__main__") else match[2]
        return Kind.PICKLED, {"name": match[1], "module": module, **values}
    at = f"{trace.own[0]}:{trace.own[1]}" if trace.own else ""
    loads = any(m.frame == at and not m.is_near and m.file == path for m in (last.mentions if last else ()))
    if (
        name == "ModuleNotFoundError"
        and path
        and loads
        and (match := re.match(r"No module named '([\w.]+)'", message))
    ):
        return Kind.PICKLED, {"module": match[1], **values}
    return None
