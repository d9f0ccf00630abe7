"""The tools, by the official SDK. Each runs one command of gte-ops (`ops.mcp.command`) and changes nothing, but for
``repair_apply``, which there is only where the operator allows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from ops import __version__
from ops.mcp.answer import NOTICE, Answer
from ops.mcp.command import Toolkit
from ops.mcp.repair_plan import Plans, fingerprint
from ops.settings import Settings

# Seconds for one answer, besides what the doctor's own budget is.
_QUICK, _SLOW = 30.0, 120.0
_REPAIR = 600.0

Span = Annotated[str, Field(pattern=r"^\d{1,5}[smhd]$", description="A duration: 15m, 2h, 1d.")]
Moment = Annotated[
    str,
    Field(pattern=r"^[0-9T :+.-]{4,40}$", description="The host's time: 02:54, or 2026-11-30 02:54."),
]
Code = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{1,60}$", description="A cause: GUN001.")]
Selector = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{1,60}$")]
ArchiveName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,200}$",
        description="A name from backup_list, without directory.",
    ),
]
Number = Annotated[int, Field(ge=1, le=1_000_000)]

_READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
_CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
_INSTRUCTIONS = (
    "Tools that look at one host of a Chinese NLP service: nginx, gunicorn, its certificates, backups and watchdog."
    " Begin with `doctor`: it names the proven causes, with proof and fix. `explain` tells more about a cause's code,"
    " `timeline` what happened before, `baseline_diff` what has changed since the service was healthy, `route` what"
    " nginx does with a request. No tool changes the host, except repair_apply where it exists. " + NOTICE
)


@dataclass
class RepairPlan:
    """A plan. ``token``: what repair_apply takes; empty where it cannot be applied, and ``note`` says why."""

    plan: Answer
    token: str
    note: str


def make_server(settings: Settings, config: Path | None, language: str) -> MCPServer:
    """The server with its tools, for the host of ``settings``; ``config``: the file that they are from."""
    server = MCPServer("gte-ops", instructions=_INSTRUCTIONS, version=__version__, log_level="ERROR")
    toolkit = Toolkit(config, language)
    _add_diagnosis(server, toolkit, settings)
    _add_safeguards(server, toolkit, settings)
    _add_repair(server, toolkit, settings)
    return server


def _add_diagnosis(server: MCPServer, toolkit: Toolkit, settings: Settings) -> None:
    patience = float(settings.doctor.budget) + _QUICK

    @server.tool(
        annotations=_READS, description=f"Name what is wrong with the service on this host. {NOTICE}"
    )
    def doctor(since: Span | None = None, only: list[Selector] | None = None) -> Answer:
        options = [f"--since={since}"] if since else []
        if only:
            options.append(f"--only={','.join(only[:50])}")
        return toolkit.run(["doctor"], patience, options=options)

    @server.tool(annotations=_READS, description="Explain a cause: meaning, proof, fix, prevention.")
    def explain(code: Code) -> Answer:
        return toolkit.run(["explain"], _QUICK, places=[code])

    @server.tool(
        annotations=_READS,
        description="What nginx does with a request, computed from its configuration; nothing is sent. "
        + NOTICE,
    )
    def route(
        path: Annotated[
            str, Field(pattern=r"^(/|https?://)\S*$", max_length=2000, description="A path or URL.")
        ],
        method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET",
    ) -> Answer:
        return toolkit.run(["route"], patience, places=[method, path])

    @server.tool(
        annotations=_READS,
        description=f"What happened on this host, in one account; changes, restarts, errors, failures. {NOTICE}",
    )
    def timeline(since: Span | None = None, around: Moment | None = None) -> Answer:
        if since and around:
            raise ToolError("give since or around, not both")
        options = [f"--since={since}"] if since else [f"--around={around}"] if around else []
        return toolkit.run(["timeline"], patience + _QUICK, options=options)

    @server.tool(
        annotations=_READS,
        description="What has changed on this host since a baseline (default: the newest), line by line. "
        + NOTICE,
    )
    def baseline_diff(since: Number | None = None, until: Number | None = None) -> Answer:
        if until is not None and since is None:
            raise ToolError("until needs since")
        places = [str(number) for number in (since, until) if number is not None]
        return toolkit.run(["baseline", "diff"], patience + _QUICK, places=places)


def _add_safeguards(server: MCPServer, toolkit: Toolkit, settings: Settings) -> None:
    @server.tool(annotations=_READS, description=f"Judge every certificate of this host. {NOTICE}")
    def cert_check() -> Answer:
        return toolkit.run(["cert", "check"], _SLOW)

    @server.tool(annotations=_READS, description="The backups on this host, and which of them are good.")
    def backup_list() -> Answer:
        return toolkit.run(["backup", "list"], _SLOW)

    @server.tool(
        annotations=_READS,
        description="Prove that a backup (default: the newest good one) could be restored.",
    )
    def backup_verify(archive: ArchiveName | None = None) -> Answer:
        # A name alone: no other file of the host is opened for an assistant.
        places = [str(Path(settings.backup.dir) / archive)] if archive else []
        return toolkit.run(["backup", "verify"], _SLOW, places=places)

    @server.tool(annotations=_READS, description=f"What the watchdog saw and did last. {NOTICE}")
    def watchdog_status() -> Answer:
        return toolkit.run(["watchdog", "status"], _QUICK)


def _add_repair(server: MCPServer, toolkit: Toolkit, settings: Settings) -> None:
    plans = Plans()
    patience = float(settings.doctor.budget) + _SLOW

    def make_plan() -> Answer:
        return toolkit.run(["doctor", "--fix", "--dry-run"], patience)

    @server.tool(
        annotations=_READS,
        description="The safe repairs of what the doctor finds, each with its commands and diff. Nothing is changed."
        f" {NOTICE}",
    )
    def repair_plan() -> RepairPlan:
        plan = make_plan()
        if not settings.mcp.allow_repair:
            return RepairPlan(
                plan, "", "mcp.allow_repair is false: a person applies it with gte-ops doctor --fix"
            )
        token = plans.token_for(plan)
        return RepairPlan(plan, token, "" if token else "nothing in it is applied without a person")

    if not settings.mcp.allow_repair:
        return

    @server.tool(
        annotations=_CHANGES,
        description="Apply the plan of repair_plan whose token is given back, once, within ten minutes, and only if the"
        " host would still be changed in the same way. Ask the operator first.",
    )
    def repair_apply(token: Annotated[str, Field(min_length=20, max_length=100)]) -> Answer:
        known = plans.take(token)
        if known is None:
            raise ToolError("this token is unknown, used or older than ten minutes: call repair_plan again")
        if fingerprint(make_plan()) != known:
            raise ToolError("the host has changed since that plan: call repair_plan again")
        return toolkit.run(["doctor", "--fix", "--yes"], _REPAIR)
