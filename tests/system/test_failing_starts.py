"""Starts of the real gunicorn that fail: the doctor says of each why, by its own words, and what mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.interpret.start_failure.advice import fix_for
from ops.interpret.start_failure.kind import Kind
from ops.interpret.start_failure.place import StartPlace
from ops.interpret.start_failure.reason import start_failure
from ops.interpret.start_failure.summary import summary_of
from tests.system.failing_starts import STARTS, FailingStart, fail_to_start
from tests.system.reported_starts import REPORTED, VARIANTS

# In CI every second of ours, and one of a kind of those that were reported.
SAMPLE = (
    "home directory", "number with a comment behind it", "settings of pydantic with a prefix", "key that is no key",
    "log of Django may not be written", "configuration without its section", "application parses gunicorn's arguments",
    "settings module that is not there", "package for forms",
)  # fmt: skip
CASES = [
    *(
        pytest.param(start, marks=pytest.mark.long if number % 2 else (), id=start.name)
        for number, start in enumerate(STARTS)
    ),
    *(
        pytest.param(start, marks=() if start.name in SAMPLE else pytest.mark.long, id=start.name)
        for start in (*REPORTED, *VARIANTS)
    ),
]


def _place(directory: Path) -> StartPlace:
    conf = str(directory / "gunicorn.conf.py")
    start = f"gunicorn -c {conf} app:app"
    return StartPlace(
        start=start, begin=start, app_dir=str(directory), python="python3", wsgi="app:app", config=conf
    )


@pytest.mark.parametrize("start", CASES, ids=str)
def test_the_last_words_say_why_it_did_not_start(start: FailingStart, tmp_path: Path) -> None:
    last = fail_to_start(start, tmp_path)
    failure = start_failure(last)
    said = "\n".join(line for words in last.words for line in words.lines)
    assert failure is not None, said
    assert failure.kind is start.kind, f"{failure}\n{said}"
    assert {name: failure.values.get(name) for name in start.values} == dict(start.values), failure
    assert (failure.where or "").endswith(start.where), failure
    assert failure.quote.splitlines()[0].partition(" invalid or not found")[0] in said, failure
    summary, fix = summary_of(failure, last), fix_for(failure, last, _place(tmp_path))
    for text in (summary, *fix):
        assert text.en
        assert text.zh
        assert "?" not in text.en.replace(failure.quote, ""), text
        assert "{" not in text.en.replace(failure.quote, "").replace("${", ""), text
    assert summary.en != summary.zh
    words = "\n".join(step.en for step in fix)
    assert not [wanted for wanted in start.fix if wanted not in words], words
    assert fix[-1].en == _place(tmp_path).begin
    assert len(fix) > 1, "never only 'start it'"


def test_every_kind_has_words_of_its_own() -> None:
    tried = {start.kind for start in (*STARTS, *REPORTED, *VARIANTS)}
    assert len(tried) >= 25
    # What this machine cannot bring about without systemd, another file system or a full disk.
    assert set(Kind) - tried == {
        Kind.START_LIMIT, Kind.UNKNOWN, Kind.READ_ONLY, Kind.DISK_FULL, Kind.HOST_UNKNOWN,
        # A worker that has never reported is not ended by gunicorn 20.1 and later.
        Kind.TOO_SLOW,
        # A database server's refusal: its words are tried in tests/unit/interpret/test_start_failure.py.
        Kind.DATABASE_REFUSES,
        # A Python that was replaced, or is not whole: tests/lab/reported/seventh_app.py.
        Kind.NO_LIBRARY, Kind.EXTENSION, Kind.OLD_ENVIRONMENT,
    }  # fmt: skip
