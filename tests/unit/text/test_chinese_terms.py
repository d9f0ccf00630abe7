"""Chinese texts have one word for one thing: the catalogue, what the programs say, and the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# The word to use, and those that are not used for the same thing.
TERMS = {
    "工作进程": r"工作者|worker 进程",
    "watchdog": r"看门狗(?!程序)|监护",
    "doctor": r"诊断自己|由诊断(?:报告|检查)|交给诊断",
    "upstream": r"上游",
    "证书链": r"信任链",
    "站点证书": r"叶(?:子)?证书",
    "签发者": r"签发方|颁发者|颁发方",
    "CA": r"证书(?:颁发)?机构",
    "续期": r"续签",
    "重新加载": r"重载|重新载入|载入|[\u4e00-\u9fff] ?reload ?[\u4e00-\u9fff，。：；]",
    "停用（nginx 不再使用一台后端）": r"摘除|摘掉|暂停使用",
    "被暂停（SIGSTOP）、没有应答": r"挂起",
    "响应头、响应体、响应里（HTTP）": r"应答(?:头|体|正文|里|中(?![途断])|的(?:头|正文|状态))",
    "没有应答（谁都可能应答）": r"(?:没有|等到|无|不|未|及时|得到|有效|正常)响应(?![头体]| USR1)",
    "停止动作": r"停手|按兵不动",
    "告警": r"报警|警报",
    "探测": r"拨测",
    "unit": r"单元(?!测试)",
    "定时任务": r"计划任务",
    "socket": r"套接字",
    "账户": r"帐[号户]|账号",
    "登录": r"登陆",
    "其他": r"其它",
    "默认": r"缺省",
    "加密套件": r"(?<!加密)套件",
    "时限": r"(?<!无)(?<!有效)期限",
    "没有症状": r"没有现象",
    "退出码": r"退出状态码|返回码",
    "词元（模型读取的）": r"(?:个|按) token",
}
# Lines that quote another's words.
QUOTED = {"docs/serve.zh-CN.md": "（`exec`：pid、信号和退出状态都是 gunicorn 的）"}
# Half a colon where a Chinese sentence goes on: of a place and what is wrong with it.
_HALF_COLON = re.compile(r"zh=\(?\s*f?\"[^\"]*[}\u4e00-\u9fff]: (?=[\u4e00-\u9fff])")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
# Latin letters or digits that touch a Chinese character; a date or a quotation of the service's examples does.
_TOUCHING = re.compile(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9%][\u4e00-\u9fff]")


def _sources() -> Iterator[Path]:
    yield from sorted((ROOT / "ops/diagnosis/catalogue").glob("*.toml"))
    yield from sorted(ROOT.glob("docs/*.zh-CN.md"))
    yield from (ROOT / "README.zh-CN.md", ROOT / "SECURITY.zh-CN.md")
    # Secrets are looked for by every word that anybody may have called them.
    yield from (path for path in sorted((ROOT / "ops").rglob("*.py")) if "secret_scan" not in path.parts)
    yield from sorted((ROOT / "service").glob("*.py"))
    yield from sorted((ROOT / "deploy/prometheus").glob("*.yml"))


def chinese_lines() -> Iterator[tuple[str, str]]:
    """The place and the text of each line with Chinese in it."""
    for path in _sources():
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if _CHINESE.search(line):
                yield f"{name}:{number}", line.replace(QUOTED.get(name, "\0"), "")


LINES = tuple(chinese_lines())


def misnamed(lines: tuple[tuple[str, str], ...], variants: str) -> list[str]:
    """The places where one of ``variants`` is written."""
    pattern = re.compile(variants)
    return [f"{place}: {match[0]}" for place, line in lines if (match := pattern.search(line))]


def test_the_texts_are_found() -> None:
    assert len(LINES) > 4000
    assert {place.partition(":")[0] for place, _ in LINES} >= {
        "ops/diagnosis/catalogue/nginx.toml",
        "ops/text/reason_forms.py",
        "docs/watchdog.zh-CN.md",
    }


def test_another_word_is_found() -> None:
    lines = (("x:1", "nginx 重载之后"), ("x:2", "改完立即 reload 一次"), ("x:3", "nginx -s reload"))
    assert misnamed(lines, TERMS["重新加载"]) == ["x:1: 重载", "x:2: 即 reload 一"]


@pytest.mark.parametrize("term", TERMS)
def test_a_thing_has_one_chinese_word(term: str) -> None:
    assert misnamed(LINES, TERMS[term]) == [], f"write {term}"


def test_a_chinese_sentence_has_a_chinese_colon() -> None:
    assert _HALF_COLON.search('zh=f"{path}: 不是文件"')
    assert [place for place, line in LINES if _HALF_COLON.search(line)] == []


def test_a_blank_stands_between_chinese_and_latin_letters() -> None:
    assert _TOUCHING.search("由nginx 应答")
    texts = [
        (place, line) for place, line in LINES if place.startswith(("ops/diagnosis/catalogue", "README"))
    ]
    assert [place for place, line in texts if _TOUCHING.search(line)] == []
