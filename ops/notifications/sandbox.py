"""How the sending process gives up root, after it has loaded everything it needs.

It parses peers' answers with more than a hundred third-party plug-ins, and does that as a user who owns nothing. Python
and its packages may be unreadable for that user (a virtual environment below /root), so everything is imported, and the
certificates are read, before.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

from ops.errors import SettingsError
from ops.files.unprivileged import drop_privileges, unprivileged_account
from ops.notifications.authorities import read_authorities

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


def enter(urls: Iterable[str], ca_file: str = "") -> None:
    """Load the plug-ins that ``urls`` need and the trusted roots, those of ``ca_file`` too, then become a user without
    privileges. A process that is not root keeps its user.

    Call it before the process has threads: no_new_privs belongs to a thread (prctl(2)). Raises OSError if root cannot
    be given up; then nothing may be sent."""
    _load(urls)
    # No memory file can be made: then what may be read of the files counts.
    with contextlib.suppress(OSError):
        _take_up_authorities(os.environ, ca_file)
    account = unprivileged_account()
    if account is not None:
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


def _take_up_authorities(environment: MutableMapping[str, str], ca_file: str) -> None:
    """Have Requests (REQUESTS_CA_BUNDLE) and OpenSSL, which mail uses (SSL_CERT_FILE), trust what the environment says,
    and the roots of ``ca_file`` besides. Without a word in the environment Requests trusts certifi's roots, OpenSSL the
    system's.

    The files are copied into memory: root opens them, and they are read again as nobody."""
    import ssl

    import certifi

    public = _content(certifi.where())
    further = _further(ca_file)
    system = environment.get("SSL_CERT_FILE", "")
    bundle = environment.get("REQUESTS_CA_BUNDLE") or environment.get("CURL_CA_BUNDLE") or ""
    if public:
        own = _held(public)
        certifi.where = lambda: own
    # A bundle that is missing, or a directory, is left to Requests, which says so.
    authorities = _content(bundle) if bundle else _content(system) or public
    if authorities:
        environment["REQUESTS_CA_BUNDLE"] = _held(authorities + further)
    # OpenSSL reads a directory of the system's roots besides (SSL_CERT_DIR).
    own_file = _content(system or (ssl.get_default_verify_paths().openssl_cafile if further else ""))
    if own_file or further:
        environment["SSL_CERT_FILE"] = _held(own_file + further)


def _further(ca_file: str) -> bytes:
    """The roots of ``ca_file``, ended by a line's end; empty if it is of no use: the commands that read the settings
    say so."""
    try:
        return read_authorities(ca_file) + b"\n" if ca_file else b""
    except SettingsError:
        return b""


def _content(path: str) -> bytes:
    """What is in a file of certificates, ended by a line's end; empty if there is none that can be read: whoever needs
    it reports that."""
    try:
        return Path(path).read_bytes() + b"\n" if path else b""
    except OSError:
        return b""


def _held(content: bytes) -> str:
    """A path to ``content`` in memory, valid as long as this process lives."""
    descriptor = os.memfd_create("certificates")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return f"/proc/self/fd/{descriptor}"
