"""GTE's vectors are those of ModelScope's own pipeline on the same checkpoint, in every precision as close as said."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from service.engines.gte.checkpoint import Configuration, read_configuration
from service.engines.gte.tokens import Tokenizer
from service.engines.interface import EngineUnavailableError
from tests.made_checkpoint import SHORT, VARIED, make

os.environ.setdefault("OMP_NUM_THREADS", "2")
LONG = "北京冬奥会在北京举行，" * 80
KINDS = {
    "single": ["今天天气真好"],
    "batch": ["今天天气真好", "量子计算机的纠错", "a", "今天天气真好", "北京2022年冬奥会"],
    "english": ["The model of the Beijing Olympic winter games", "UPPER lower Mixed", "naïve café Ünïcödé"],
    "mixed": [
        "GTE模型embedding句子 2022年3月",
        "😀北京👨‍👩‍👧",
        "ＦＵＬＬ　ｗｉｄｔｈ１２３",
        "\u4e00\u0301e\u0301",
    ],
    "nearly empty": [" ", "。", "\u3000", "\x00", "\u200b", "[CLS]", "\U0002000b"],
    "overlong": [LONG, LONG[:505], "短"],
}


def model_of(
    directory: Path,
    precision: str = "float32",
    products: str | None = None,
    threads: int = 2,
    *,
    attends_by_products: bool = False,
) -> tuple[Any, Tokenizer, Configuration]:
    """``products``: float32 for bfloat16 weights, unless said otherwise."""
    from service.engines.gte.forward import GteModel
    from service.engines.gte.precision import parse

    configuration = read_configuration(directory)
    products = products or ("float32" if precision == "bfloat16" else precision)
    model = GteModel(
        directory,
        configuration,
        parse(precision),
        parse(products),
        threads,
        attends_by_products=attends_by_products,
    )
    return model, Tokenizer(directory, 512), configuration


def vectors_of(directory: Path, texts: Sequence[str], precision: str = "float32") -> Any:
    model, tokenizer, _ = model_of(directory, precision)
    return model.encode(tokenizer.encode(texts))


def pipeline_of(directory: Path) -> Any:
    from modelscope.pipelines import pipeline

    return pipeline("sentence-embedding", model=str(directory), sequence_length=512, device="cpu")


def cosines(left: Any, right: Any) -> Any:
    lengths = numpy.linalg.norm(left, axis=1) * numpy.linalg.norm(right, axis=1)
    return (left * right).sum(axis=1) / lengths


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of the true width."""
    return make(tmp_path_factory.mktemp("made") / "gte", layers=2)


@pytest.fixture(scope="module")
def modelscope(directory: Path) -> Any:
    return pipeline_of(directory)


@pytest.fixture(scope="module")
def ours(directory: Path) -> Any:
    return model_of(directory)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_modelscopes_pipeline(kind: str, modelscope: Any, ours: Any) -> None:
    model, tokenizer, _ = ours
    texts = KINDS[kind]
    theirs = modelscope({"source_sentence": texts})["text_embedding"]
    found = model.encode(tokenizer.encode(texts))
    assert cosines(theirs, found).min() > 0.99999
    assert numpy.abs(theirs - found).max() < 1e-5 * max(1.0, float(numpy.abs(theirs).max()))


def test_a_pair_scores_as_in_modelscopes_pipeline(modelscope: Any, ours: Any) -> None:
    model, tokenizer, _ = ours
    answer = modelscope({"source_sentence": ["天气真好"], "sentences_to_compare": ["晴天", "纠错码"]})
    found = model.encode(tokenizer.encode(["天气真好", "晴天", "纠错码"]))
    assert cosines(answer["text_embedding"], found).min() > 0.99999
    assert answer["scores"] == pytest.approx([float(found[0] @ other) for other in found[1:]], rel=1e-4)


@pytest.mark.parametrize(
    ("weights", "configuration"),
    [("safetensors", {"normalize": True}), ("bin", {}), ("sharded", {"emb_pooler_type": "avg"})],
)
def test_every_form_of_the_checkpoint_is_read_as_modelscope_reads_it(
    weights: str, configuration: dict[str, Any], tmp_path: Path
) -> None:
    """``.bin`` and shards as well as one safetensors file; normalised, or pooled by the mean, only where
    configuration.json says so."""
    made = make(tmp_path / "gte", **SHORT, weights=weights, configuration=configuration)  # type: ignore[arg-type]
    texts = ["今天天气真好", "a", LONG]
    theirs = pipeline_of(made)({"source_sentence": texts})["text_embedding"]
    found = vectors_of(made, texts)
    assert cosines(theirs, found).min() > 0.99999
    assert numpy.abs(theirs - found).max() < 1e-5 * max(1.0, float(numpy.abs(theirs).max()))
    lengths = numpy.linalg.norm(found, axis=1)
    assert (numpy.abs(lengths - 1) < 1e-5).all() == bool(configuration.get("normalize"))


