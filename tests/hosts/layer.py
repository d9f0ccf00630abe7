"""The files of a host that serves: laid over the image's, so that a host has them from its first process on.

Everything is where docs/deployment.md has it: the environment in /opt/gte-api/venv, the units of ``deploy/systemd``,
the site of ``deploy/nginx``, a certificate of a throwaway authority, and /etc/gte-ops/gte-ops.toml.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Set as AbstractSet
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ops.deployment.render import Deployment, NginxSite, render, render_nginx
from tests.lab.authority import Authority, write_lineage

# The Python of each suite.
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
_OWN_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
REPOSITORY = Path(__file__).resolve().parents[2]
DOMAIN = "gte.host.example"
PREDICTION = '{"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}'
# Of the distribution: what is imported on the host, and what its documents name.
SOURCES = ("ops", "service", "gte_ops.py", "gte_progress.py")
_SERVING = """\

[app]
dir = "/opt/gte-api"
python = "/opt/gte-api/venv/bin/python3"
wsgi = "service.app:create_app()"
requires = ["flask", "gunicorn"]
progress_dir = "/run/gte-api/progress"

[gunicorn]
unit = "gte-api.service"
bind = "BIND"
pidfile = "/run/gte-api/gunicorn.pid"
access_log = "/var/log/gte-api/access.log"
error_log = "/var/log/gte-api/error.log"

[watchdog]
interval = 5
"""


def settings_text(bind: str = "127.0.0.1:8000", pair: str = "") -> str:
    """gte-ops.toml of a host. ``bind``: where gunicorn listens, empty for a balancer. ``pair``: the directory with
    chain.pem, key.pem and ca.pem, for a certificate that certbot did not obtain."""
    tls = 'ca_file = "/etc/gte-ops/ca.pem"\n'
    if pair:
        tls = f'certificate = "{pair}/chain.pem"\nprivate_key = "{pair}/key.pem"\nca_file = "{pair}/ca.pem"\n'
    serving = _SERVING.replace("BIND", bind) if bind else ""
    return f'[target]\ndomain = "{DOMAIN}"\n{serving}\n[tls]\n{tls}'


SETTINGS = settings_text()


def make_layer(directory: Path) -> Path:
    """Write the layer into ``directory``, an empty one, and return it. As root."""
    make_environment(directory)
    _units(directory)
    _site(directory)
    _write(directory / "etc/gte-ops/gte-ops.toml", SETTINGS)
    _write(directory / "etc/gte-api/environment", "GTE_ENGINE=embedded\n")
    (file,) = render("logrotate", Deployment())
    _write(directory / file.path.lstrip("/"), file.text)
    return directory


def make_environment(directory: Path, python: str = "3.11") -> Path:
    """Write the Python environment alone into ``directory``, as `pip install` would leave it, and return it.

    ``python``: the host's version. For another one than ours pip fetches the same versions' wheels."""
    packages = directory / f"opt/gte-api/venv/lib/python{python}/site-packages"
    _environment(directory / "opt/gte-api/venv", packages, python)
    for name in SOURCES:
        source, target = REPOSITORY / name, packages / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.copytree(REPOSITORY / "deploy", packages / "ops/deployment/files")
    return directory


def _environment(venv: Path, packages: Path, python: str) -> None:
    """A virtual environment of the host's own Python, with this environment's packages as hard links, if they fit."""
    packages.mkdir(parents=True)
    binaries = venv / "bin"
    binaries.mkdir()
    _write(venv / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    (binaries / "python3").symlink_to("/usr/bin/python3")
    (binaries / "python").symlink_to("python3")
    names = needed_distributions("gte-ops[embedded]", python)
    if python != _OWN_PYTHON:
        _fetch(names, packages, binaries, python)
    for name in names if python == _OWN_PYTHON else ():
        for file in metadata.distribution(name).files or ():
            source = Path(str(file.locate())).resolve()
            if "__pycache__" in file.parts or not source.is_file():
                continue
            if ".." not in file.parts:
                _link(source, packages / file)
            elif file.parent.name == "bin" and source.read_bytes()[:2] != b"#!":
                _link(source, binaries / file.name)
    version = metadata.version("gte-ops")
    about = packages / f"gte_ops-{version}.dist-info"
    # An egg-info that pip leaves in the checkout may be found first: it holds the same under another name (PKG-INFO).
    _write(about / "METADATA", str(metadata.metadata("gte-ops")))
    _script(binaries / "gte-ops", "gte_ops", "main")
    _script(binaries / "gunicorn", "gunicorn.app.wsgiapp", "run")


def _fetch(names: list[str], packages: Path, binaries: Path, python: str) -> None:
    """Have pip put the wheels of these distributions, in this environment's versions, into ``packages``."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
            *("--target", str(packages), "--python-version", python, "--only-binary=:all:"),
            *(f"{name}=={metadata.version(name)}" for name in names),
        ],
        check=True,
        timeout=600,
        capture_output=True,
    )
    for program in (packages / "bin").iterdir():
        if program.read_bytes()[:2] != b"#!":
            shutil.move(program, binaries / program.name)


