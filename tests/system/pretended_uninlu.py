"""The extractor's true process with a model that is none: it does what the text says, and needs no torch."""

from pathlib import Path

from service.engines.uninlu.engine import UninluLaunch

PRETENDER = """
import os, sys, time, types
sys.modules["torch"] = types.SimpleNamespace(set_num_threads=lambda threads: None)
from service.engines.uninlu import process

class Model:
    has_scores = True
    def paths(self, text, schema, every_prefix, seconds):
        if text == "sleep": time.sleep(600)
        while text == "spin": pass
        if text == "exit": os._exit(3)
        if text == "wrong": raise ValueError(text)
        if text == "slow": time.sleep(0.5)
        return [[{"type": "pid", "text": str(os.getpid()), "start": 0, "end": 1}]]

process._prepare = lambda *_: lambda: Model()
process.main()
"""
LAUNCH = UninluLaunch(Path(), threads=1, trusts_code=False, program=("-c", PRETENDER))
