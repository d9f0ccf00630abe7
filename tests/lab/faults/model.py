"""The production model's files."""

from __future__ import annotations

import json
import os
import shutil

from tests.lab.faults.case import answers, fault
from tests.lab.stack import MODEL, Stack
from tests.lab.waiting import wait_for


def _serve_the_model(stack: Stack) -> None:
    """Restart the service so that it looks for the production model, and wait until it has looked."""
    stack.set_service_environment(GTE_ENGINE="auto", GTE_MODEL_DIR=str(stack.model_dir))
    stack.stop_gunicorn()
    stack.start_gunicorn(wait="listening")
    wait_for(
        lambda: b'"loading"' not in stack.request(path="/ready", door="backend").body,
        "the service to have looked for its model",
        within=20,
    )


@fault("MOD001", sees=answers(503, path="/ready"), explains=("MOD006",))
def model_is_missing(stack: Stack) -> None:
    shutil.rmtree(stack.model_dir)
    _serve_the_model(stack)


@fault("MOD001", sees=lambda stack: stack.predict().status == 200, severity="warn")
def model_is_missing_while_another_engine_serves(stack: Stack) -> None:
    shutil.rmtree(stack.model_dir)


@fault("MOD002", sees=answers(503, path="/ready"), explains=("MOD006",))
def model_lies_one_directory_too_deep(stack: Stack) -> None:
    outer = stack.model_dir.with_name("outer")
    outer.mkdir()
    stack.model_dir.rename(outer / MODEL)
    outer.rename(stack.model_dir)
    _serve_the_model(stack)


@fault("MOD003", sees=answers(503, path="/ready"), explains=("MOD006",))
def model_is_still_an_archive(stack: Stack) -> None:
    shutil.make_archive(str(stack.model_dir), "zip", stack.model_dir.parent, MODEL)
    shutil.rmtree(stack.model_dir)
    _serve_the_model(stack)


@fault("MOD003", sees=lambda stack: stack.predict().status == 200, severity="warn")
def model_is_still_a_tarball_beside_an_empty_directory(stack: Stack) -> None:
    shutil.make_archive(str(stack.model_dir), "tar", stack.model_dir.parent, MODEL)
    shutil.rmtree(stack.model_dir)
    stack.model_dir.mkdir()


@fault("MOD004", sees=answers(503, path="/ready"), explains=("MOD006",))
def model_may_not_be_read(stack: Stack) -> None:
    if os.geteuid() == 0:
        # As under a unit with CapabilityBoundingSet=: a root that may not read what is another user's alone.
        stack.launcher = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        for place in (stack.model_dir, *stack.model_dir.iterdir()):
            os.chown(place, 65534, 65534)
        stack.model_dir.chmod(0o700)
    else:
        (stack.model_dir / "config.json").chmod(0)
    _serve_the_model(stack)


@fault("MOD004", sees=lambda stack: stack.predict().status == 200, severity="warn")
def one_file_of_the_model_may_not_be_read(stack: Stack) -> None:
    weights = stack.model_dir / "model.safetensors"
    if os.geteuid() == 0:
        stack.launcher = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        os.chown(weights, 65534, 65534)
    weights.chmod(0o600 if os.geteuid() == 0 else 0)
    stack.restart_gunicorn()


@fault("MOD005", sees=answers(503, path="/ready"), explains=("MOD006",))
def weights_are_truncated(stack: Stack) -> None:
    weights = stack.model_dir / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2])
    _serve_the_model(stack)


@fault("MOD005", sees=lambda stack: stack.predict().status == 200, severity="warn")
def weights_are_a_pointer(stack: Stack) -> None:
    (stack.model_dir / "model.safetensors").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 1302134568\n"
    )


@fault("MOD005", sees=lambda stack: stack.predict().status == 200, severity="warn")
def vocabulary_is_empty(stack: Stack) -> None:
    (stack.model_dir / "vocab.txt").write_bytes(b"")


@fault("MOD005", sees=lambda stack: stack.predict().status == 200, severity="warn")
def a_shard_is_missing(stack: Stack) -> None:
    stack.model_dir.joinpath("model.safetensors").rename(stack.model_dir / "model-00001-of-00002.safetensors")
    shards = {"w": "model-00001-of-00002.safetensors", "v": "model-00002-of-00002.safetensors"}
    (stack.model_dir / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


@fault("MOD006", sees=answers(503, path="/ready"))
def model_does_not_load(stack: Stack) -> None:
    """Whole and in its place, but its weights are no model's."""
    _serve_the_model(stack)
