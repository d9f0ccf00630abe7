"""Which module of a traceback's last import is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.collect.services.damaged_modules import damaged_modules


def test_a_root_that_may_not_be_looked_at_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importer = tmp_path / "app.py"
    importer.write_text("import rates\n")
    (tmp_path / "rates.py").write_bytes(b"a = 1\0")
    exists = Path.exists

    def refused(path: Path) -> bool:
        if str(path).startswith("/closed/"):
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    output = (
        'Traceback (most recent call last):\n  File "/closed/lib/site-packages/x.py", line 1, in <module>\n'
        f'  File "{importer}", line 1, in <module>\n    import rates\n'
        "SyntaxError: source code string cannot contain null bytes\n"
    )
    assert damaged_modules("/closed/app", output) == (str(tmp_path / "rates.py"),)