def needed_distributions(wanted: str, python: str = _OWN_PYTHON) -> list[str]:
    """The distributions that ``wanted`` needs, itself excepted, as installed in this environment."""
    environment: dict[str, str | AbstractSet[str]] = {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    names: set[tuple[str, str]] = set()
    pending = [Requirement(wanted)]
    while pending:
        requirement = pending.pop()
        extras = requirement.extras or {""}
        key = (canonicalize_name(requirement.name), ",".join(sorted(extras)))
        if key in names:
            continue
        names.add(key)
        for line in metadata.requires(requirement.name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({**environment, "extra": extra}) for extra in extras
            ):
                pending.append(needed)
    return sorted({name for name, _ in names} - {"gte-ops"})


def _script(path: Path, module: str, function: str) -> None:
    _write(
        path,
        f"#!/opt/gte-api/venv/bin/python3\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n",
        0o755,
    )


def _units(directory: Path) -> None:
    """The units, enabled as docs/deployment.md says, the accounts, and the directories."""
    units = directory / "etc/systemd/system"
    for source in sorted((REPOSITORY / "deploy/systemd").iterdir()):
        if source.is_file():
            _write(units / source.name, source.read_text())
    for kind in ("sysusers.d", "tmpfiles.d"):
        _write(
            directory / "etc" / kind / "gte-ops.conf",
            (REPOSITORY / "deploy/systemd" / kind / "gte-ops.conf").read_text(),
        )
    _write(
        units / "logrotate.timer.d/gte-ops.conf",
        (REPOSITORY / "deploy/systemd/logrotate.timer.d/gte-ops.conf").read_text(),
    )
    for unit, target in (
        ("gte-api.service", "multi-user.target"),
        ("gte-ops-watchdog.service", "multi-user.target"),
        ("gte-ops-backup.timer", "timers.target"),
        ("gte-ops-drill.timer", "timers.target"),
        ("gte-ops-cert.timer", "timers.target"),
    ):
        wants = units / f"{target}.wants"
        wants.mkdir(exist_ok=True)
        (wants / unit).symlink_to(f"/etc/systemd/system/{unit}")


def _site(directory: Path) -> None:
    authority = Authority()
    _write(directory / "etc/gte-ops/ca.pem", authority.root.pem.decode())
    lineage = write_lineage(directory / "etc/letsencrypt", DOMAIN, authority.issue([DOMAIN]))
    renewal = directory / "etc/letsencrypt/renewal" / f"{DOMAIN}.conf"
    renewal.write_text(renewal.read_text().replace(str(directory), ""))
    live = f"/{lineage.relative_to(directory)}"
    site = NginxSite(
        domain=DOMAIN,
        public_url=f"https://{DOMAIN}",
        certificate=f"{live}/fullchain.pem",
        private_key=f"{live}/privkey.pem",
    )
    for path, text in render_nginx(site).items():
        _write(directory / "etc/nginx" / path, text)
    (directory / "var/www/letsencrypt").mkdir(parents=True)
    # The distribution's example site: in an overlay, a device 0:0 hides what lies below (overlayfs.rst, whiteouts).
    (directory / "etc/nginx/sites-enabled").mkdir()
    os.mknod(directory / "etc/nginx/sites-enabled/default", stat.S_IFCHR, os.makedev(0, 0))


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy(source, target)
