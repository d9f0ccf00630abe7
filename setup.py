"""What pyproject.toml cannot say: the files of deploy/ are packaged below ops/deployment."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGED = Path("ops", "deployment", "files")


class BuildWithDeployment(build_py):
    """Copies deploy/ into the package. An editable install reads the checkout's own."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._deployment_files():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

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


setup(cmdclass={"build_py": BuildWithDeployment})
