"""The engine imports torch without the part that only torch's compiler needs, whatever version of torch there is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from service.engines.gte.torch_import import import_torch
torch = import_torch()
import torch._meta_registrations
print(torch.value, "part" if hasattr(torch, "left_out") else "whole", torch._meta_registrations.value, sys.argv[1:])
"""
META = "value = 'real'\n"


@pytest.mark.parametrize(
    ("init", "printed"),
    [
        # As torch does: imported for its effect.
        ("import torch._meta_registrations as m\nvalue = 1\nif not hasattr(m, 'value'): left_out = 1\n", "1 part real"),
        ("from torch._meta_registrations import value as needed\nvalue = 2\n", "2 whole real"),
        ("import torch._meta_registrations as m\nvalue = m.value\n", "real whole real"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_imported_where_it_is_needed(init: str, printed: str, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(init)
    (tmp_path / "torch/_meta_registrations.py").write_text(META)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = str(Path(__file__).parents[3])
    ran = subprocess.run(
        [sys.executable, str(program), "argument"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert ran.stdout.strip() == f"{printed} ['argument']"


def test_a_missing_torch_is_reported_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from service.engines.gte import torch_import

    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:2])  # without editable installs
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match="torch"):
        torch_import.import_torch()
    assert "torch._meta_registrations" not in sys.modules
