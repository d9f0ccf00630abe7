"""A real name server (dnsmasq) on loopback, which can be made to lie, to deny, or to fall silent."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import psutil

from tests.lab.keeper import Keeper
from tests.lab.waiting import wait_for


class Resolver:
    """Answers for a handful of names, and NXDOMAIN for every other."""

    def __init__(self, keeper: Keeper, address: str, port: int, directory: Path) -> None:
        """Starts nothing yet; ``answer`` does. Logs go to ``directory``."""
        self.address, self.port = address, port
        self._keeper, self._directory = keeper, directory
        self._server: psutil.Process | None = None
        self._silent: socket.socket | None = None

    def answer(self, name: str, *addresses: str) -> None:
        """From now on ``name`` and what is below it resolve to ``addresses``; with none, it does not exist.

        Raises FileNotFoundError where dnsmasq is not installed.
        """
        self.close()
        binary = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"  # not on an ordinary user's PATH
        argv = [
            binary,
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=",
        ]
        argv += [
            "--pid-file=",
            f"--port={self.port}",
            f"--listen-address={self.address}",
            "--bind-interfaces",
        ]
        argv += [f"--log-facility={self._directory / 'dnsmasq.log'}", "--address=/#/"]
        if addresses:
            argv.append(f"--local=/{name}/")
            argv += [f"--address=/{name}/{address}" for address in addresses]
        output = self._directory / "dnsmasq-output.log"
        pid = self._keeper.spawn(argv, cwd=self._directory, env={"LC_ALL": "C"}, output=output)
        self._server = psutil.Process(pid)
        wait_for(lambda: self._answers(name), "the name server to answer", within=5)

    def fall_silent(self) -> None:
        """Queries arrive and are never answered, as behind a firewall that drops them."""
        self.close()
        self._silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._silent.bind((self.address, self.port))

    def close(self) -> None:
        """Nothing listens any more."""
        if self._silent:
            self._silent.close()
            self._silent = None
        if self._server:
            server, self._server = self._server, None
            if server.is_running():
                server.kill()
                wait_for(lambda: not server.is_running(), "the name server to end", within=5)

    def _answers(self, name: str) -> bool:
        # Until the server has its port, the asking socket may have been given that very port, and hears itself.
        asked = dns.message.make_query(name, "A")
        try:
            dns.query.udp(asked, self.address, port=self.port, timeout=0.05, ignore_unexpected=True)
        except (dns.exception.Timeout, OSError):
            return False
        return True
