"""How long `gte-ops cert check` takes over many endpoints, as a whole process, on loopback.

    python -m benchmarks.cert_check [--endpoints 200] [--runs 7]

One nginx with so many server blocks, each with its own name and certificate, on one port. In turn with it the same
handshakes by OpenSSL's own client, sixteen at a time, which looks at the served certificate's end alone (no files, no
renewal, no trust of names). Prints a Markdown table: wall seconds, and the processor seconds of the commands without
nginx, which say more where other work shares the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.lab.authority import Authority
from tests.system.peer import free_port
from tests.system.test_cert_check import block, lay
from tests.system.tls_host import TlsHost


def seconds(function: Callable[[], None]) -> tuple[float, float]:
    """Wall time of one call, and the processor time of the processes it waited for."""
    started, before = time.perf_counter(), os.times()
    function()
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, spent


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=200)
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each case")
    options = parser.parse_args()
    names = [f"n{number}.lab.example" for number in range(options.endpoints)]
    authority, port = Authority(), free_port()
    with tempfile.TemporaryDirectory(prefix="gte-certs-") as place:
        directory = Path(place)
        directory.chmod(0o755)
        (directory / "ca.pem").write_bytes(authority.root.pem)
        blocks = [block(port, name, lay(directory, name, authority.issue([name]))) for name in names]
        (directory / "names").write_text("\n".join(names) + "\n")
        with TlsHost(directory, "server_names_hash_bucket_size 128;\n" + "".join(blocks)) as host:
            expected = 2 * options.endpoints  # each file, and each as it is served

            def check() -> None:
                ran = host.check()
                if ran.exit_code != 0 or len(ran.json["certificates"]) != expected:
                    sys.exit(f"exit {ran.exit_code}\n{ran.stdout[:2000]}{ran.stderr}")

            def version() -> None:
                host.gte_ops("--version")

            def openssl() -> None:
                command = (
                    f"openssl s_client -connect 127.0.0.1:{port} -servername {{}} </dev/null 2>/dev/null"
                    " | openssl x509 -noout -enddate"
                )
                done = subprocess.run(
                    ["xargs", "-P", "16", "-I{}", "sh", "-c", command],
                    input=(directory / "names").read_bytes(), capture_output=True, check=True,
                )  # fmt: skip
                if done.stdout.count(b"notAfter") != options.endpoints:
                    sys.exit(f"openssl saw {done.stdout.count(b'notAfter')}")

            cases = {
                f"`gte-ops cert check`, {options.endpoints} endpoints and {options.endpoints} files": check,
                f"`openssl s_client` and `x509`, {options.endpoints} endpoints, 16 at a time": openssl,
                "`gte-ops --version`": version,
            }
            took: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
            check()
            for _ in range(options.runs):
                for name, function in cases.items():
                    took[name].append(seconds(function))
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr.strip()
    print(f"{datetime.now(UTC):%Y-%m-%d}, load {os.getloadavg()[0]:.1f}, {options.runs} runs each in turn, "
          f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {nginx}\n")  # fmt: skip
    print("| case | min | median | max | processor, median |\n|---|---|---|---|---|")
    for name, values in took.items():
        wall = [value[0] for value in values]
        spent = statistics.median(value[1] for value in values)
        print(f"| {name} | {min(wall):.2f} | {statistics.median(wall):.2f} | {max(wall):.2f} | {spent:.2f} |")


if __name__ == "__main__":
    main()
