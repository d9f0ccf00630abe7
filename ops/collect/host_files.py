"""The files that make up the service on a host: paths, each with its part and its namer. Nothing is read here.

Sources: nginx documentation (which paths are relative to the configuration's directory); certbot documentation, 'Where
are my certificates?' and 'Configuration file'; systemd.unit(5), systemd.exec(5).
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ops.facts.nginx import Directive, NginxConfig
from ops.interpret.acme_clients import AcmeClient
from ops.interpret.certificate_paths import certificate_pairs, map_blocks
from ops.interpret.nginx import servers

# Directives whose first argument is a file that nginx reads, relative to the configuration's directory.
NGINX_FILES = frozenset(
    {
        "auth_basic_user_file",
        "auth_jwt_key_file",
        "geoip2",
        "geoip_city",
        "geoip_country",
        "geoip_org",
        "js_import",
        "js_include",
        "modsecurity_rules_file",
        "perl_require",
        "quic_host_key",
        "ssl_certificate",
        "ssl_certificate_key",
        "ssl_client_certificate",
        "ssl_crl",
        "ssl_dhparam",
        "ssl_ech_file",
        "ssl_password_file",
        "ssl_session_ticket_key",
        "ssl_stapling_file",
        "ssl_trusted_certificate",
        "xml_entities",
        "xslt_stylesheet",
        *(
            f"{protocol}_ssl_{kind}"
            for protocol in ("proxy", "grpc", "uwsgi", "zone_sync")
            for kind in ("certificate", "certificate_key", "crl", "password_file", "trusted_certificate")
        ),
    }
)
# nginx accepts these instead of a path: data in the configuration, a key in a device, a variable, nothing.
_NO_PATH = re.compile(r"^(?:data|engine|store):|\$|^(?:off|on)?$")
# Paths in renewal/*.conf and cli.ini that are not saved: they are inside the tree, or hold no configuration.
_CERTBOT_OWN = re.compile(
    r"^(?:archive_dir|cert|privkey|chain|fullchain|webroot.*|config_dir|work_dir|logs_dir|server|.*_path_.*|nginx_server_root)$"
)
# Programs and other files of packages are reinstalled from the package, not restored from the backup.
PROGRAM_DIRECTORIES = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/dev",
    "/proc",
    "/sys",
    "/boot",
    "/snap",
)


@dataclass(frozen=True)
class Source:
    """One path; a directory includes everything in it unless ``only_file``. ``what``: the part it belongs to;
    ``named``: a file or setting names this path, so its absence is reported (other paths are programs' defaults);
    ``namer``: the user whose process named it, who may name only files of that user; None if root or the settings
    did."""

    what: str
    path: str
    named: bool = False
    only_file: bool = False
    namer: int | None = None


def nginx_wanted(config: NginxConfig, own_directory: str | None) -> Iterator[Source]:
    """Every file that nginx reads, and its whole directory if the configuration is in ``own_directory``."""
    if own_directory and posixpath.dirname(config.file) == own_directory:
        yield Source("nginx", own_directory, named=True)
    yield Source("nginx", config.file, named=True)
    for file in config.files:
        yield Source("nginx", _below(config, file), named=True)
    for certificate, key in _pairs_by_variable(config):
        yield Source("nginx", certificate, named=True)
        yield Source("nginx", key, named=True)
    for directive in every_directive(config.directives):
        if reads_file(directive.name) and directive.args and not _NO_PATH.search(directive.args[0]):
            name = directive.args[-1] if directive.name == "js_import" else directive.args[0]
            yield Source("nginx", _below(config, name), named=True)


def nginx_key_pairs(config: NginxConfig) -> Iterator[tuple[str, str]]:
    """The paths of certificates and their keys, paired as nginx does: in order, within one block."""
    for block in (
        Directive(name="main", args=(), file=config.file, line=0, block=config.directives),
        *every_directive(config.directives),
    ):
        for prefix in ("", "proxy_", "grpc_", "uwsgi_"):
            children = block.block or ()
            certificates = [d for d in children if d.name == f"{prefix}ssl_certificate" and d.args]
            keys = [d for d in children if d.name == f"{prefix}ssl_certificate_key" and d.args]
            for certificate, key in zip(certificates, keys, strict=False):
                if not _NO_PATH.search(certificate.args[0]) and not _NO_PATH.search(key.args[0]):
                    yield _below(config, certificate.args[0]), _below(config, key.args[0])

    yield from _pairs_by_variable(config)


def _pairs_by_variable(config: NginxConfig) -> Iterator[tuple[str, str]]:
    """The pairs of server blocks whose certificate is in a variable: a map's values, or one for each name."""
    maps = map_blocks(config.directives)
    for server in servers(config):
        certificates = [d.args[0] for d in server.effective("ssl_certificate") if d.args]
        keys = [d.args[0] for d in server.effective("ssl_certificate_key") if d.args]
        for certificate, key in zip(certificates, keys, strict=False):
            if "$" in certificate:
                for _, path, its_key in certificate_pairs(maps, server.names, certificate, key):
                    yield _below(config, path), _below(config, its_key)


def reads_file(name: str) -> bool:
    """Whether the directive ``name`` names a file that nginx reads: in its first argument (in js_import the last)."""
    return name in NGINX_FILES or name.endswith("_by_lua_file")


def _below(config: NginxConfig, name: str) -> str:
    return posixpath.join(posixpath.dirname(config.file), name)


def every_directive(directives: Iterable[Directive]) -> Iterator[Directive]:
    """Each directive, followed by those in its block."""
    for directive in directives:
        yield directive
        yield from every_directive(directive.block or ())


def certbot_wanted(directory: str, texts: Iterable[str], home: str) -> Iterator[Source]:
    """The whole certbot tree, and the files outside it that a renewal needs.

    ``texts``: those of cli.ini and renewal/*.conf; ``home``: root's home, which certbot reads too."""
    yield Source("certbot", directory)
    yield Source("certbot", posixpath.join(home, ".config/letsencrypt/cli.ini"))
    for text in texts:
        for key, value in ini_values(text):
            if _CERTBOT_OWN.match(key):
                continue
            if key == "authenticator" and value.endswith("route53"):
                yield Source("certbot", posixpath.join(home, ".aws/credentials"))
                yield Source("certbot", posixpath.join(home, ".aws/config"))
            is_command = "hook" in key
            for number, word in enumerate(_words(value) if is_command else [value]):
                name = home + word[1:] if word.startswith("~/") else word
                if name.startswith("/") and not is_program(name) and not _inside(name, directory):
                    # The program's arguments follow it: some are files that it needs, others it creates.
                    is_named = not is_command or number == 0
                    yield Source("certbot", name, named=is_named, only_file=is_command)


def acme_wanted(clients: Iterable[AcmeClient]) -> Iterator[Source]:
    """The directories of the other ACME clients, whole: accounts, keys, DNS credentials, what is renewed and how."""
    for client in clients:
        for directory in client.directories:
            yield Source(client.name, directory, named=client.is_named)


def ini_values(text: str) -> Iterator[tuple[str, str]]:
    """The ``key = value`` lines; keys have underscores, as certbot stores them."""
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        key = key.strip().replace("-", "_")
        if equals and key and not key.startswith(("#", ";", "[")):
            value = value.strip()
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            yield key, value[1:-1] if is_quoted else value


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def unit_wanted(unit: str, directories: Sequence[str]) -> Iterator[Source]:
    """The service's unit with its drop-ins in each directory, and the administrator's units for related programs."""
    for place in directories:
        yield Source("unit", posixpath.join(place, unit))
        yield Source("unit", posixpath.join(place, f"{unit}.d"))
    own = next((place for place in directories if not is_program(place)), None)
    if own is not None:
        for name in ("nginx", "certbot", "gte-ops-watchdog", "gte-ops-backup", "gte-ops-doctor"):
            for kind in ("service", "timer"):
                yield Source("unit", posixpath.join(own, f"{name}.{kind}"))
                yield Source("unit", posixpath.join(own, f"{name}.{kind}.d"))


def environment_files(unit_text: str) -> Iterator[Source]:
    """The files that ``EnvironmentFile=`` names; a leading minus means that the file may be absent."""
    for key, value in ini_values(unit_text):
        path = value.removeprefix("-")
        if key == "EnvironmentFile" and path.startswith("/") and "%" not in path:
            yield Source("gunicorn", path, named=not value.startswith("-"))


def unit_names(unit_text: str, path: str) -> bool:
    """Whether a unit's command has ``path`` as an argument, absolute or relative to the unit's WorkingDirectory=."""
    values = list(ini_values(unit_text))
    directory = next((value.lstrip("-") for key, value in values if key == "WorkingDirectory"), "/")
    words = (word for key, value in values if key.startswith("Exec") for word in _words(value))
    arguments = (word.partition("=")[2] if word.startswith("--") else word for word in words)
    return any(posixpath.join(directory, argument) == path for argument in arguments if argument)


def start_command_wanted(command: str | Sequence[str]) -> Iterator[Source]:
    """The scripts and files that the configured start command names."""
    for word in _words(command) if isinstance(command, str) else command:
        if word.startswith("/") and not is_program(word):
            yield Source("gunicorn", word, only_file=True)


def is_program(path: str) -> bool:
    """Whether ``path`` belongs to the system or to a package."""
    return any(_inside(path, place) for place in PROGRAM_DIRECTORIES if not path.startswith("/usr/local/"))


def _inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
