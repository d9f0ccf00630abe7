"""What pyproject.toml cannot say: the wheel holds deploy/, man pages, the shells' completion and a compiled library.

The files of deploy/ are copied below ops/deployment, where the toolkit looks for them; man pages and completion are
made from the commands, and installed below share/. The library is plain C, loaded by ctypes, so one wheel serves every
Python; without a compiler the wheel is built without it, and torch computes in its place.
"""

from __future__ import annotations

import platform
import sys
from collections import defaultdict
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGED = Path("ops", "deployment", "files")


class BuildWithData(build_py):
    """Adds what is not a module. An editable install reads the checkout's deploy/, and has no man pages."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._deployment_files():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)
            self.distribution.data_files = self._shared_files()

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        copied = [] if self.editable_mode else [target for _, target in self._deployment_files()]
        return [*super().get_outputs(include_bytecode), *copied]

    def _deployment_files(self) -> list[tuple[str, str]]:
        """Each file of deploy/ and its place in the build."""
        source = ROOT / "deploy"
        target = Path(self.build_lib) / PACKAGED
        return [
            (str(file), str(target / file.relative_to(source)))
            for file in sorted(source.rglob("*"))
            if file.is_file()
        ]

    def _shared_files(self) -> list[tuple[str, list[str]]]:
        """The files for share/, made in the build's temporary directory, by the directory that they go to."""
        sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
        import man_pages

        made = Path(self.get_finalized_command("build").build_temp) / "share"
        folders: dict[str, list[str]] = defaultdict(list)
        for file in man_pages.write(made):
            folders[str("share" / file.relative_to(made).parent)].append(str(file))
        # Beside its place in the package, where a person finds it.
        folders["share/gte-ops/certbot"] = [str(Path("deploy", "certbot", "reload-nginx"))]
        return list(folders.items())


class BuildLibrary(build_ext):
    """A library that is no module: without a Python version in its name, and without an initialising function."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return list(ext.export_symbols)


class AnyPython(bdist_wheel):
    """A wheel for this system and processor, and for every Python."""

    def get_tag(self) -> tuple[str, str, str]:
        # The library calls nothing of the C library, so any that chooses functions by processor will do (PEP 600);
        # an index takes no wheel for "linux".
        system = super().get_tag()[2]
        is_glibc = platform.libc_ver()[0] == "glibc"
        return "py3", "none", system.replace("linux_", "manylinux_2_17_", 1) if is_glibc else system


# Nobody asks for the processor's floating-point exceptions or for errno, which keep gcc from using vectors.
ROW_PASSES = Extension(
    "service.engines.gte.librow_passes",
    ["service/engines/gte/row_passes.c"],
    extra_compile_args=["-O3", "-fno-trapping-math", "-fno-math-errno"],
    optional=True,
)

setup(
    cmdclass={"build_py": BuildWithData, "build_ext": BuildLibrary, "bdist_wheel": AnyPython},
    ext_modules=[ROW_PASSES],
)
