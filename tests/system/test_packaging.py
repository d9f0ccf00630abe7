"""What a user installs: the wheel built from the source distribution, run in an environment without the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.system.conftest import Gunicorn

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"


@dataclass(frozen=True)
class Packages:
    """The two archives, and an environment that has the wheel and beside it only the dependencies."""

    sdist: Path
    wheel: Path
    environment: Path

    def gte_ops(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the installed program from the root directory, where no checkout can be found by accident."""
        return subprocess.run(
            [str(self.environment / "bin" / "gte-ops"), *arguments],
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"} | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    ran = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    folder = tmp_path_factory.mktemp("packages")
    # A copy: builds write into their source, and would take up what an earlier one left there.
    source = folder / "source"
    for name in run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    sdist = folder / run(sys.executable, "-c", BUILD, folder, cwd=source).splitlines()[-1]
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    offline = ("--quiet", "--no-deps", "--no-index")
    run(*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, unpacked)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    run(*pip, "--python", environment / "bin" / "python", "install", *offline, wheel)
    # A plain line adds the directory alone: the .pth files in it, one of which leads to the checkout, are not read.
    (own,) = environment.glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Packages(sdist, wheel, environment)


def packages_of(packages: Packages) -> Path:
    """The environment's site-packages."""
    (folder,) = packages.environment.glob("lib/python*/site-packages")
    return folder


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_installed_program_is_the_wheels(packages: Packages) -> None:
    where = run(
        packages.environment / "bin" / "python", "-c", "import ops; print(ops.__file__)", cwd=Path("/")
    )
    assert Path(where).is_relative_to(packages.environment)


def test_every_file_of_deploy_is_in_both_archives(packages: Packages) -> None:
    files = {file.relative_to(ROOT / "deploy") for file in (ROOT / "deploy").rglob("*") if file.is_file()}
    assert files
    assert {f"ops/deployment/files/{file}" for file in files} <= contents(packages.wheel)
    with tarfile.open(packages.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"deploy/{file}" for file in files} <= names


def test_every_data_file_of_the_packages_is_in_the_wheel(packages: Packages) -> None:
    tracked = run("git", "ls-files", "-z", "ops", "service").split("\0")
    assert {name for name in tracked if name and (ROOT / name).is_file()} - contents(packages.wheel) == set()


def test_one_wheel_with_the_compiled_library_serves_every_python(packages: Packages) -> None:
    library = "service/engines/gte/librow_passes.so"
    assert library in contents(packages.wheel)
    assert "-py3-none-manylinux_2_17_" in packages.wheel.name
    needed = run("ldd", packages_of(packages) / library)
    assert needed.strip() == "statically linked", "a wheel for many systems may need no library of this one"
    run(
        sys.executable,
        "-c",
        f"import ctypes; ctypes.CDLL({str(packages_of(packages) / library)!r}).gte_levels",
    )


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("nginx", "limit_req_zone"),
        ("systemd", "[Service]"),
        ("logrotate", "postrotate"),
        ("cron", "gte-ops watchdog"),
        ("prometheus", "scrape_configs:"),
    ],
)
def test_the_installed_program_renders(packages: Packages, kind: str, line: str) -> None:
    ran = packages.gte_ops("render", kind)
    assert ran.returncode == 0, ran.stderr
    assert line in ran.stdout


