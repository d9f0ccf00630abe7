"""For Prometheus: the text exposition format, for node_exporter's textfile collector."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TextIO

from ops import __version__
from ops.report.model import CommandReport, Samples
from ops.report.sentences import sentence, showable
from ops.text.language import Language

# One text for every file: node_exporter complains of a metric with two.
BUILD_INFO = "The version of gte-ops that wrote the file."


def write(report: CommandReport, language: Language, out: TextIO, color: bool | None = None) -> None:  # noqa: ARG001
    """Write each metric that has a value. Help and labels are English, whatever the report's language."""
    for metric in (*report.samples(), *build_info(report.command)):
        if not metric.values:
            continue
        name = f"gte_ops_{metric.name}"
        lines = [f"# HELP {name} {metric.text}", f"# TYPE {name} gauge"]
        lines += [f"{name}{_labels(labels)} {value:.15g}" for labels, value in metric.values]
        out.write(showable("\n".join(lines), out) + "\n")


def build_info(command: str) -> Iterator[Samples]:
    """The version of gte-ops that wrote the file. ``command`` keeps two files of one host apart: node_exporter refuses
    a series that it reads twice."""
    labels = {"command": command, "version": __version__, "python": platform.python_version()}
    yield Samples("build_info", BUILD_INFO, ((labels, 1.0),))


def _labels(labels: dict[str, str]) -> str:
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}" if labels else ""


def _escaped(value: str) -> str:
    return sentence(value, "en").replace("\\", "\\\\").replace('"', '\\"')
