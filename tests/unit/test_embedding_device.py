"""The benchmark on a GPU says in one line that there is none, instead of measuring the CPU under its name."""

import sys
from types import SimpleNamespace

import pytest

from benchmarks.embedding_throughput import use_device


def library(version: str, cuda: str | None, *, is_available: bool) -> SimpleNamespace:
    return SimpleNamespace(
        __version__=version,
        version=SimpleNamespace(cuda=cuda),
        cuda=SimpleNamespace(is_available=lambda: is_available),
    )


@pytest.mark.parametrize(
    ("version", "cuda", "words"),
    [("2.13.0+cpu", None, "built without CUDA"), ("2.13.0", "12.9", "built for CUDA 12.9")],
)
def test_a_machine_without_a_gpu_is_refused_in_one_line(
    version: str, cuda: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the model extra is not installed")
    from benchmarks import embedding_agreement  # noqa: F401  it imports the real one

    monkeypatch.setitem(sys.modules, "torch", library(version, cuda, is_available=False))
    with pytest.raises(SystemExit) as refusal:
        use_device("cuda")
    message = str(refusal.value.code)
    assert f"torch {version} ({words}) sees no GPU" in message
    assert "\n" not in message


def test_a_gpu_is_hidden_from_the_servers_where_the_cpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    use_device("cpu")
    import os

    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
