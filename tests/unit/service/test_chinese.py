"""Every sentence that the engines and the file of keys say of themselves has its Chinese."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.chinese import chinese
from service.cli import check
from service.engines import interface
from service.engines.gte import checkpoint as gte
from service.engines.uninlu import checkpoint as uninlu

ROOT = Path(interface.__file__).parents[1]
RAISERS = {
    "_failed",
    "_missing",
    "_refuse",
    "_FailedError",
    "CheckpointError",
    "EngineUnavailableError",
    "KeyFileError",
}
# What a part of a sentence stands for, where a word would not do.
PARTS = {
    "_DOWNLOAD": gte._DOWNLOAD,
    "remedy": "the model lies one directory deeper, in sub: point it there",
    "problem": "is empty",
    "detail": "the checkpoint has no tensor a",
    "failure.detail": "configuration.json is not a JSON object",
    "MODEL": gte.MODEL,
    "' nor '.join(names[:3:2])": "vocab.txt nor tokenizer.json",
}
# Made of parts in more than one place.
COMPOSED = [
    "GTE_MODEL_DIR: iic/x could not be downloaded: the disk is full: 9 MB are needed, 3 are free; tried again in 30 s."
    ' By hand: modelscope download --model iic/x --local_dir "$GTE_MODEL_DIR"',
    "GTE_MODEL_DIR: iic/x is being downloaded, 3 of 9 MB (33 %)",
    f"GTE_UNINLU_DIR is not a directory: {uninlu._DOWNLOAD}",
    "the encoder's process was lost and is being started again",
    "the encoder's process failed (ValueError): try again",
    "the extractor's process was lost while it loaded the model: see the error log",
    "the model in GTE_UNINLU_DIR cannot be loaded (KeyError): see the error log",
    "the encoder engine could not be loaded (KeyError): see the error log",
    interface.not_installed(ImportError(name="torch"), "model"),
    "503 model_unavailable: GTE_MODEL_DIR is empty: " + gte._DOWNLOAD,
]


def written(node: ast.expr) -> str | None:
    """The sentence of a literal, its parts replaced by what they may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else PARTS.get(ast.unparse(part.value), "x.y")  # type: ignore[attr-defined]
        for part in node.values
    )


def sentences() -> Iterator[str]:
    for path in sorted([*(ROOT / "engines").rglob("*.py"), ROOT / "keys/key_file.py"]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if name in RAISERS and isinstance(node, ast.Call):
                yield from (text for text in map(written, node.args) if text is not None and " " in text)


@pytest.mark.parametrize("sentence", [*dict.fromkeys([*sentences(), *COMPOSED])])
def test_every_sentence_has_its_chinese_to_its_end(sentence: str) -> None:
    said = chinese(sentence)
    assert any("\u4e00" <= letter <= "\u9fff" for letter in said), sentence
    for word in ("cannot", "download ", "tensor ", "not a ", " is ", "there "):
        assert word not in said.replace(gte.SOURCE.command(), "").replace("modelscope download", ""), said


def test_enough_sentences_are_found() -> None:
    assert len(set(sentences())) > 40


def test_a_status_stands_before_the_sentence() -> None:
    said = chinese("503 model_unavailable: GTE_MODEL_DIR is empty: the checkpoint has no tensor a")
    assert said == "503 model_unavailable：GTE_MODEL_DIR 是空目录：检查点中没有张量 a"


def test_an_unknown_sentence_stays_as_it_is() -> None:
    assert chinese("something else: happened") == "something else: happened"


@pytest.mark.parametrize(
    "sentence",
    [
        "is " * 8000 + " cannot be read (" * 8000,
        "the model in " + "x cannot be loaded (" * 8000,
        "a is empty: " * 8000,
        "503 a: " * 8000,
        ": " * 20000 + "!",
        "GTE_MODEL_DIR: " + " could not be downloaded: ; tried again in s. By hand: " * 3000,
    ],
    ids=lambda sentence: sentence[:20],
)
def test_a_library_s_error_of_any_length_is_read_at_once_and_stays_whole(sentence: str) -> None:
    started = time.process_time()
    said = chinese(sentence)
    assert time.process_time() - started < 1
    assert said.count("x") + said.count("!") == sentence.count("x") + sentence.count("!")


def test_an_error_in_a_sentence_is_shown_to_its_end() -> None:
    error = "no such layer; " * 2000
    assert chinese(f"a.json cannot be read ({error})") == f"无法读取 a.json（{error}）"


def test_check_speaks_the_language_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        status_code = 503

        def post(self, *_: object, **__: object) -> Refusing:
            return self

        def get_json(self) -> dict[str, str]:
            return {"code": "model_unavailable", "detail": "the checkpoint has no tensor a"}

    said = []
    for language in ("en_US.UTF-8", "zh_CN.UTF-8"):
        monkeypatch.setenv("LC_ALL", language)
        said.append(check._ask(Refusing(), check.EXAMPLES[0], 0)[1])  # type: ignore[arg-type]
    assert said == [
        "503 model_unavailable: the checkpoint has no tensor a",
        "503 model_unavailable：检查点中没有张量 a",
    ]
