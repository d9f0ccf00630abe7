"""Why something is not in a backup, or cannot be written, as an operator reads it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ops.archive.manifest import RequestedPath
from ops.backup import list_backups
from ops.backups.scan import Survey
from ops.errors import OpsError
from ops.report.backup import BackupPlanReport
from ops.settings import BackupSettings, Settings
from ops.text.reasons import root_hint


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_root_is_advised_for_a_missing_permission(number: int) -> None:
    hint = root_hint(OSError(number, os.strerror(number)))
    assert (hint.en, hint.zh) == ("; run it as root", "；请以 root 运行")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.ELOOP])
def test_root_is_not_advised_for_anything_else(number: int) -> None:
    hint = root_hint(OSError(number, os.strerror(number)))
    assert (hint.en, hint.zh) == ("", "")


def test_a_file_in_the_place_of_the_backups_is_not_blamed_on_the_user(tmp_path: Path) -> None:
    place = tmp_path / "backups"
    place.write_text("")
    with pytest.raises(OpsError) as caught:
        list_backups(Settings(backup=BackupSettings(dir=str(place))))
    assert caught.value.words.en == f"{place}: Not a directory"
    assert "请以 root 运行" not in caught.value.words.zh


def test_a_chinese_report_says_in_chinese_why_a_file_is_left_out() -> None:
    survey = Survey(left_out={"/etc/nginx/x": "it is a FIFO"})
    survey.asked.append(RequestedPath(path="/etc/nginx/y", what="nginx", missing="its name is not UTF-8"))
    lines = "\n".join(line.words for line in BackupPlanReport(survey).lines("zh"))
    assert "它是命名管道" in lines
    assert "文件名不是 UTF-8" in lines
    assert "it is" not in lines
    assert "its name" not in lines
