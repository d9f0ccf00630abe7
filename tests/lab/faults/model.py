"""The production model's files."""

from __future__ import annotations

import shutil

from tests.lab.faults.case import answers, fault
from tests.lab.stack import MODEL, Stack


def _serve_the_model(stack: Stack) -> None:
    """Restart the service so that it looks for the production model."""
    stack.set_service_environment(GTE_ENGINE="auto", GTE_MODEL_DIR=str(stack.model_dir))
    stack.stop_gunicorn()
    stack.start_gunicorn(wait="listening")


@fault("MOD001", sees=answers(503, path="/ready"))
def model_is_missing(stack: Stack) -> None:
    shutil.rmtree(stack.model_dir)
    _serve_the_model(stack)


@fault("MOD001", sees=lambda stack: stack.predict().status == 200, severity="warn")
def model_is_missing_while_another_engine_serves(stack: Stack) -> None:
    shutil.rmtree(stack.model_dir)


@fault("MOD002", sees=answers(503, path="/ready"))
def model_lies_one_directory_too_deep(stack: Stack) -> None:
    outer = stack.model_dir.with_name("outer")
    outer.mkdir()
    stack.model_dir.rename(outer / MODEL)
    outer.rename(stack.model_dir)
    _serve_the_model(stack)


@fault("MOD003", sees=answers(503, path="/ready"))
def model_is_still_an_archive(stack: Stack) -> None:
    shutil.make_archive(str(stack.model_dir), "zip", stack.model_dir.parent, MODEL)
    shutil.rmtree(stack.model_dir)
    _serve_the_model(stack)


@fault("MOD003", sees=lambda stack: stack.predict().status == 200, severity="warn")
def model_is_still_a_tarball_beside_an_empty_directory(stack: Stack) -> None:
    shutil.make_archive(str(stack.model_dir), "tar", stack.model_dir.parent, MODEL)
    shutil.rmtree(stack.model_dir)
    stack.model_dir.mkdir()
