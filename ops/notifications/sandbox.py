"""How the sending process gives up root, after it has loaded everything it needs.

It parses peers' answers with more than a hundred third-party plug-ins, and does that as a user who owns nothing. Python
and its packages may be unreadable for that user (a virtual environment below /root), so everything is imported, and the
certificates are read, before.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ops.files.unprivileged import drop_privileges, unprivileged_account

# Modules that Requests, smtplib and the codecs import only at the first request.
_IMPORTED_LATE = (
    "charset_normalizer",
    "email.generator",
    "email.policy",
    "encodings.idna",
    "idna",
    "idna.uts46data",
    "netrc",
    "shlex",
    "stringprep",
)
# Debian's home of nobody. Requests looks for ~/.netrc, Apprise for files below ~.
_NO_HOME = "/nonexistent"
_PASSED_ON = frozenset(
    {
        "HOME",
        "HOSTALIASES",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOCALDOMAIN",
        "PATH",
        "RES_OPTIONS",
        "TMPDIR",
        "TZ",
    }
    | {"CURL_CA_BUNDLE", "OPENSSL_CONF", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"}
)


def environment_for_sending(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of ``environment`` that the sending process gets: how to find Python's modules, certificates, proxies
    and names. Other variables may be secrets."""
    return {
        name: value
        for name, value in environment.items()
        if name in _PASSED_ON or name.startswith(("LC_", "PYTHON")) or name.lower().endswith("_proxy")
    }


def enter(urls: Iterable[str]) -> None:
    """Load the plug-ins that ``urls`` need, then become a user without privileges. A process that is not root keeps its
    user.

    Call it before the process has threads: no_new_privs belongs to a thread (prctl(2)). Raises OSError if root cannot
    be given up; then nothing may be sent."""
    _load(urls)
    account = unprivileged_account()
    if account is not None:
        _keep_certificates_readable()
        os.environ["HOME"] = _NO_HOME
        os.chdir("/")
    drop_privileges(account, network=True)()


def _load(urls: Iterable[str]) -> None:
    for name in _IMPORTED_LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    urls = tuple(urls)
    if not urls:
        return
    import apprise

    asset = apprise.AppriseAsset(storage_mode="memory")
    for url in urls:
        # Apprise imports all its plug-ins for the first URL, and some plug-ins import more when first used.
        with contextlib.suppress(Exception):
            apprise.Apprise.instantiate(url, asset=asset)


def _keep_certificates_readable() -> None:
    """Keep the files of certificate authorities readable: opened by root, they are read again as nobody."""
    import certifi

    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    own = _held(certifi.where())
    if own is not None:
        certifi.where = lambda: own
    authorities = _held(bundle) if bundle else own
    if authorities is not None:
        os.environ["REQUESTS_CA_BUNDLE"] = authorities
    if (system := _held(os.environ.get("SSL_CERT_FILE", ""))) is not None:
        os.environ["SSL_CERT_FILE"] = system


def _held(path: str) -> str | None:
    """A path to a copy of the file in memory, valid as long as this process lives; None if there is no such file."""
    if not path:
        return None
    try:
        content = Path(path).read_bytes()
        descriptor = os.memfd_create("certificates")
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
    except OSError:  # whoever needs a missing file reports it
        return None
    return f"/proc/self/fd/{descriptor}"
