"""The production model's files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.diagnosis.checks import model as judges
from ops.diagnosis.finding import NotJudgedError
from ops.facts.base import NotSeen
from ops.facts.files import AccessStep, ModelAccess, ModelFile, ModelProblem, Reader
from ops.facts.gunicorn import ProgressRecord
from ops.facts.snapshot import Snapshot
from ops.interpret.access import READ, may
from ops.text.language import Text
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    AT_BACKEND,
    GUNICORN_PROCESSES,
    GUNICORN_WORKERS,
    HEALTHY,
    MODEL_DIR,
    NOW,
    PREDICT,
    but,
    exchange,
    processes,
    without_gunicorn,
)

UNREADY = but(
    backend__ready=exchange(503, '{"status": "unavailable", "reason": "model"}', **AT_BACKEND),
    backend__predict=exchange(503, "{}", **{**PREDICT, **AT_BACKEND}),
)
NESTED = f"{MODEL_DIR}/{MODEL_DIR.rpartition('/')[2]}"


def files(base: Snapshot = UNREADY, **changes: Any) -> Snapshot:
    return but(base, **{f"model__{name}": value for name, value in changes.items()})


def gone(base: Snapshot = UNREADY, **changes: Any) -> Snapshot:
    return files(
        base, **{"exists": False, "is_directory": False, "entries": (), "has_config": False, **changes}
    )


def nested(base: Snapshot = UNREADY, **changes: Any) -> Snapshot:
    return files(
        base, **{"nested": True, "has_config": False, "entries": (NESTED.rpartition("/")[2],), **changes}
    )


WEIGHTS = f"{MODEL_DIR}/model.safetensors"
SERVICE = Reader(pid=901, user="gte-api", uid=998, gids=(998, 44))

ROOT = Reader(pid=1, user="root", uid=0, gids=(0,), overrides=True)


def directory(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0, **more: Any) -> AccessStep:
    return AccessStep(path=path, is_directory=True, uid=uid, gid=gid, mode=mode, **more)


def file(path: str, mode: int = 0o644, uid: int = 0, gid: int = 0, **more: Any) -> AccessStep:
    return AccessStep(path=path, is_directory=False, uid=uid, gid=gid, mode=mode, **more)


def way(*steps: AccessStep, reader: Reader = SERVICE, base: Snapshot = UNREADY, **more: Any) -> Snapshot:
    return but(base, model_access=ModelAccess(reader=reader, steps=(directory("/"), *steps), **more))


def broken(problem: str, base: Snapshot = UNREADY, **more: Any) -> Snapshot:
    return files(base, files=(ModelFile(path=WEIGHTS, size=9, problem=ModelProblem(problem), **more),))


def not_ready(reason: str, detail: str = "see the log", **more: Any) -> Snapshot:
    body = f'{{"status": "not_ready", "ready": false, "reason": "{reason}", "detail": "{detail}"}}'
    return but(backend__ready=exchange(503, body, **AT_BACKEND), **more)


def worker_started(ago: float) -> Any:
    return processes(
        tuple(
            msgspec.structs.replace(p, started=NOW - ago) if p.pid in GUNICORN_WORKERS else p
            for p in GUNICORN_PROCESSES
        )
    )


def phase(name: str) -> tuple[ProgressRecord, ...]:
    return (ProgressRecord(pid=901, start_ticks=1901, phase=name, completed=0, last_completed=None),)


CASES: list[Case] = [
    fires(
        "MOD004",
        "a directory on the way is closed to the service's user",
        way(directory("/root", 0o700), directory("/root/build")),
        "0700",
        "gte-api",
        severity="fail",
        facts={"path": "/root", "user": "gte-api"},
    ),
    fires("MOD004", "the file itself is another user's alone", way(file(WEIGHTS, 0o600)), "read it"),
    fires("MOD004", "another engine serves", way(file(WEIGHTS, 0o600), base=HEALTHY), severity="warn"),
    fires(
        "MOD004",
        "the owner is shut out though everybody else is not",
        way(file(WEIGHTS, 0o044, uid=998)),
    ),
    fires("MOD004", "the group is shut out though everybody else is not", way(file(WEIGHTS, 0o604, gid=44))),
    quiet("MOD004", "everybody may", way(directory("/srv"), file(WEIGHTS))),
    quiet("MOD004", "its group may", way(directory("/srv", 0o750, gid=44), file(WEIGHTS, 0o640, gid=44))),
    quiet(
        "MOD004",
        "root may",
        way(file(WEIGHTS, 0o600, uid=7), reader=ROOT),
    ),
    quiet("MOD004", "an access control list may let it", way(file(WEIGHTS, 0o600, has_acl=True))),
    fires("MOD005", "empty", broken("empty"), "0 bytes", severity="fail", facts={"path": WEIGHTS}),
    fires("MOD005", "a Git LFS pointer", broken("lfs_pointer"), "Git LFS pointer"),
    fires("MOD005", "cut off", broken("truncated", detail="9 bytes of 12"), "9 bytes of 12"),
    fires("MOD005", "an index names what is not there", broken("absent"), "not there"),
    fires("MOD005", "another engine serves", broken("truncated", base=HEALTHY), severity="warn"),
    quiet("MOD005", "all are whole", files(files=(ModelFile(path=WEIGHTS, size=9),))),
    quiet("MOD005", "we may not read it", broken("unreadable", detail="Permission denied")),
    fires(
        "MOD006",
        "it did not load",
        not_ready("load_failed"),
        "503",
        severity="fail",
        facts={"reason": "load_failed: see the log"},
    ),
    fires("MOD006", "it is not there", not_ready("model_missing")),
    fires(
        "MOD006",
        "it loads for longer than a boot may take",
        not_ready("loading", processes=worker_started(900), activity__progress=()),
        "has run for",
    ),
    quiet("MOD006", "it loads, and may still", not_ready("loading", processes=worker_started(30))),
    quiet(
        "MOD006",
        "a worker's record says that it boots: that is GUN017",
        not_ready("loading", processes=worker_started(900), activity__progress=phase("booting")),
    ),
    quiet("MOD006", "it is busy", not_ready("saturated")),
    quiet("MOD006", "it is ready", HEALTHY),
    quiet("MOD006", "another program's 503", UNREADY),
    fires("MOD001", "the path is absent", gone(), MODEL_DIR, severity="fail"),
    fires("MOD001", "another engine serves all the same", gone(HEALTHY), severity="warn"),
    fires("MOD001", "nothing is known of readiness", gone(but(backend=NotSeen(reason="-"))), severity="fail"),
    fires("MOD001", "the service is down", gone(without_gunicorn()), severity="fail"),
    fires(
        "MOD001",
        "without /ready a prediction tells that it serves",
        gone(but(backend__ready=exchange(404, "{}", **AT_BACKEND))),
        severity="warn",
    ),
    quiet("MOD001", "it is there", HEALTHY),
    quiet("MOD001", "an archive lies beside: that is MOD003", gone(archives=(f"{MODEL_DIR}.zip",))),
    quiet("MOD001", "the directory was not looked at", but(model=NotSeen(reason="-", needs_root=True))),
    fires(
        "MOD002",
        "config.json is one directory below",
        nested(),
        f"{NESTED}/config.json",
        severity="fail",
        facts={"nested_dir": NESTED},
    ),
    fires("MOD002", "another engine serves all the same", nested(HEALTHY), severity="warn"),
    quiet("MOD002", "a copy lies below, but the model is in its place, too", nested(has_config=True)),
    fires(
        "MOD003",
        "the archive is there, the directory is not",
        gone(archives=(f"{MODEL_DIR}.zip",)),
        f"{MODEL_DIR}.zip",
        "does not exist",
        severity="fail",
        facts={"archive": f"{MODEL_DIR}.zip"},
    ),
    fires(
        "MOD003",
        "the directory is empty",
        gone(archives=(f"{MODEL_DIR}.tar.gz",), exists=True, is_directory=True),
        "empty",
    ),
    quiet("MOD003", "unpacked, and the archive was kept", files(archives=(f"{MODEL_DIR}.zip",))),
    quiet("MOD003", "empty, and no archive", gone(exists=True, is_directory=True)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize(
    ("check", "snapshot"),
    [
        (judges.access, way(file(WEIGHTS, 0o600, has_acl=True))),
        (judges.access, way(complete=False)),
        (judges.files, broken("unreadable", detail="Permission denied")),
    ],
    ids=["an access control list", "the way was not seen to its end", "a file may not be read"],
)
def test_what_was_not_seen_is_not_called_in_order(check: Any, snapshot: Snapshot) -> None:
    with pytest.raises(NotJudgedError):
        list(check.judge(**check.inputs(snapshot)))


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "allowed"),
    [
        (0o400, 998, 0, True),
        (0o077, 998, 998, False),
        (0o040, 0, 998, True),
        (0o040, 0, 44, True),
        (0o707, 0, 44, False),
        (0o004, 0, 0, True),
        (0o440, 0, 0, False),
    ],
)
def test_the_first_class_that_fits_decides(mode: int, uid: int, gid: int, allowed: bool) -> None:
    assert may(SERVICE, file(WEIGHTS, mode, uid, gid), READ) is allowed


def _steps(snapshot: Snapshot) -> list[str]:
    fix = found(snapshot)["MOD005"].fix or ()
    return [step.en if isinstance(step, Text) else step for step in fix]


@pytest.mark.parametrize(
    ("source", "problem", "first"),
    [
        (
            "modelscope:iic/nlp_gte",
            "truncated",
            f"modelscope download --model iic/nlp_gte model.safetensors --local_dir {MODEL_DIR}",
        ),
        ("huggingface:a/gte", "truncated", f"hf download a/gte model.safetensors --local-dir {MODEL_DIR}"),
        ("https://models.example.com/gte/", "truncated", "from https://models.example.com/gte/model.safetensors"),
        (None, "truncated", "gte-ops does not know the source: set model.source in gte-ops.toml"),
        ("modelscope:iic/nlp_gte", "lfs_pointer", f"git -C {MODEL_DIR} lfs pull --include model.safetensors"),
    ],
)  # fmt: skip
def test_where_the_file_is_to_be_had_is_said(source: str | None, problem: str, first: str) -> None:
    steps = _steps(but(broken(problem, detail="300 bytes of 400"), target__model_source=source))
    assert first in steps[0]
    assert any("Git LFS" in step or "lfs" in step for step in steps) is (problem == "lfs_pointer")
    if source is None:
        assert "300 bytes of 400" in steps[0]
        assert "compare size and SHA-256" in steps[1]


@pytest.mark.parametrize("has_directory", [True, False])
@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_the_printed_lines_unpack_an_archive_of_either_layout(
    tmp_path: Path, form: str, *, has_directory: bool
) -> None:
    top = "model/" if has_directory else ""
    archive = tmp_path / f"the model.{form}"
    if form == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(f"{top}config.json", "{}")
            file.writestr(f"{top}sub/vocab.txt", "x")
    else:
        source = tmp_path / "source" / top
        (source / "sub").mkdir(parents=True)
        (source / "config.json").write_text("{}")
        (source / "sub" / "vocab.txt").write_text("x")
        members = [f"{top}config.json", f"{top}sub"] if not has_directory else ["model"]
        subprocess.run(["tar", "-czf", archive, "-C", tmp_path / "source", *members], check=True)
    directory = tmp_path / "its place"
    snapshot = but(
        target__model_dir=str(directory),
        target__python_command=sys.executable,
        model=msgspec.structs.replace(gone().model, archives=(str(archive),)),
    )
    unpack, flatten, restart = found(snapshot)["MOD003"].fix or ()
    for line in (str(unpack), str(flatten)):
        subprocess.run(["sh", "-c", line], check=True)
    assert (directory / "config.json").is_file()
    assert (directory / "sub" / "vocab.txt").is_file()
    assert restart == snapshot.target.restart_command
