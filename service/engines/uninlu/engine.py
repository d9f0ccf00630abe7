"""The extractor's engine as its worker sees it: a template's fork that answers lines of JSON."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.engines.forkserver import client as template
from service.engines.forkserver.client import LOAD_TIMEOUT, Conversation, LostError, Template
from service.engines.interface import EngineUnavailableError, Slot
from service.engines.liveness import state_of
from service.engines.uninlu import process

SLOT: Slot = "extractor"


@dataclass(frozen=True)
class UninluLaunch:
    """How the template is to be started."""

    directory: Path
    threads: int  # of an engine
    trusts_code: bool
    program: tuple[str, ...] = ("-m", "service.engines.uninlu.process")  # Python's arguments

    def template(self) -> Template:
        """A template that has loaded the model, unless its own code is to load it, after the fork. See ``Template``."""
        arguments = (str(self.directory), str(self.threads), str(int(self.trusts_code)))
        launch = template.ForkserverLaunch("extractor's", SLOT, self.program, arguments, process.ENVIRONMENT)
        return Template(launch)


class UninluEngine:
    """One fork of the template. For one thread."""

    def __init__(self, template: Template, *, may_sleep: bool) -> None:
        """Fork it and wait until it is ready. ``may_sleep``: it loads the model itself, from a disk.

        Raises:
            LostError: the template, or the new engine, ended or was stuck, and has been killed.
            EngineUnavailableError: the engine refuses the model.
        """
        self._fork = template.fork()
        self._conversation = Conversation(self._fork.channel, self.pid)
        try:
            said = self._conversation.hear(time.monotonic() + LOAD_TIMEOUT, may_sleep=may_sleep)
        except LostError as lost:
            raise self._fork.lost(lost) from None
        if not said["ready"]:
            self.end()
            raise EngineUnavailableError(SLOT, said["reason"], said["detail"])
        self.has_scores = bool(said["has_scores"])

    @property
    def pid(self) -> int:
        """The process."""
        return self._fork.pid

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Its answer to ``request``, which should be there in ``seconds``.

        Raises:
            LostError: it ended, or was stuck; it has been killed.
        """
        try:
            self._conversation.say(request)
            return self._conversation.hear(time.monotonic() + seconds, may_sleep=False)
        except LostError as lost:
            raise self._fork.lost(lost) from None

    def idle_loss(self) -> LostError | None:
        """How it was lost while nobody asked it anything, or None; a lost one has been killed."""
        if self._conversation.is_over():
            return self._fork.lost(LostError("ended", "ended"))
        if state_of(self.pid) in ("T", "t"):
            return self._fork.lost(LostError("stuck", "was stopped"))
        return None

    def end(self) -> None:
        """Kill it, if it still runs."""
        self._fork.end()
