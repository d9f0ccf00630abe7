"""Explain a failed start in a sentence."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from ops.facts.start import LastStart
from ops.interpret.exception_words import explained
from ops.interpret.start_failure.kind import NOT_KNOWN, Kind, StartFailure
from ops.interpret.start_failure.privilege_steps import configured_account
from ops.interpret.start_failure.variable_steps import flaw_words, written_badly
from ops.text.language import Text


def summary_of(failure: StartFailure, last: LastStart) -> Text:
    """Describe this start's failure in one sentence."""
    values = _values(failure, last)
    template = _sentences()[failure.kind]
    where = failure.where or ""
    en, zh = _filled(template.en, values), _filled(template.zh, values)
    if NOT_KNOWN in en:
        en, zh = f"The last start failed: {failure.quote}.", f"上次启动失败：{failure.quote}。"
    text = Text(en=en, zh=zh)
    if where and where not in text.en:
        text = Text(en=f"{text.en[:-1]} ({where}).", zh=f"{text.zh[:-1]}（{where}）。")
    known = explained(failure.quote) if failure.kind is Kind.EXCEPTION else None
    if known is not None:
        text = Text(en=f"{text.en[:-1]}: {known.what.en}.", zh=f"{text.zh[:-1]}：{known.what.zh}。")
    text = _with_the_writing(text, failure, last)
    if failure.count > 1:
        text = Text(
            en=f"{text.en[:-1]}; {failure.count} workers ended like that in a row.",
            zh=f"{text.zh[:-1]}；已有 {failure.count} 个工作进程接连这样退出。",
        )
    return text


def _with_the_writing(text: Text, failure: StartFailure, last: LastStart) -> Text:
    """The sentence, and what is wrong with the writing of the variable that it is about."""
    if failure.kind not in (Kind.VARIABLE, Kind.VARIABLE_VALUE):
        return text
    bad = written_badly([name.strip() for name in failure.values.get("name", "").split(",")], last)
    if not bad:
        return text
    where, words = f"{bad[0].path}:{bad[0].line}", flaw_words(bad[0])
    return Text(
        en=f"{text.en[:-1]}; {where} sets {bad[0].name}, but {words.en}.",
        zh=f"{text.zh[:-1]}；{where} 设置了 {bad[0].name}，但{words.zh}。",
    )


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], NOT_KNOWN), template)


def _values(failure: StartFailure, last: LastStart) -> dict[str, str]:
    holder = last.holder
    holder_en, holder_zh = "another program", "别的程序"
    if holder is not None:
        if holder.state == "zombie":
            holder_en, holder_zh = f"a zombie ({holder.name}, state Z)", f"僵尸进程（{holder.name}，状态 Z）"
        else:
            holder_en, holder_zh = holder.name, holder.name
    values = failure.values
    importer, names = values.get("importer"), ", ".join(last.callables[:5])
    versions = ", ".join(f"{name} {version}" for name, version in last.versions.items())
    call, last_words, unit = values.get("call"), values.get("said"), values.get("unit")
    called = Text(f"{failure.at.en} ({call})", f"{failure.at.zh}（{call}）")
    return {
        "peer_en": values.get("peer", "a service"),
        "peer_zh": values.get("peer", "某个服务"),
        "class_en": values.get("name", "its classes"),
        "class_zh": values.get("name", "它的类"),
        "module": "gunicorn",
        "call_of_en": values.get("call", "a call"),
        "call_of_zh": values.get("call", "某个调用"),
        "capability_en": f" (it takes {values['capability']})" if "capability" in values else "",
        "capability_zh": f"（需要 {values['capability']}）" if "capability" in values else "",
        "account_en": configured_account(last).en if "becomes" in values else "",
        "account_zh": configured_account(last).zh if "becomes" in values else "",
        "home_en": f"; PYTHONHOME leads to {values['home']}" if "home" in values else "",
        "home_zh": f"；环境变量 PYTHONHOME 指向 {values['home']}" if "home" in values else "",
        "refusal_en": values.get("detail", "it ends itself"),
        "refusal_zh": values.get("detail", "应用自行退出"),
        "detail": "-",
        "where_en": failure.where or "the application",
        "where_zh": failure.where or "应用",
        "at_en": f" at {failure.where}" if failure.where else "",
        "at_zh": f"{failure.where} 抛出 " if failure.where else "",
        "quote": failure.quote,
        "holder_en": holder_en,
        "holder_zh": holder_zh,
        "importer_en": f", which {importer} imports" if importer else "",
        "importer_zh": f"，而 {importer} 要导入它" if importer else "",
        "versions_en": f" (installed: {versions})" if versions else "",
        "versions_zh": f"（已安装：{versions}）" if versions else "",
        "names_en": f"; it has {names}" if names else "",
        "names_zh": f"；它有 {names}" if names else "",
        "setting": f"{values['name']} = {values.get('value', '...')}: " if "name" in values else "",
        "call_en": f"{call} at {failure.at.en}" if call else failure.quote,
        "call_zh": f"{failure.at.zh} 的 {call}" if call else failure.quote,
        "call_said_en": f": {called.en} ends the process" if call else "",
        "call_said_zh": f"：{called.zh} 结束了进程" if call else "",
        "said_en": f"; the last words before it: {last_words}" if last_words else "",
        "said_zh": f"；退出前的最后一句：{last_words}" if last_words else "",
        "interpreter_en": f" ({values['interpreter']})" if "interpreter" in values else "",
        "interpreter_zh": f"（{values['interpreter']}）" if "interpreter" in values else "",
        **_module_words(values),
        "path_en": f" {values['path']}" if "path" in values else "",
        "path_zh": f" {values['path']}" if "path" in values else "",
        "path_in_brackets": f" ({values['path']})" if "path" in values else "",
        "port_en": f" {values['port']}" if "port" in values else "",
        "port_zh": f" {values['port']}" if "port" in values else "",
        "unit_en": f" ({unit} names it)" if unit else "",
        "unit_zh": f"（由 {unit} 指定）" if unit else "",
        **values,
    }


def _module_words(values: Mapping[str, str]) -> dict[str, str]:
    """Return the words for a module missing from the application's own package: the reason, and what names it."""
    file, package, directory = (
        values.get("file"),
        values.get("package", NOT_KNOWN),
        values.get("directory", NOT_KNOWN),
    )
    variable = values.get("variable")
    return {
        "variable_en": f", which {variable} names" if variable else "",
        "variable_zh": f"（由 {variable} 指定）" if variable else "",
        "reason_en": f"{file} is a file and no package"
        if file
        else f"the package {package} in {directory} does not hold it",
        "reason_zh": f"{file} 是文件，不是包" if file else f"{directory} 里的包 {package} 没有它",
    }


@functools.cache
def _sentences() -> dict[str, Text]:
    import tomllib

    read = tomllib.loads((Path(__file__).parent / "sentences.toml").read_text(encoding="utf-8"))
    return {kind: Text(en=words["en"], zh=words["zh"]) for kind, words in read.items()}
