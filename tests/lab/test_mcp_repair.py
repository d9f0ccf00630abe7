"""An assistant repairs a real stack: by the plan's token, once, and only the plan that it was shown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psutil
import pytest
from mcp import Client, StdioServerParameters

from tests.lab.stack import Stack

T = TypeVar("T")


def converse(stack: Stack, talk: Callable[[Client], Awaitable[T]]) -> T:
    with stack.config_file.open("a") as config:
        config.write("\n[mcp]\nallow_repair = true\n")

    async def run() -> T:
        program, *arguments = stack.gte_ops_command("mcp", "--config", str(stack.config_file))
        server = StdioServerParameters(
            command=program, args=arguments, env=stack.environment(), cwd=stack.directory
        )
        async with Client(server, read_timeout_seconds=120.0) as client:
            return await talk(client)

    return asyncio.run(run())


async def plan(client: Client) -> dict[str, Any]:
    result = await client.call_tool("repair_plan", {})
    assert not result.is_error, result.content
    return result.structured_content or {}


def end_what_the_repair_started(stack: Stack) -> None:
    """End the gunicorn of the pidfile: the server has started it, and not the stack's keeper."""
    with contextlib.suppress(psutil.NoSuchProcess):
        master = psutil.Process(int(stack.gunicorn_pidfile.read_text()))
        if str(stack.directory) in " ".join(master.cmdline()):
            master.terminate()
            master.wait(20)


@pytest.mark.long
def test_the_plans_token_applies_it_once() -> None:
    with Stack() as stack:
        stack.kill_gunicorn()

        async def talk(client: Client) -> tuple[bool, bool]:
            token = (await plan(client))["token"]
            applied = await client.call_tool("repair_apply", {"token": token})
            again = await client.call_tool("repair_apply", {"token": token})
            return applied.is_error, again.is_error

        try:
            assert converse(stack, talk) == (False, True)
            assert stack.predict().status == 200
        finally:
            end_what_the_repair_started(stack)


@pytest.mark.long
def test_a_plan_is_not_applied_to_a_host_that_has_changed_since() -> None:
    with Stack() as stack:
        stack.kill_gunicorn()

        async def talk(client: Client) -> tuple[bool, str]:
            token = (await plan(client))["token"]
            stack.start_gunicorn()
            result = await client.call_tool("repair_apply", {"token": token})
            return result.is_error, repr(result.content)

        is_error, words = converse(stack, talk)
        assert is_error
        assert "has changed since that plan" in words