@pytest.mark.parametrize("page", ["any-application.md", "any-application.zh-CN.md"])
def test_the_middleware_is_copied_by_the_line_of_its_page(
    packages: Packages, page: str, tmp_path: Path
) -> None:
    """From the toolkit's environment, and then it works in another."""
    (line,) = [
        one.strip()
        for one in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
        if one.lstrip().startswith("cp ")
    ]
    path = f"{packages.environment / 'bin'}:/usr/bin:/bin"
    run("env", f"PATH={path}", "bash", "-c", line.replace("/srv/shop/", str(tmp_path)), cwd=Path("/"))
    run(sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import gte_progress")


def test_man_pages_of_every_command_are_installed(packages: Packages) -> None:
    pages = packages.environment / "share" / "man" / "man1"
    assert {"gte-ops.1", "gte-ops-doctor.1", "gte-ops-backup-create.1"} <= {
        page.name for page in pages.iterdir()
    }
    listed = re.findall(r"^  (\w+)  ", packages.gte_ops("--help").stdout, re.MULTILINE)
    assert "doctor" in listed
    for command in listed:
        page = (pages / f"gte-ops-{command}.1").read_text().replace("\\-", "-")
        for option in re.findall(
            r"^  (?:-\w, )?(--[a-z-]+)", packages.gte_ops(command, "--help").stdout, re.MULTILINE
        ):
            assert option in page, (command, option)


def test_certbots_hook_is_installed_as_a_program(packages: Packages) -> None:
    hook = packages.environment / "share" / "gte-ops" / "certbot" / "reload-nginx"
    assert hook.read_text() == (ROOT / "deploy" / "certbot" / "reload-nginx").read_text()
    assert os.access(hook, os.X_OK)


def test_bash_completes_what_the_installed_program_offers(packages: Packages) -> None:
    asked = """
        . "$1/share/bash-completion/completions/gte-ops"
        complete -p gte-ops
        COMP_WORDS=(gte-ops explain GUN00) COMP_CWORD=2
        _gte_ops_completion gte-ops
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    ran = subprocess.run(
        ["bash", "-c", asked, "bash", str(packages.environment)],
        env={"PATH": f"{packages.environment}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "GUN001" in ran.stdout.splitlines()
    for place in ("zsh/site-functions/_gte-ops", "fish/vendor_completions.d/gte-ops.fish"):
        assert "_GTE_OPS_COMPLETE" in (packages.environment / "share" / place).read_text()


def test_the_installed_program_explains_a_cause(packages: Packages) -> None:
    ran = packages.gte_ops("explain", "GUN001", "--lang", "en")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("GUN001")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('__version__ = "3.0.0"\n', id="works"),
        pytest.param("import of_a_charm_that_is_not_installed\n", id="fails"),
        pytest.param(None, id="is a directory"),
    ],
)
def test_another_package_of_the_name_is_told_in_one_line(
    packages: Packages, tmp_path: Path, text: str | None
) -> None:
    # As Canonical's framework for charms, first on the path.
    (tmp_path / "ops").mkdir()
    if text is None:
        (tmp_path / "ops" / "cli").mkdir()
        (packages_of(packages) / "ops").rename(packages_of(packages) / "away")
    else:
        (tmp_path / "ops" / "__init__.py").write_text(text)
    try:
        ran = packages.gte_ops("doctor", PYTHONPATH=str(tmp_path))
    finally:
        if text is None:
            (packages_of(packages) / "away").rename(packages_of(packages) / "ops")
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (3, "", 1)
    assert "'ops' is another project's" in ran.stderr
    assert "pipx install gte-ops" in ran.stderr


def test_the_service_without_its_extra_names_it_in_one_line(packages: Packages) -> None:
    without = f"import sys; sys.path.remove({sysconfig.get_path('purelib')!r}); import service.gunicorn_conf"
    ran = subprocess.run(
        [str(packages.environment / "bin" / "python"), "-I", "-c", without],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr == "service: flask_openapi3 is not installed: pip install 'gte-ops[service]'\n"


# --- the client alone -------------------------------------------------------------------------------------

CLIENT_PROGRAM = """
import asyncio, importlib.util, sys
from gte_api_client import AsyncGteClient, GteClient

for name in ("flask", "torch", "pydantic", "click", "numpy", "httpx", "service", "ops"):
    assert importlib.util.find_spec(name) is None, name
url = sys.argv[1]
with GteClient(url) as client:
    print([entity.text for entity in client.ner("2022年在北京")])
    print(sum(len(vector) for vector in client.embed_stream(f"第{n}条" for n in range(3))))

async def main():
    async def texts():
        for n in range(3):
            yield f"第{n}条"
    async with AsyncGteClient(url) as client:
        print(len([vector async for vector in client.embed_stream(texts())]))

asyncio.run(main())
"""


def needed(requirements: list[str]) -> set[str]:
    """The distributions that pip installs for these lines of metadata, by canonical name."""
    names: set[str] = set()
    todo = [Requirement(line) for line in requirements]
    while todo:
        wanted = todo.pop()
        if canonicalize_name(wanted.name) not in names:
            names.add(canonicalize_name(wanted.name))
            lines = [Requirement(line) for line in distribution(wanted.name).requires or ()]
            todo += [one for one in lines if one.marker is None or one.marker.evaluate({"extra": ""})]
    return names


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of client/, from its source distribution. The copy has files where the checkout has links."""
    folder = tmp_path_factory.mktemp("client-wheel")
    built = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "client", folder / "source", ignore=built)
    sdist = folder / run(sys.executable, "-c", BUILD, folder, cwd=folder / "source").splitlines()[-1]
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, unpacked)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def client_environment(client_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the client's wheel, and beside it only what its metadata names."""
    environment = tmp_path_factory.mktemp("client") / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", client_wheel)
    (site,) = environment.glob("lib/python*/site-packages")
    (metadata,) = site.glob("gte_api_client-*.dist-info/METADATA")
    requirements = [
        line.removeprefix("Requires-Dist: ")
        for line in metadata.read_text(encoding="utf-8").splitlines()
        if line.startswith("Requires-Dist: ")
    ]
    for name in needed(requirements):
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or () if file.parts[0] != ".."}:
            (site / top).symlink_to(Path(str(installed.locate_file(top))).resolve())
    return environment


def test_the_client_s_wheel_has_every_module_and_asks_for_requests_alone(client_wheel: Path) -> None:
    modules = {
        str(Path("gte_api_client", file.name))
        for file in (ROOT / "service" / "client").iterdir()
        if file.is_file()
    }
    assert "gte_api_client/py.typed" in modules
    with zipfile.ZipFile(client_wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        asked = re.findall(r"(?m)^Requires-Dist: (\S+)", archive.read(metadata).decode())
    assert {name for name in names if ".dist-info/" not in name} == modules
    assert [Requirement(line).name for line in asked] == ["requests"]


def test_the_client_works_where_nothing_else_is_installed(
    client_environment: Path, service: Gunicorn
) -> None:
    python = client_environment / "bin" / "python"
    shown = run(python, "-I", "-c", CLIENT_PROGRAM, f"http://127.0.0.1:{service.port}", cwd=Path("/"))
    assert shown.splitlines() == ["['2022年', '北京']", str(3 * 384), "3"]


def test_the_client_works_beside_the_toolkit(packages: Packages, client_wheel: Path) -> None:
    """Neither owns a file of the other: the modules are the same, the packages are not."""
    with zipfile.ZipFile(client_wheel) as archive:
        assert not set(archive.namelist()) & contents(packages.wheel)
    assert {"service/client/__init__.py", "service/client/sync_client.py"} <= contents(packages.wheel)


def test_the_wheel_s_server_command_tells_what_it_would_start(packages: Packages) -> None:
    ran = run(packages.environment / "bin" / "gte-api", "serve", "--dry-run", "--port", "0", cwd=Path("/"))
    assert "-c python:service.gunicorn_conf 'service.app:create_app()'" in ran
