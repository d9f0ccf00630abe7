"""The service's page at ``/`` in a browser: every task, both languages, phone and desk, keyboard alone, errors in
words, nothing from elsewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from service.keys import key_file
from tests.browser.chromium import DESKTOP, PHONE, Chromium
from tests.browser.service_page import Page
from tests.system.conftest import Gunicorn, gunicorn

TASKS = ("ner", "relation", "event", "sentiment", "classification", "qa", "embedding", "similarity")
# What the answer to each task's example has to show.
SHOWN = {
    "ner": ["北京冬奥会EVENT", "2022年TIME", "北京GPE"],
    "relation": ["马云PERSON", "出生地", "浙江省杭州市", "阿里巴巴集团ORG", "创始人"],
    "event": ["收购方", "吉利集团", "震级", "8.0级"],
    "sentiment": ["positive"],
    "classification": ["体育", "财经", "科技"],
    "qa": ["1964年"],
    "embedding": ["384"],
    "similarity": ["天气真不错，阳光明媚", "量子计算机的纠错"],
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with gunicorn(tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.mark.parametrize("task", TASKS)
def test_each_task_s_example_is_answered_and_shown(browser: Chromium, service: Gunicorn, task: str) -> None:
    for width in (DESKTOP, PHONE):
        page = Page(browser, service, width=width)
        page.choose(task)
        shown = page.send()
        assert [part for part in SHOWN[task] if part not in shown.replace("\n", "").replace("\t", "")] == []
        page.is_sound()


def test_marks_stand_on_the_characters_the_offsets_mean(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    page.browser.run("document.getElementById('text').value = '👍👍，马云在杭州'")
    page.send()
    words = "m.textContent.slice(0, -m.querySelector('small').textContent.length)"
    marks = page.browser.run(f"return [...document.querySelectorAll('mark')].map(m => {words})")
    assert marks == ["马云", "杭州"]
    assert page.browser.run("return document.querySelector('.text').firstChild.data") == "👍👍，"


BREAKS = """
// The labels that do not stand on the line of their word's last character.
return [...document.querySelectorAll('#answer .end')].filter(end => {
  const character = document.createRange();
  character.selectNodeContents(end.firstChild);
  const [word, label] = [character, end.querySelector('small')].map(one => one.getBoundingClientRect());
  return label.top > word.bottom || label.bottom < word.top || label.left < word.right - 1;
}).map(end => end.textContent);
"""


BROKEN_NAMES = """
// The marks on more than one line.
return [...document.querySelectorAll('#answer mark')].filter(mark => {
  const all = document.createRange();
  all.selectNodeContents(mark);
  const places = [...all.getClientRects()].filter(place => place.width);
  return Math.max(...places.map(place => place.top)) > Math.min(...places.map(place => place.bottom));
}).map(mark => mark.textContent);
"""


@pytest.mark.parametrize("task", ["ner", "relation", "event"])
def test_a_label_never_breaks_away_from_its_word(browser: Chromium, service: Gunicorn, task: str) -> None:
    page = Page(browser, service)
    page.choose(task)
    text = (
        "马云创办了阿里巴巴集团。2016年10月，吉利集团收购了沃尔沃汽车公司。2022年北京冬奥会在北京举行。" * 3
    )
    browser.run("document.getElementById('text').value = arguments[0]", text)
    page.send()
    assert len(page.browser.find("#answer .end")) > 4
    for width in range(320, 420, 7):
        browser.resize(width)
        assert browser.run(BREAKS) == [], width
        assert browser.run(BROKEN_NAMES) == [], width
        assert browser.too_wide() == [], width


def test_a_name_longer_than_a_line_breaks_and_keeps_its_label(browser: Chromium, service: Gunicorn) -> None:
    Page(browser, service, width=PHONE)
    script = """
    const [marked_] = marked(arguments[0], [{ start: 1, end: arguments[0].length, type: arguments[1] }]);
    document.getElementById('answer').replaceChildren(marked_);
    """
    for width in (320, PHONE):
        browser.resize(width)
        for length in (9, 11, 12, 16, 17, 60):
            for label in ("ORG", "被收购方", "被收购方的母公司所在的地方" * 2):
                browser.run(script, "在" + "字" * length, label)
                assert (browser.run(BREAKS), browser.too_wide()) == ([], []), (width, length, label)


def test_no_line_begins_with_a_full_stop_behind_a_name(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    page.choose("event")
    browser.run("document.getElementById('text').value = arguments[0]", "吉利集团收购了沃尔沃汽车公司。" * 6)
    page.send()
    # A stop on another line than the end of the mark before it.
    script = """
    return [...document.querySelectorAll('#answer mark')].filter(mark => {
      const next = mark.nextSibling;
      if (!next || next.nodeType !== Node.TEXT_NODE || !'，。'.includes(next.data[0])) return false;
      const stop = document.createRange();
      stop.setStart(next, 0);
      stop.setEnd(next, 1);
      return stop.getBoundingClientRect().top > [...mark.getClientRects()].at(-1).bottom;
    }).length;
    """
    for width in range(320, 420, 7):
        browser.resize(width)
        assert browser.run(script) == 0, width


def test_no_task_is_named_twice_in_its_title(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    for _ in range(2):
        titles = page.browser.run(
            "return [...document.querySelectorAll('#task option')].map(o => o.textContent)"
        )
        assert len(set(titles)) == len(TASKS)
        for title in titles:
            first, _, second = title.partition(" · ")
            assert first.rstrip("s") != second.rstrip("s"), title
        page.element("#language").click()
    page.choose("event")
    page.send()
    captions = [caption.text for caption in page.browser.find("#answer caption")]
    assert captions == ["收购", "地震"]


def test_similarity_is_drawn_from_minus_one_to_one(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    page.choose("similarity")
    shown = page.send()
    assert "from −1 to 1" in shown
    rows = browser.run(
        "return [...document.querySelectorAll('#answer .scored')].map(one => {"
        " const [bar, filled] = ['.bar', '.bar span'].map(s => one.querySelector(s).getBoundingClientRect());"
        " return [(filled.left - bar.left) / bar.width, filled.width / bar.width, Number(one.textContent)]; })"
    )
    assert len(rows) == 2
    for left, width, score in rows:
        assert left == pytest.approx(0.5, abs=0.02)
        assert width == pytest.approx(score / 2, abs=0.02)
    page.browser.run("document.querySelector('#answer .scored').replaceWith(scored(-0.5, -1))")
    left, width = page.browser.run(
        "const bar = document.querySelector('#answer .bar'); const filled = bar.querySelector('span').style;"
        "return [filled.left, filled.width]"
    )
    assert (left, width) == ("25%", "25%")


def test_how_long_the_answer_took_is_shown(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    assert re.search(r"^[\d.]+ ms$", page.send(), re.MULTILINE)
    page.element("#language").click()
    assert re.search(r"^[\d.]+ 毫秒$", page.answered(), re.MULTILINE)


@pytest.mark.parametrize(("task", "only"), [("ner", "北京"), ("relation", "出生地"), ("event", "收购方")])
def test_a_schema_s_example_is_shown_and_works(
    browser: Chromium, service: Gunicorn, task: str, only: str
) -> None:
    page = Page(browser, service)
    page.choose(task)
    assert page.element("#parameter").get_attribute("placeholder") != ""
    page.element("#fill").click()
    assert only in page.send()
    assert browser.find("#answer .error") == []
    page.is_sound()
    page.choose("similarity")
    assert not page.element("#fill").is_displayed()


def test_the_keyboard_hint_is_there_only_where_there_is_a_keyboard(
    browser: Chromium, service: Gunicorn
) -> None:
    assert Page(browser, service, width=DESKTOP).element("#hint").is_displayed()
    assert not Page(browser, service, width=PHONE).element("#hint").is_displayed()


def test_relations_and_events_are_tables_with_headings(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    page.choose("relation")
    page.send()
    heads = [head.text for head in page.browser.find("#answer th[scope=col]")]
    assert heads == ["Subject", "Relation", "Object"]
    page.element("#language").click()
    assert [head.text for head in page.browser.find("#answer th")] == ["主语", "关系", "宾语"]


def test_the_other_language_says_everything_again(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    english = page.send() + page.browser.words()
    page.element("#language").click()
    assert page.browser.run("return document.documentElement.lang") == "zh-CN"
    chinese = page.browser.words()
    for words in ("Predict", "Text", "Copy", "Raw JSON"):
        assert words in english
        assert words not in chinese
    for words in ("预测", "命名实体识别", "复制", "就绪"):
        assert words in chinese
    page.is_sound()


def test_the_curl_line_gets_the_same_answer(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    page.choose("similarity")
    page.browser.run("document.getElementById('text').value = \"it's $HOME \\\\ `x` “北京”\"")
    page.write("#parameter", "天气")
    line = page.element("#curl").text
    assert shlex.split(line)[0] == "curl"
    ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert '"task_type":"similarity"' in ran.stdout
    origin = f"http://127.0.0.1:{service.port}"
    browser.devtools("Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite"])
    page.element("#copy").click()
    page.until("return document.getElementById('copied').textContent !== ''")
    assert page.element("#copied").text == "Copied"
    # A driver's script may be asynchronous; a page's clipboard is.
    copied = browser.driver.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], arguments[0])"
    )
    assert copied == line


@pytest.mark.parametrize(
    ("task", "text", "parameter", "english", "chinese"),
    [
        ("classification", "好", "", "The request does not fit", "请求不合要求"),
        ("ner", "字" * 5001, "", "The text is too long", "文本太长"),
        ("ner", "马云", "{", "The schema is not JSON", "Schema 不是 JSON"),
        ("relation", "马云", '{"人物": {"宠物": null}}', "The request does not fit", "请求不合要求"),
    ],
)
def test_an_error_is_said_in_words(
    browser: Chromium, service: Gunicorn, task: str, text: str, parameter: str, english: str, chinese: str
) -> None:
    page = Page(browser, service)
    page.choose(task)
    browser.run("document.getElementById('text').value = arguments[0]", text)
    browser.run("document.getElementById('parameter').value = arguments[0]", parameter)
    said = page.send()
    assert english in said
    # What the operator finds it by; a schema that is no JSON was not sent.
    (marks,) = re.findall(r"^(400 · \w+ · \S+)$", said, re.MULTILINE) or [""]
    assert (marks != "") == (parameter != "{")
    page.is_sound(complaints=True)
    page.element("#language").click()
    assert chinese in page.answered()
    assert marks in page.answered()


def test_what_a_text_holds_stays_text(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    hostile = (
        "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>马云在北京"
    )
    for task in ("ner", "qa", "classification"):
        page.choose(task)
        browser.run("document.getElementById('text').value = arguments[0]", hostile)
        if task == "classification":
            browser.run("document.getElementById('parameter').value = arguments[0]", hostile)
        page.send()
        assert browser.find("#answer img, #answer script") == []
        assert "owned" not in browser.driver.title
    page.is_sound()


def test_keys_alone_are_enough(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    order = [element.get_attribute("id") or element.tag_name for element in browser.tab_order()]
    assert order[:5] == ["language", "task", "text", "parameter", "fill"]
    assert {"send", "curl", "copy", "summary"} <= set(order)
    browser.run("document.getElementById('task').focus()")
    browser.press("c")  # classification: a list is chosen from by its first letter
    assert page.element("#task").get_attribute("value") == "classification"
    browser.press(Keys.TAB)
    browser.press(Keys.CONTROL + Keys.ENTER + Keys.NULL)
    assert "体育" in page.answered()
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    names = "[...document.querySelectorAll('select, textarea, input')].map(field => field.labels.length)"
    assert set(browser.run(f"return {names}")) == {1}


def test_in_the_dark_it_can_be_read_too(browser: Chromium, service: Gunicorn) -> None:
    page = Page(browser, service)
    browser.emulate_media(prefers_color_scheme="dark")
    for task in ("ner", "event", "sentiment"):
        page.choose(task)
        page.send()
        page.is_sound()


def test_a_key_is_asked_for_where_one_is_needed(browser: Chromium, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = key_file.add(file, "page")
    with gunicorn(tmp_path, GTE_API_KEYS_FILE=str(file)) as service:
        page = Page(browser, service)
        assert not page.element("#key").is_displayed()
        assert "An API key is needed" in page.send()
        assert page.element("#key").is_displayed()
        browser.press(key, Keys.ENTER)
        page.until("return document.querySelector('#answer mark') !== null")
        assert key not in page.element("#curl").text
        ran = subprocess.run(
            ["sh", "-c", page.element("#curl").text],
            env={**os.environ, "GTE_API_KEY": key},
            capture_output=True,
            text=True,
            check=True,
        )
        assert '"task_type":"ner"' in ran.stdout


def test_a_service_that_is_gone_is_said_to_be(browser: Chromium, tmp_path: Path) -> None:
    with gunicorn(tmp_path) as service:
        page = Page(browser, service)
        service.stop()
        assert "does not answer" in page.send()