@pytest.mark.long
def test_the_whole_large_model_agrees_with_modelscope(tmp_path: Path) -> None:
    made = make(tmp_path / "gte")
    texts = [text for kind in KINDS.values() for text in kind]
    theirs = numpy.concatenate([pipeline_of(made)({"source_sentence": texts})["text_embedding"]])
    assert cosines(theirs, vectors_of(made, texts)).min() > 0.99999


def test_texts_become_the_tokens_of_the_checkpoints_own_tokenizer(tmp_path: Path) -> None:
    """From vocab.txt alone, cased and uncased, and from tokenizer.json."""
    from transformers import AutoTokenizer

    texts = [text for kind in KINDS.values() for text in kind] + [
        "\r\nA\tB",
        "İstanbul ǅ",
        "x" * 150,
        "a#b ##c",
    ]
    for lower in (True, False):
        made = make(tmp_path / str(lower), **SHORT, tokenizer={"do_lower_case": lower})  # type: ignore[arg-type]
        theirs = AutoTokenizer.from_pretrained(made, use_fast=True)
        wanted = theirs(texts, truncation=True, max_length=512)["input_ids"]
        assert [ids.tolist() for ids in Tokenizer(made, 512).encode(texts)] == wanted
        theirs.save_pretrained(made)
        assert (made / "tokenizer.json").is_file()
        (made / "vocab.txt").unlink(missing_ok=True)
        assert [ids.tolist() for ids in Tokenizer(made, 512).encode(texts)] == wanted
        assert Tokenizer(made, 512).count(LONG) == len(theirs(LONG)["input_ids"]) > 512


def centred(vectors: Any) -> Any:
    return vectors - vectors.mean(axis=0)


@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 0.999), ("int8", 0.97)])
def test_a_lower_precision_stays_close_where_vectors_differ(
    precision: str, least: float, directory: Path
) -> None:
    """Cosine with float32 after the mean is taken away: what nearly parallel vectors cannot flatter."""
    exact, lower = vectors_of(directory, VARIED), vectors_of(directory, VARIED, precision)
    unit = exact / numpy.linalg.norm(exact, axis=1, keepdims=True)
    assert numpy.median(unit @ unit.T) < 0.95, "the vectors of the made checkpoint hardly differ"
    assert cosines(centred(exact), centred(lower)).mean() > least


def test_products_in_bfloat16_agree_wherever_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a processor with bfloat16 instructions computes, here with torch's own kernels where it has none."""
    from service.engines.gte import forward, linear

    if not linear.supports_bfloat16():

        def plain(weight: Any, bias: Any, kind: Any, *, gelu: bool) -> Any:
            return linear.Plain(weight.to(kind), bias.to(kind), gelu=gelu)

        monkeypatch.setattr(forward, "Packed", plain)
    made = make(tmp_path / "gte", **SHORT)  # type: ignore[arg-type]
    model, tokenizer, _ = model_of(made, "bfloat16", "bfloat16")
    lower = model.encode(tokenizer.encode(VARIED))
    assert cosines(centred(vectors_of(made, VARIED)), centred(lower)).mean() > 0.99


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("pooling", ["cls", "avg"])
def test_lanes_compute_what_one_thread_computes(precision: str, pooling: str, tmp_path: Path) -> None:
    """Whatever number of texts there is for how many lanes, of one length or of many."""
    made = make(tmp_path / "gte", **SHORT, configuration={"emb_pooler_type": pooling})  # type: ignore[arg-type]
    alone, tokenizer, _ = model_of(made, precision, threads=1)
    shared, *_ = model_of(made, precision, threads=3)
    for texts in (["今天"], [LONG], VARIED, ["北京冬奥会在北京举行"] * 50, [*VARIED, *(["今天天气"] * 30)]):
        sequences = tokenizer.encode(texts)
        wanted, found = alone.encode(sequences), shared.encode(sequences)
        assert cosines(wanted, found).min() > (0.999999 if precision == "float32" else 0.9999)


@pytest.mark.parametrize(("threads", "pooling"), [(1, "avg"), (3, "cls")])
def test_attention_by_products_stays_as_close_to_float32(threads: int, pooling: str, tmp_path: Path) -> None:
    """Texts long enough for it beside such that are not, some of one length."""
    made = make(tmp_path / "gte", **SHORT, configuration={"emb_pooler_type": pooling})  # type: ignore[arg-type]
    texts = [*VARIED, *(text * 5 for text in VARIED[:6]), LONG, "今天天气真好" * 12, "真好今天天气" * 12]
    exact = vectors_of(made, texts)
    flash, tokenizer, _ = model_of(made, "int8", threads=threads)
    other, *_ = model_of(made, "int8", threads=threads, attends_by_products=True)
    sequences = tokenizer.encode(texts)
    without, found = (cosines(centred(exact), centred(one.encode(sequences))) for one in (flash, other))
    assert found.mean() > without.mean() - 0.002
    assert found.min() > 0.9


