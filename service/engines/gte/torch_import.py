"""Import torch without what only its compiler needs: a third of the import's processor time.

``torch._meta_registrations`` defines in Python what shape the result of each operation has, and imports torch's
decompositions and references for that: 0.9 of 2.8 s of processor time (torch 2.13, 2026-11-30). An engine computes on
real tensors and never asks. torch has no switch for it, so an empty module takes its place while torch is imported;
whoever imports the module later gets the real one.
"""

import importlib
import os
import sys
from types import ModuleType
from typing import NoReturn

_LEFT_OUT = "torch._meta_registrations"
# Set for the second attempt of a process whose first attempt failed.
_WHOLE = "GTE_ENGINE_WHOLE_TORCH"


def import_torch() -> ModuleType:
    """torch, imported. If another version of torch needs what is left out, this process starts itself again and then
    imports torch whole.

    Raises:
        ImportError: torch is not installed.
    """
    if "torch" in sys.modules or _WHOLE in os.environ:
        return importlib.import_module("torch")
    sys.modules[_LEFT_OUT] = ModuleType(_LEFT_OUT)
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise
        _start_again()
    except Exception:  # noqa: BLE001  it can be missed in any way
        _start_again()
    finally:
        sys.modules.pop(_LEFT_OUT, None)


def _start_again() -> NoReturn:
    # A torch whose import has failed halfway cannot be imported in the same process.
    os.environ[_WHOLE] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  no shell
