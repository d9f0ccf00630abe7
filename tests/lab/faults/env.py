"""The Python environment the service runs in: a real virtual environment, with links to this one's packages."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers, fault
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


def environment(stack: Stack, *, without: tuple[str, ...] = ()) -> Path:
    """Makes a virtual environment for the service, and has it run there from its next start. Returns where its packages
    lie: all of this environment's, but not ``without``."""
    folder = stack.app_dir / "venv"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True, timeout=30
    )
    (packages,) = folder.glob("lib/python3*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.suffix != ".pth" and not entry.name.lower().startswith(without or "\0"):
            (packages / entry.name).symlink_to(entry)
    stack.python = str(folder / "bin" / "python")
    stack.config["app"]["python"] = stack.python
    stack.write_config()
    return packages


def installed(packages: Path, name: str, version: str) -> None:
    """Leaves the metadata that pip leaves for a package (PyPA: recording installed projects)."""
    metadata = packages / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def serves(stack: Stack) -> bool:
    """Users meet nothing yet."""
    return stack.predict().status == 200


@fault("ENV001", sees=answers(502), explains=("GUN003", "GUN001"), app=PLAIN_APP)
def flask_is_not_installed(stack: Stack) -> None:
    environment(stack, without=("flask",))
    stack.stop_gunicorn()
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: "Worker failed to boot" in stack.gunicorn_said(), "gunicorn to give up", within=20)
    wait_for(lambda: stack.gunicorn_master is None, "gunicorn to end", within=20)


@fault("ENV001", sees=serves)
def a_package_that_is_listed_is_missing(stack: Stack) -> None:
    stack.config["app"]["requires"] = ["flask", "gunicorn", "sentencepiece-for-this-lab"]
    stack.write_config()


@fault("ENV002", sees=serves, severity="warn")
def modelscope_is_too_old(stack: Stack) -> None:
    installed(environment(stack), "modelscope", "1.9.5")
    stack.restart_gunicorn()


@fault(
    "ENV003",
    sees=serves,
    severity="warn",
    impossible=lambda: "this machine has an NVIDIA GPU" if list(Path("/dev").glob("nvidia*")) else None,
)
def torch_is_built_for_a_gpu(stack: Stack) -> None:
    """The build's metadata without its gigabytes: nothing but the metadata is looked at."""
    packages = environment(stack)
    installed(packages, "torch", "2.9.1+cu128")
    installed(packages, "nvidia_cuda_runtime_cu12", "12.8.90")
    stack.restart_gunicorn()