def test_a_batch_whose_products_overflow_is_computed_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.engines.gte import attention

    made = make(tmp_path / "gte", **SHORT)  # type: ignore[arg-type]
    model, tokenizer, _ = model_of(made, "int8", attends_by_products=True)
    sequences = tokenizer.encode([LONG, "今天天气真好"])
    near = model.encode(sequences)
    asked = []

    def overflows(query: Any, *_: Any) -> Any:
        asked.append(query)
        return query.new_full(query.shape, float("nan"))

    monkeypatch.setattr(attention, "by_products", overflows)
    assert cosines(near, model.encode(sequences)).min() > 0.999
    assert asked


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_vector_does_not_depend_on_its_company(precision: str, directory: Path) -> None:
    model, tokenizer, _ = model_of(directory, precision)
    alone = model.encode(tokenizer.encode(["今天天气真好"]))
    among = model.encode(tokenizer.encode([*KINDS["mixed"], "今天天气真好", LONG[:90]]))[len(KINDS["mixed"])]
    assert cosines(alone, among[None]).min() > 0.9999


def by_edges(query: Any, key: Any, value: Any, of_queries: Any, of_keys: Any, _q: int, longest: int) -> Any:
    """What torch's attention over texts of different lengths computes on a GPU, text by text."""
    from torch.nn import functional

    assert longest == (of_keys[1:] - of_keys[:-1]).max()
    answer = query.clone()
    for index in range(len(of_keys) - 1):
        asking, keys = (slice(int(edges[index]), int(edges[index + 1])) for edges in (of_queries, of_keys))
        heads_first = (query[asking], key[keys], value[keys])
        mixed = functional.scaled_dot_product_attention(*(rows.transpose(0, 1) for rows in heads_first))
        answer[asking] = mixed.transpose(0, 1)
    return answer


@pytest.mark.parametrize("pooling", ["cls", "avg"])
def test_attention_in_one_call_is_that_of_each_text(pooling: str, tmp_path: Path) -> None:
    """The indices that a GPU's ragged attention gets, checked with an attention of the same interface on the CPU."""
    made = make(tmp_path / "gte", **SHORT, configuration={"emb_pooler_type": pooling})  # type: ignore[arg-type]
    model, tokenizer, _ = model_of(made, threads=1)
    sequences = tokenizer.encode([*VARIED[:12], "短", LONG])
    wanted = model.encode(sequences)
    model._ragged = by_edges
    assert numpy.abs(model.encode(sequences) - wanted).max() < 1e-5 * numpy.abs(wanted).max()


@pytest.mark.parametrize("pooling", ["cls", "avg"])
def test_a_gpus_path_fits_together_in_types_and_shapes(pooling: str, tmp_path: Path) -> None:
    """On torch's device without values: products in bfloat16, torch's own ragged attention, one part of all rows."""
    import torch

    from service.engines.gte.forward import GteModel, Texts

    made = make(tmp_path / "gte", **SHORT, configuration={"emb_pooler_type": pooling})  # type: ignore[arg-type]
    model = GteModel(made, read_configuration(made), "bfloat16", "bfloat16", 2, torch.device("meta"))
    assert model._ragged is not None
    texts = Texts([3, 200, 400], 4, model._rows, model.device)
    assert texts.parts == [slice(0, 608)]
    with torch.inference_mode():
        last = model._encoded(torch.empty(texts.rows, SHORT["hidden"], device="meta"), texts)
    assert (last.shape, last.dtype) == ((3 if pooling == "cls" else 608, SHORT["hidden"]), torch.float32)


def test_torn_and_foreign_checkpoints_are_refused_by_name(tmp_path: Path) -> None:
    from service.engines.gte.weights import CheckpointError

    made = make(tmp_path / "gte", **SHORT)  # type: ignore[arg-type]
    whole = (made / "model.safetensors").read_bytes()
    for content, words in (
        (whole[:-10], "cut off"),
        (b"\xff" * 64, "cut off"),
        (whole[:8] + b"{" * 99, "cut off"),
    ):
        (made / "model.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match=words):
            vectors_of(made, ["a"])
    (made / "model.safetensors").unlink()
    (made / "pytorch_model.bin").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        vectors_of(made, ["a"])
    (made / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    with pytest.raises(EngineUnavailableError, match="t5"):
        read_configuration(made)
