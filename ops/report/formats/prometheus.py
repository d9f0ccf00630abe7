"""For Prometheus: the text exposition format, for node_exporter's textfile collector."""

from __future__ import annotations

from typing import TextIO

from ops.report.model import CommandReport
from ops.report.sentences import sentence, showable
from ops.text.language import Language


def write(report: CommandReport, language: Language, out: TextIO, color: bool | None = None) -> None:  # noqa: ARG001
    """Write each metric that has a value. Help and labels are English, whatever the report's language."""
    for metric in report.samples():
        if not metric.values:
            continue
        name = f"gte_ops_{metric.name}"
        lines = [f"# HELP {name} {metric.text}", f"# TYPE {name} gauge"]
        lines += [f"{name}{_labels(labels)} {value:.15g}" for labels, value in metric.values]
        out.write(showable("\n".join(lines), out) + "\n")


def _labels(labels: dict[str, str]) -> str:
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}" if labels else ""


def _escaped(value: str) -> str:
    return sentence(value, "en").replace("\\", "\\\\").replace('"', '\\"')
