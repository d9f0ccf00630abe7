"""For a browser: one page that needs nothing beside it, for a phone, a mail, a printer."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, TextIO

from ops.report.sentences import STATUS_NAMES, STATUS_WORDS, sentence
from ops.text.language import Language, Text

if TYPE_CHECKING:
    from ops.report.model import CommandReport

_WORDS: dict[str, Text] = {
    "proof": Text(en="Proof", zh="证据"),
    "verify": Text(en="Verify", zh="验证"),
    "fix": Text(en="Fix", zh="修复"),
    "explains": Text(en="Explains", zh="由此引起"),
    "learn": Text(en="About this cause", zh="关于此原因"),
    "means": Text(en="What it means", zh="含义"),
    "prevent": Text(en="Prevent", zh="预防"),
    "unexplained": Text(en="Unexplained", zh="尚无解释"),
    "next": Text(en="Try next", zh="下一步可执行"),
    "read": Text(en="What was answered and logged", zh="响应和日志"),
    "route": Text(en="The request's way through nginx", zh="请求在 nginx 里的路径"),
    "checks": Text(en="Checks", zh="检查项"),
    "unseen": Text(en="Not seen", zh="未能看到"),
    "target": Text(en="What was looked at", zh="检查对象"),
    "ignored": Text(en="Known and set aside", zh="已知并忽略"),
    "changes": Text(en="Changed since the service was last healthy", zh="服务上次健康之后的变更"),
    "until": Text(en="until", zh="截止"),
    "seconds": Text(en="s", zh="秒"),
}
_MADE = Text(en="Made by gte-ops {}", zh="由 gte-ops {} 生成")


def write(report: CommandReport, language: Language, out: TextIO, color: bool | None = None) -> None:  # noqa: ARG001
    """Write one HTML document. Characters that ``out`` cannot encode become character references."""
    from jinja2 import Environment

    template = files("ops.report.formats").joinpath("page.html.jinja").read_text(encoding="utf-8")
    # Whatever a peer or a log said is text on this page, never markup.
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    words = page.render(_frame(report, language) | report.page(language)) + "\n"
    encoding = getattr(out, "encoding", None) or "utf-8"
    try:
        out.write(words.encode(encoding, "xmlcharrefreplace").decode(encoding))
    except LookupError:
        out.write(words.encode("ascii", "xmlcharrefreplace").decode("ascii"))


def _frame(report: CommandReport, language: Language) -> dict[str, Any]:
    """What every page has."""
    return {
        "language": "zh-CN" if language == "zh" else "en",
        "words": {name: text.to(language) for name, text in _WORDS.items()}
        | {"made": _MADE.to(language).format(report.command)},
        "status": report.status,
        "status_word": STATUS_WORDS[report.status] if language == "en" else STATUS_NAMES[report.status].zh,
        "started_at": report.started_at(),
    }


def plain_page(report: CommandReport, language: Language) -> dict[str, Any]:
    """The page of a report that has no more than its lines: the first one heads it."""
    return {
        "verdict": sentence(report.headline(language), language),
        "lines": "\n".join(report.plain_lines(language)),
    }
