"""``gte-api check``: the application without gunicorn, on its real engines; each task's example, and how fast it is."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

from flask.testing import FlaskClient

from service.app import create_app
from service.chinese import chinese
from service.language import is_chinese
from service.settings import Settings
from service.version import version

_TEXT = "马云1964年出生于浙江省杭州市。1999年，他创办了阿里巴巴集团。"
_POLL = 0.02  # seconds between two looks at whether the models are loaded
_TOGETHER = 8  # clients that ask for embeddings at once
_ROUNDING = 1e-3  # how far a cosine may be beyond 1


@dataclass(frozen=True)
class Example:
    """A request for one task, and whether a result of it holds together."""

    task: str
    text: str
    parameters: Mapping[str, Any]
    is_sound: Callable[[Mapping[str, Any], str], bool]

    def body(self, number: int = 0) -> dict[str, Any]:
        """The request. ``number``: another text for each, because equal ones may come from a cache."""
        suffix = f"（{number}）" if number else ""
        return {"task_type": self.task, "input_text": self.text + suffix, "parameters": dict(self.parameters)}


@dataclass(frozen=True)
class TaskReport:
    """What became of a task. ``first_ms``: of its first answer; ``per_second``: answers one after the other."""

    task: str
    model: str
    first_ms: float | None
    per_second: float | None
    error: str | None


@dataclass(frozen=True)
class Report:
    """What became of every task. ``together_per_second``: embeddings for several clients at once."""

    version: str
    load_seconds: float
    tasks: tuple[TaskReport, ...]
    together: int
    together_per_second: float | None

    @property
    def is_good(self) -> bool:
        """Whether every task answered."""
        return all(task.error is None for task in self.tasks)

    def json(self) -> str:
        """The report as one document."""
        return json.dumps({"ok": self.is_good, **asdict(self)}, ensure_ascii=False)

    def text(self) -> str:
        """The report for a person."""
        lines = [f"gte-api {self.version}: " + _said("loaded in", "加载用时") + f" {self.load_seconds:.1f} s"]
        head = (
            _said("task", "任务"),
            _said("first", "首次"),
            _said("rate", "速度"),
            _said("model", "模型"),
        )
        lines.append(f"{head[0]:<16}{head[1]:>12}{head[2]:>12}  {head[3]}")
        for task in self.tasks:
            if task.error is not None:
                lines.append(f"{task.task:<16}" + _said("FAILED", "失败") + f": {task.error}")
                continue
            lines.append(
                f"{task.task:<16}{task.first_ms or 0:>9.1f} ms{_per_second(task.per_second):>12}  {task.model}"
            )
        if self.together_per_second is not None:
            several = _said(
                f"embedding, {self.together} clients at once", f"embedding，{self.together} 个客户端并发"
            )
            lines.append(f"{several}: {self.together_per_second:.1f}/s")
        return "\n".join(lines)


def _per_second(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}/s"


def _offsets(spans: Callable[[Mapping[str, Any]], Iterator[Mapping[str, Any]]]) -> Callable[..., bool]:
    def is_sound(result: Mapping[str, Any], text: str) -> bool:
        return all(span["text"] == text[span["start"] : span["end"]] for span in spans(result))

    return is_sound


def _of_relations(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for relation in result["relations"]:
        yield from (relation["subject"], relation["object"])


def _of_events(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for event in result["events"]:
        yield from (event["trigger"], *event["arguments"])


def _is_choice(result: Mapping[str, Any], _text: str) -> bool:
    return result["label"] in result["scores"] and all(map(math.isfinite, result["scores"].values()))


def _is_answer(result: Mapping[str, Any], text: str) -> bool:
    return bool(result["answer"] == text[result["start"] : result["end"]])


def _are_vectors(result: Mapping[str, Any], _text: str) -> bool:
    (vector,) = result["embeddings"]
    return len(vector) == result["dimension"] and all(map(math.isfinite, vector)) and any(vector)


def _are_cosines(result: Mapping[str, Any], _text: str) -> bool:
    return len(result["scores"]) == 2 and all(abs(score) <= 1 + _ROUNDING for score in result["scores"])


EXAMPLES = (
    Example("ner", _TEXT, {}, _offsets(lambda result: iter(result["entities"]))),
    Example("relation", _TEXT, {}, _offsets(_of_relations)),
    Example("event", "2016年10月，吉利集团收购了沃尔沃汽车公司。", {}, _offsets(_of_events)),
    Example("sentiment", "这家餐厅的菜非常好吃，服务也很热情", {}, _is_choice),
    Example("classification", "国足今晚迎战韩国队", {"labels": ["体育", "财经", "科技"]}, _is_choice),
    Example("qa", _TEXT, {"question": "马云出生于哪一年？"}, _is_answer),
    Example("embedding", _TEXT, {}, _are_vectors),
    Example("similarity", "今天天气真好", {"candidates": ["天气真不错", "量子计算机"]}, _are_cosines),
)


def run(settings: Settings, seconds: float, wait: float) -> Report:
    """Load what the settings ask for, at most ``wait`` seconds, and measure each task for ``seconds``."""
    began = time.monotonic()
    app = create_app(settings)
    _until_loaded(app.test_client(), began + wait)
    loaded = time.monotonic() - began
    tasks = tuple(_report(app.test_client(), example, seconds) for example in EXAMPLES)
    embedding = next(example for example in EXAMPLES if example.task == "embedding")
    together = None
    if seconds and all(task.error is None for task in tasks if task.task == embedding.task):
        together = _rate_together(app.test_client, embedding, seconds)
    return Report(version(), loaded, tasks, _TOGETHER, together)


def _until_loaded(client: FlaskClient, deadline: float) -> None:
    while time.monotonic() < deadline:
        ready = client.get("/ready").get_json()
        if ready["ready"] or ready["reason"] != "loading":
            return
        time.sleep(_POLL)


def _report(client: FlaskClient, example: Example, seconds: float) -> TaskReport:
    began = time.monotonic()
    model, error = _ask(client, example, 0)
    first = 1000 * (time.monotonic() - began)
    if error is not None:
        return TaskReport(example.task, model, None, None, error)
    rate = None
    if seconds:
        began, answers = time.monotonic(), 0
        while (spent := time.monotonic() - began) < seconds:
            answers += 1
            _, error = _ask(client, example, answers)
            if error is not None:
                return TaskReport(example.task, model, first, None, error)
        rate = answers / spent
    return TaskReport(example.task, model, first, rate, None)


def _ask(client: FlaskClient, example: Example, number: int) -> tuple[str, str | None]:
    """The model that answered, and why the answer is no good, if it is not."""
    body = example.body(number)
    answer = client.post("/predict", json=body)
    members = answer.get_json()
    if answer.status_code != 200:
        error = f"{answer.status_code} {members.get('code')}: {members.get('detail')}"
        return "", _said(error, chinese(error))
    if not example.is_sound(members["result"], body["input_text"]):
        return members["model"], _said("an answer that contradicts itself", "回答自相矛盾")
    return members["model"], None


def _rate_together(new_client: Callable[[], FlaskClient], example: Example, seconds: float) -> float:
    numbers = count(1_000_000)
    began = time.monotonic()

    def ask() -> int:
        client, answers = new_client(), 0
        while time.monotonic() - began < seconds:
            _, error = _ask(client, example, next(numbers))
            answers += error is None
        return answers

    with ThreadPoolExecutor(_TOGETHER) as threads:
        answers = sum(threads.map(lambda _: ask(), range(_TOGETHER)))
    return answers / (time.monotonic() - began)


def _said(en: str, zh: str) -> str:
    return zh if is_chinese() else en
