"""A program is found where nobody else decides what it is, and never where the caller happens to stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.files.programs import reason_not_to_run, refused_program, search, trusted_path, trusted_program


def program(directory: Path, name: str = "tool", text: str = "#!/bin/sh\n") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("path", ["", ".", ":", "bin", "./bin:", "../x/bin"])
def test_the_working_directory_is_no_place_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    program(tmp_path)
    program(tmp_path / "bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    assert search("tool") is None
    monkeypatch.setenv("PATH", f"{path}:{tmp_path}/bin")
    assert search("tool") == f"{tmp_path}/bin/tool"


def test_what_cannot_be_run_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "first" / "tool").mkdir(parents=True)
    program(tmp_path / "second").chmod(0o644)
    there = program(tmp_path / "third")
    path = ":".join(str(tmp_path / name) for name in ("none", "first", "second", "third"))
    assert search("tool", path) == str(there)
    assert search("/a/place/of/its/own", path) == "/a/place/of/its/own"


def test_what_others_may_write_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(path.parent))
    assert (trusted_program("tool"), refused_program("tool")) == (str(path), None)
    path.chmod(0o777)
    assert reason_not_to_run(str(path)) == f"everybody may write {path}"
    assert trusted_program("tool") is None
    assert refused_program("tool") == f"{path} is not run: everybody may write {path}"
    assert (trusted_program("none"), refused_program("none")) == (None, None)
    path.chmod(0o755)
    path.parent.chmod(0o777)
    assert trusted_program("tool") is None


def test_a_script_is_what_its_interpreter_makes_of_it(tmp_path: Path) -> None:
    interpreter = program(tmp_path, "sh")
    script = program(tmp_path, "tool", f"#! {interpreter} -e\n")
    assert reason_not_to_run(str(script)) is None
    interpreter.chmod(0o757)
    assert reason_not_to_run(str(script)) == f"everybody may write {interpreter}"


def test_what_env_finds_is_what_a_script_runs_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = program(tmp_path, "tool", "#!/usr/bin/env -S language -x\n")
    language = program(tmp_path / "bin", "language")
    monkeypatch.setenv("PATH", f"{language.parent}:/usr/bin")
    assert reason_not_to_run(str(script)) is None
    language.chmod(0o777)
    assert reason_not_to_run(str(script)) == f"everybody may write {language}"
    assert reason_not_to_run(str(script), "/usr/bin") is None


def test_of_a_path_only_directories_of_nobody_else_stay(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert trusted_path(f"{tmp_path}/open:/usr/bin:bin::/tmp:{tmp_path}") == f"/usr/bin:{tmp_path}"
    assert trusted_path("") == os.defpath
