"""Where an interpreter keeps its packages, read as files."""

from __future__ import annotations

from pathlib import Path

from ops.collect.host.environment import package_directories, packages_in


def python_in(prefix: Path, version: str = "3.11") -> Path:
    (prefix / "bin").mkdir(parents=True)
    program = prefix / "bin" / f"python{version}"
    program.touch()
    (prefix / "bin" / "python").symlink_to(program.name)
    (prefix / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    return prefix / "bin" / "python"


def venv_of(base: Path, folder: Path, *, system: bool = False) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(base)
    (folder / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = {str(system).lower()}\nversion = 3.11.7\n"
    )
    return folder / "bin" / "python"


def test_a_virtual_environment_is_not_the_interpreter_it_links_to(tmp_path: Path) -> None:
    base = python_in(tmp_path / "base")
    python = venv_of(base, tmp_path / "venv")
    assert package_directories(python) == (tmp_path / "venv/lib/python3.11/site-packages",)


def test_one_that_sees_the_systems_packages_too(tmp_path: Path) -> None:
    base = python_in(tmp_path / "base")
    (tmp_path / "base" / "bin" / "python3").symlink_to("python3.11")
    python = venv_of(base, tmp_path / "venv", system=True)
    assert tmp_path / "base/lib/python3.11/site-packages" in package_directories(python)


def test_an_interpreter_without_one_and_its_users_own_packages(tmp_path: Path) -> None:
    python = python_in(tmp_path / "base")
    directories = package_directories(python, tmp_path / "home")
    assert directories == (
        tmp_path / "base/lib/python3.11/site-packages",
        tmp_path / "home/.local/lib/python3.11/site-packages",
    )


def test_of_two_versions_side_by_side_the_interpreters_own(tmp_path: Path) -> None:
    python = python_in(tmp_path / "base")
    (tmp_path / "base/lib/python3.12/site-packages").mkdir(parents=True)
    assert package_directories(python) == (tmp_path / "base/lib/python3.11/site-packages",)


def test_path_files_add_directories_and_run_nothing(tmp_path: Path) -> None:
    python = venv_of(python_in(tmp_path / "base"), tmp_path / "venv")
    packages = tmp_path / "venv/lib/python3.11/site-packages"
    (tmp_path / "more").mkdir()
    (packages / "more.pth").write_text(f"# a comment\nimport os; os.abort()\n{tmp_path}/more\n/not/there\n")
    assert package_directories(python) == (packages, tmp_path / "more")


def test_names_are_compared_as_pip_does_and_what_pip_removes_is_not_there(tmp_path: Path) -> None:
    for name in (
        "Flask-3.1.3.dist-info",
        "ruamel.yaml-0.18.dist-info",
        "torch-2.9.1+cu128.dist-info",
        "PyYAML-5.4.1-py3.11.egg-info",
        "~unicorn-27.0.dist-info",
        "flask",
        "distutils-precedence.pth",
    ):
        (tmp_path / name).mkdir()
    (tmp_path / "mine.egg-link").touch()
    assert packages_in([tmp_path, tmp_path / "gone"]) == {
        "flask": "3.1.3",
        "ruamel-yaml": "0.18",
        "torch": "2.9.1+cu128",
        "pyyaml": "5.4.1",
        "mine": "",
    }
