"""GTE-large in OpenVINO beside this project's own engine: speed, agreement with float32, start, memory.

    python -m benchmarks.encoder_openvino                                   the whole
    python -m benchmarks.encoder_openvino --candidates ours-int8 rows-int8 --rounds 3 --parts speed

openvino and nncf come from PyPI into --work where they cannot be imported. Each candidate is a process of its own that
holds one model; they take turns, batch by batch, so that what disturbs the machine disturbs all alike, and ratios are
those of one round. Every round has batches it has not had before, as a service has.

The forms of the model in OpenVINO:
- ``padded``: transformers' BertModel, converted: texts padded to the longest, with an attention mask.
- ``rows``: the tokens of a batch as the rows of one matrix, texts padded inside the attention only (gathered there and
  back); the last layer for ``[CLS]`` alone. What this project's own engine does.
- ``blocks``: the same rows, attention of all to all under a mask that leaves each text to itself.
- ``one``: one text at a time, without mask or padding.
- ``streams``: as ``one``, with a stream of one thread for each core (the THROUGHPUT hint), the longest text first.
- ``parts``: the texts dealt out to those streams, each stream's share as ``blocks``.

8 bits in OpenVINO: ``int8`` is nncf's compressed weights (a scale for each channel) with the plug-in's dynamic
quantization of activations; ``static`` is nncf's post-training quantization with SmoothQuant, calibrated on other texts
of the same maker as those of the comparison.
"""

import argparse
import fcntl
import importlib
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy
import psutil

from benchmarks.embedding_throughput import flop_of, spread, texts_of
from service.engines.forkserver.client import Forkserver
from service.engines.gte.checkpoint import Configuration, read_configuration
from service.engines.gte.engine import GteEngine, GteLaunch
from service.engines.gte.tokens import Tokenizer, Tokens
from tests.made_checkpoint import make, varied

PACKAGES = ["openvino==2026.4.1", "nncf==3.4.0"]
THREADS = len(os.sched_getaffinity(0))
# As the engine's queue fills a batch (GTE_BATCH_TOKENS).
BATCH_TOKENS = 512
CALIBRATION = 128  # texts
# Forms that only differ in how a model is asked.
SAME_MODEL = {"streams": "one", "parts": "blocks"}
_FAR_BELOW = -1e9  # what a mask adds where a token must not look


@dataclass(frozen=True)
class Candidate:
    """One way to compute. ``form`` is empty for this project's engine."""

    precision: str
    form: str = ""
    weights: str = "float32"  # of OpenVINO's file: float32, compressed or static
    settings: tuple[tuple[str, str], ...] = ()


def _openvino() -> dict[str, Candidate]:
    found = {}
    for form in ("padded", "rows", "blocks", "one", "streams", "parts"):
        f32 = (("INFERENCE_PRECISION_HINT", "f32"),)
        found[f"{form}-float32"] = Candidate("float32", form, settings=f32)
        found[f"{form}-bfloat16"] = Candidate(
            "bfloat16", form, settings=(("INFERENCE_PRECISION_HINT", "bf16"),)
        )
        found[f"{form}-static"] = Candidate("int8", form, "static", f32)
        for group in ("0", "32", "64", "128", "1024"):
            name = f"{form}-int8" if group == "128" else f"{form}-int8-group{group}"
            dynamic = (*f32, ("DYNAMIC_QUANTIZATION_GROUP_SIZE", group))
            found[name] = Candidate("int8", form, "compressed", dynamic)
    return found


CANDIDATES = {
    **{f"ours-{precision}": Candidate(precision) for precision in ("float32", "bfloat16", "int8")},
    **_openvino(),
}


# --- the model in OpenVINO ---------------------------------------------------------------------------------------


def feed(form: str, sequences: Sequence[Tokens]) -> dict[str, Any]:
    """The inputs of a form for a batch."""
    lengths = [len(sequence) for sequence in sequences]
    longest, count, total = max(lengths), len(lengths), sum(lengths)
    starts = numpy.cumsum([0, *lengths[:-1]]).astype(numpy.int32)
    if form == "padded":
        ids = numpy.zeros((count, longest), dtype=numpy.int64)
        mask = numpy.zeros((count, longest), dtype=numpy.int64)
        for index, sequence in enumerate(sequences):
            ids[index, : len(sequence)] = sequence
            mask[index, : len(sequence)] = 1
        return {"input_ids": ids, "attention_mask": mask}
    inputs: dict[str, Any] = {
        "ids": numpy.concatenate(sequences),
        "places": numpy.concatenate([numpy.arange(length, dtype=numpy.int32) for length in lengths]),
    }
    if form == "one":
        return inputs
    inputs["firsts"] = starts
    if form == "blocks":
        mask = numpy.full((1, 1, total, total), _FAR_BELOW, dtype=numpy.float32)
        for start, length in zip(starts, lengths, strict=True):
            mask[0, 0, start : start + length, start : start + length] = 0
        return {**inputs, "mask": mask}
    gather = numpy.zeros((count, longest), dtype=numpy.int32)
    mask = numpy.full((count, 1, 1, longest), _FAR_BELOW, dtype=numpy.float32)
    for index, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        gather[index, :length] = range(start, start + length)
        mask[index, 0, 0, :length] = 0
    back = [numpy.arange(length, dtype=numpy.int32) + index * longest for index, length in enumerate(lengths)]
    return {**inputs, "gather": gather, "back": numpy.concatenate(back), "mask": mask}


def graph(directory: Path, configuration: Configuration, form: str) -> Any:
    """The encoder in OpenVINO's operations, with the vector of ``[CLS]``: ``rows``, ``blocks`` or ``one``."""
    import openvino as ov
    from openvino import opset13 as op

    from service.engines.gte.weights import Weights

    weights = Weights(directory)
    hidden, heads = configuration.hidden, configuration.heads
    integer, real = ov.Type.i32, ov.Type.f32
    inputs = {"ids": op.parameter([-1], integer, "ids"), "places": op.parameter([-1], integer, "places")}
    if form != "one":
        inputs["firsts"] = op.parameter([-1], integer, "firsts")
        shape = [1, 1, -1, -1] if form == "blocks" else [-1, 1, 1, -1]
        inputs["mask"] = op.parameter(shape, real, "mask")
    if form == "rows":
        inputs["gather"] = op.parameter([-1, -1], integer, "gather")
        inputs["back"] = op.parameter([-1], integer, "back")

    for name, parameter in inputs.items():
        parameter.output(0).get_tensor().set_names({name})

    def number(value: int | list[int]) -> Any:
        return op.constant(numpy.array(value, dtype=numpy.int64))

    def tensor(name: str, *shape: int) -> Any:
        return weights.copy(name, *shape).numpy()

    def norm(x: Any, name: str) -> Any:
        flat = op.mvn(x, number([1]), True, configuration.epsilon, "inside_sqrt")
        weight, bias = tensor(f"{name}.weight", hidden), tensor(f"{name}.bias", hidden)
        return op.add(op.multiply(flat, op.constant(weight[None])), op.constant(bias[None]))

    def linear(x: Any, weight: Any, bias: Any) -> Any:
        return op.add(op.matmul(x, op.constant(weight), False, True), op.constant(bias[None]))

    def dense(x: Any, name: str, out: int, columns: int) -> Any:
        return linear(x, tensor(f"{name}.weight", out, columns), tensor(f"{name}.bias", out))

    def by_head(x: Any) -> Any:
        """(texts, tokens, hidden) to (texts, heads, tokens, size of a head)."""
        shaped = op.reshape(x, number([0, 0, heads, hidden // heads]), True)
        return op.transpose(shaped, number([0, 2, 1, 3]))

    def attention(x: Any, name: str, *, first_only: bool) -> tuple[Any, Any]:
        """What the tokens (or the first ones) were, and what they saw."""
        asking = x
        if first_only:
            asking = op.gather(x, inputs["firsts"] if form != "one" else number([0]), number(0))
        parts = ["query", "key", "value"]
        weight = [tensor(f"{name}.{part}.weight", hidden, hidden) for part in parts]
        bias = [tensor(f"{name}.{part}.bias", hidden) for part in parts]
        if first_only:
            query = linear(asking, weight[0], bias[0])
            rows = linear(x, numpy.concatenate(weight[1:]), numpy.concatenate(bias[1:]))
        else:
            rows = linear(x, numpy.concatenate(weight), numpy.concatenate(bias))
        if form == "rows":
            rows = op.gather(rows, inputs["gather"], number(0))
            if first_only:
                query = op.unsqueeze(query, number(1))
        else:
            rows = op.unsqueeze(rows, number(0))
            if first_only:
                query = op.unsqueeze(query, number(0))
        split = op.split(rows, number(2), 2 if first_only else 3).outputs()
        three = [by_head(part) for part in ([query, *split] if first_only else split)]
        mask = inputs.get("mask")
        if form == "blocks" and first_only:
            mask = op.gather(mask, inputs["firsts"], number(2))
        seen = op.scaled_dot_product_attention(*three, *([] if mask is None else [mask]))
        flat = op.reshape(op.transpose(seen, number([0, 2, 1, 3])), number([-1, hidden]), False)
        if form == "rows" and not first_only:
            flat = op.gather(flat, inputs["back"], number(0))
        return asking, flat

    words = op.constant(tensor("embeddings.word_embeddings.weight", configuration.vocabulary, hidden))
    kinds = tensor("embeddings.token_type_embeddings.weight", configuration.kinds, hidden)
    places = tensor("embeddings.position_embeddings.weight", configuration.positions, hidden) + kinds[0]
    x = op.add(
        op.gather(words, inputs["ids"], number(0)),
        op.gather(op.constant(places), inputs["places"], number(0)),
    )
    x = norm(x, "embeddings.LayerNorm")
    for index in range(configuration.layers):
        name = f"encoder.layer.{index}"
        was, seen = attention(x, f"{name}.attention.self", first_only=index == configuration.layers - 1)
        x = norm(
            op.add(dense(seen, f"{name}.attention.output.dense", hidden, hidden), was),
            f"{name}.attention.output.LayerNorm",
        )
        inner = op.gelu(dense(x, f"{name}.intermediate.dense", configuration.intermediate, hidden), "erf")
        out = dense(inner, f"{name}.output.dense", hidden, configuration.intermediate)
        x = norm(op.add(out, x), f"{name}.output.LayerNorm")
    return ov.Model([op.result(x)], list(inputs.values()), form)


def exported(directory: Path) -> Any:
    """transformers' BertModel as OpenVINO converts it, with the vector of ``[CLS]``."""
    import openvino as ov
    import torch
    from transformers import BertModel

    class First(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.bert = BertModel.from_pretrained(directory, add_pooling_layer=False).eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]

    whole = numpy.ones((2, 8), dtype=numpy.int64)
    example = {name: torch.from_numpy(whole) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        return ov.convert_model(
            First(), example_input=example, input=[("input_ids", [-1, -1]), ("attention_mask", [-1, -1])]
        )


def build(directory: Path, work: Path, form: str, weights: str) -> None:
    """Write one model file."""
    import openvino as ov

    target = model_file(work, form, weights)
    if weights == "float32":
        model = (
            exported(directory) if form == "padded" else graph(directory, read_configuration(directory), form)
        )
    else:
        import nncf

        model = ov.Core().read_model(model_file(work, form, "float32"))
        if weights == "compressed":
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        else:
            sequences = Tokenizer(directory, BATCH_TOKENS).encode(varied(200 + CALIBRATION)[200:])
            data = nncf.Dataset(sequences, lambda sequence: feed(form, [sequence]))
            model = nncf.quantize(
                model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(sequences)
            )
    scratch = target.with_name(f"new-{target.name}")
    ov.save_model(model, scratch, compress_to_fp16=False)
    scratch.with_suffix(".bin").replace(target.with_suffix(".bin"))
    scratch.replace(target)


def model_file(work: Path, form: str, weights: str) -> Path:
    """Where a model lies."""
    return work / f"{SAME_MODEL.get(form, form)}-{weights}.xml"


# --- a candidate in its process -----------------------------------------------------------------------------------


def serve(channel: Connection, file: Path, candidate: Candidate, vocabulary: int, cache: Path | None) -> None:
    """What a process with OpenVINO does: load, say so, answer batches until it is told None."""
    import openvino as ov

    form = candidate.form
    core = ov.Core()
    if cache is not None:
        core.set_property({"CACHE_DIR": str(cache)})
    settings = {"INFERENCE_NUM_THREADS": str(THREADS), **dict(candidate.settings)}
    streams = THREADS if form in SAME_MODEL else 1
    settings |= {"PERFORMANCE_HINT": "THROUGHPUT" if streams > 1 else "LATENCY", "NUM_STREAMS": str(streams)}
    compiled = core.compile_model(str(file), "CPU", settings)
    queue = ov.AsyncInferQueue(compiled, streams)
    dimension = compiled.output(0).get_partial_shape()[-1].get_length()
    form = SAME_MODEL.get(form, form)

    def encode(sequences: Sequence[Tokens]) -> Any:
        vectors = numpy.empty((len(sequences), dimension), dtype=numpy.float32)

        def keep(done: Any, indices: list[int]) -> None:
            vectors[indices] = done.get_output_tensor(0).data

        held: list[dict[str, Any]] = []
        queue.set_callback(keep)
        for indices in shares(sequences, len(sequences) if form == "one" else streams):
            # What is shared has to live until it has been read.
            held.append(feed(form, [sequences[index] for index in indices]))
            queue.start_async(held[-1], indices, share_inputs=True)
        queue.wait_all()
        return vectors

    sample = [numpy.arange(64, dtype=numpy.int32) % vocabulary]
    encode(sample)
    encode(sample)
    wanted = (
        "INFERENCE_PRECISION_HINT",
        "NUM_STREAMS",
        "INFERENCE_NUM_THREADS",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE",
    )
    channel.send({name: str(compiled.get_property(name)) for name in wanted})
    while (sequences := channel.recv()) is not None:
        channel.send(encode(sequences))


def shares(sequences: Sequence[Tokens], count: int) -> list[list[int]]:
    """The places of the sequences dealt out into at most ``count`` shares of about as many tokens."""
    dealt: list[list[int]] = [[] for _ in range(count)]
    tokens = [0] * count
    for index in sorted(range(len(sequences)), key=lambda index: -len(sequences[index])):
        least = tokens.index(min(tokens))
        dealt[least].append(index)
        tokens[least] += len(sequences[index])
    return [share for share in dealt if share]


@dataclass
class Running:
    """A candidate's process, loaded."""

    name: str
    encode: Callable[[Sequence[Tokens]], Any]
    end: Callable[[], None]
    pid: int
    ready_seconds: float
    facts: str
    seconds: dict[str, list[float]] = field(default_factory=dict)  # a batch's, by case
    gflops: dict[str, list[float]] = field(default_factory=dict)

    def bytes(self) -> int:
        """Proportional set size, of the forkserver that it was forked from too, if it was."""
        process = psutil.Process(self.pid)
        parent = process.parent()
        family = [process, parent] if parent is not None and parent.pid != os.getpid() else [process]
        return sum(int(one.memory_full_info().pss) for one in family)


def start(name: str, directory: Path, work: Path, cache: Path | None = None) -> Running:
    """Start a candidate and wait until it has computed something."""
    candidate = CANDIDATES[name]
    began = time.perf_counter()
    if not candidate.form:
        forkserver = Forkserver(GteLaunch(directory, candidate.precision, THREADS).forkserver())
        engine = GteEngine(forkserver)

        def end_both() -> None:
            engine.end()
            forkserver.end()

        return Running(
            name,
            lambda sequences: engine.encode(sequences, 60.0),
            end_both,
            engine.pid,
            time.perf_counter() - began,
            f"products in {engine.facts.products}",
        )
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    file = model_file(work, candidate.form, candidate.weights)
    vocabulary = read_configuration(directory).vocabulary
    process = context.Process(target=serve, args=(there, file, candidate, vocabulary, cache), daemon=True)
    process.start()
    there.close()
    facts = here.recv()

    def encode(sequences: Sequence[Tokens]) -> Any:
        here.send(sequences)
        return here.recv()

    def end() -> None:
        here.send(None)
        process.join()

    assert process.pid is not None
    return Running(name, encode, end, process.pid, time.perf_counter() - began, json.dumps(facts))


class Turn:
    """The machine for oneself: the flock of a file, kept from block to block for at most a minute and a half."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._since = 0.0

    def __enter__(self) -> None:
        if self._path is not None and self._file is None:
            self._file = self._path.open("a")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._since = time.monotonic()

    def __exit__(self, *_error: object) -> None:
        if self._file is not None and time.monotonic() - self._since > 50:
            self._file.close()
            self._file = None


# --- what is measured ----------------------------------------------------------------------------------------------


def text_of(tokens: int, seed: int) -> str:
    """A text of so many tokens: every character is one, and two are special."""
    choose = numpy.random.default_rng(seed)
    return "".join(chr(0x4E00 + int(number)) for number in choose.integers(0, 5000, tokens - 2))


def mixed(seed: int, most: int = BATCH_TOKENS) -> list[str]:
    """Texts of one batch as the queue would take them: until the next would go beyond ``most`` tokens."""
    taken: list[str] = []
    for text in texts_of(200, seed):
        if taken and sum(len(one) + 2 for one in [*taken, text]) > most:
            break
        taken.append(text)
    return taken


def speed(runners: list[Running], tokenizer: Tokenizer, rounds: int, turn: "Turn", *, first: int) -> None:
    """Every candidate's time for every case, in turns."""
    for number in range(first, first + rounds):
        cases = {f"1x{tokens}": [[text_of(tokens, number)]] for tokens in (32, 128, 512)}
        cases["1x32"] *= 3
        cases["mixed"] = [mixed(10 * number + index) for index in range(2)]
        with turn:
            for case, batches in cases.items():
                flop = sum(flop_of(text) for texts in batches for text in texts)
                sequences = [tokenizer.encode(texts) for texts in batches]
                for runner in runners[number % len(runners) :] + runners[: number % len(runners)]:
                    began = time.perf_counter()
                    for batch in sequences:
                        runner.encode(batch)
                    taken = time.perf_counter() - began
                    runner.seconds.setdefault(case, []).append(taken / len(batches))
                    runner.gflops.setdefault(case, []).append(flop / taken / 1e9)
        print(
            f"round {number + 1}",
            *(f"{r.name} {r.seconds['mixed'][-1] * 1000:.0f}" for r in runners),
            flush=True,
        )


def agreement(runners: list[Running], tokenizer: Tokenizer, count: int, turn: "Turn") -> None:
    """A row for each candidate, against this project's float32 (the first runner)."""
    from benchmarks.embedding_agreement import nearest, unit

    sequences = tokenizer.encode(varied(count))
    exact: Any = None
    print("\n| | centred cosine mean | lowest | same nearest | of five nearest |\n|---|---|---|---|---|")
    for runner in runners:
        vectors = []
        for begin in range(0, count, 4):
            with turn:
                vectors.append(runner.encode(sequences[begin : begin + 4]))
        found = numpy.concatenate(vectors)
        if exact is None:
            exact = found
        close = (unit(exact - exact.mean(0)) * unit(found - found.mean(0))).sum(axis=1)
        mine, others = nearest(exact), nearest(found)
        five = numpy.mean([len(set(a) & set(b)) / 5 for a, b in zip(mine, others, strict=True)])
        same = (mine[:, 0] == others[:, 0]).mean()
        print(
            f"| {runner.name} | {close.mean():.5f} | {close.min():.5f} | {same:.0%} | {five:.0%} |",
            flush=True,
        )


def footprint(names: list[str], directory: Path, work: Path, tokenizer: Tokenizer, turn: "Turn") -> None:
    """Start and memory, one candidate after the other: alone, so that no page is shared."""
    print("\n| | ready s | ready s, cached | MiB ready | MiB ready, cached | MiB after 100 batches |")
    print("|---|---|---|---|---|---|")
    for name in names:
        cells: dict[str, list[float]] = {"plain": [], "cached": []}
        sizes = {"plain": 0, "cached": 0, "after": 0}
        cache = work / "cache" / name
        for _ in range(2 if name.startswith("ours") else 3):
            for kind in ("plain", "cached"):
                if kind == "cached" and name.startswith("ours"):
                    continue
                with turn:
                    runner = start(name, directory, work, cache if kind == "cached" else None)
                cells[kind].append(runner.ready_seconds)
                sizes[kind] = runner.bytes()
                if kind == "plain" and not sizes["after"]:
                    for seed in range(100):
                        with turn:
                            runner.encode(tokenizer.encode(mixed(1000 + seed, 40 + 2 * (seed % 50))))
                    sizes["after"] = runner.bytes()
                runner.end()
        # The first start with a cache writes it.
        cells["cached"] = cells["cached"][1:]
        seconds = [spread(cells[kind], "{:.1f}") for kind in ("plain", "cached")]
        memory = [
            f"{sizes[kind] / 2**20:.0f}" if sizes[kind] else "-" for kind in ("plain", "cached", "after")
        ]
        print(f"| {name} | {' | '.join([*seconds, *memory])} |", flush=True)


def report(runners: list[Running]) -> None:
    """Times, and ratios to this project's engine in the same precision."""
    cases = list(runners[0].seconds)
    print(f"\n{time.strftime('%F')}, {platform.processor() or platform.machine()}, {THREADS} threads")
    for runner in runners:
        print(f"{runner.name}: {runner.facts}")
    print("\nms a batch, median [lowest-highest]; GFLOP/s of the mixed batches, counted without padding\n")
    print(f"| | {' | '.join(cases)} | GFLOP/s |\n|{'---|' * (len(cases) + 2)}")
    for runner in runners:
        cells = [spread([1000 * one for one in runner.seconds[case]], "{:.0f}") for case in cases]
        print(f"| {runner.name} | {' | '.join(cells)} | {spread(runner.gflops['mixed'], '{:.0f}')} |")
    print("\nspeed as a multiple of ours in the same precision and round, median [lowest-highest]\n")
    print(f"| | {' | '.join(cases)} |\n|{'---|' * (len(cases) + 1)}")
    for runner in runners:
        ours = next((one for one in runners if one.name == f"ours-{CANDIDATES[runner.name].precision}"), None)
        if ours is not None and ours is not runner:
            cells = [
                spread([a / b for a, b in zip(ours.seconds[case], runner.seconds[case], strict=True)])
                for case in cases
            ]
            print(f"| {runner.name} | {' | '.join(cells)} |")


def provide(work: Path) -> None:
    """Make openvino importable."""
    packages = work / "openvino-packages"
    sys.path.append(str(packages))  # at the end: the libraries that are here already win
    try:
        import nncf  # noqa: F401
        import openvino  # noqa: F401
    except ImportError:
        print(f"installing {' '.join(PACKAGES)} into {packages}", flush=True)
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(packages), *PACKAGES]
        subprocess.run(command, check=True)
        importlib.invalidate_caches()


def usual() -> list[str]:
    """The candidates that the processor has instructions for: without them, bfloat16 takes a minute a batch."""
    import openvino as ov

    forms = ("padded-{}", "rows-{}", "blocks-{}", "one-{}", "streams-{}", "parts-{}")
    names = ["ours-float32", "ours-int8", *(form.format("float32") for form in forms)]
    names += [*(form.format("int8") for form in forms), "streams-static"]
    if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        names += ["ours-bfloat16", *(form.format("bfloat16") for form in forms)]
    return names


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="GTE-large in OpenVINO beside this project's engine")
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, metavar="NAME")
    parser.add_argument("--parts", nargs="+", choices=["speed", "agreement", "footprint"])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--first-round", type=int, default=0, help="rounds of other numbers have other texts")
    parser.add_argument("--texts", type=int, default=200, help="of the agreement")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/gte-openvino-benchmark"))  # noqa: S108
    parser.add_argument(
        "--checkpoint", type=Path, help="a BERT-large checkpoint; made in --work if not given"
    )
    parser.add_argument(
        "--lock", type=Path, help="a file whose flock is held for each round: machines are shared"
    )
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    directory: Path = arguments.checkpoint or work / "made"
    parts = arguments.parts or ["speed", "agreement", "footprint"]

    turn = Turn(arguments.lock)
    with turn:
        provide(work)
        if not (directory / "config.json").is_file():
            print(f"making the checkpoint in {directory}", flush=True)
            make(directory)
    names: list[str] = arguments.candidates or usual()
    for form, weights in dict.fromkeys((CANDIDATES[name].form, CANDIDATES[name].weights) for name in names):
        for needed in dict.fromkeys(("float32", weights)):
            if form and not model_file(work, form, needed).is_file():
                print(f"building {model_file(work, form, needed).name}", flush=True)
                # A process of its own: what it needs is gone afterwards.
                builder = multiprocessing.get_context("spawn").Process(
                    target=build, args=(directory, work, form, needed)
                )
                with turn:
                    builder.start()
                    builder.join()
                if builder.exitcode:
                    sys.exit(f"{form}, {needed}: could not be built")
    tokenizer = Tokenizer(directory, read_configuration(directory).positions)
    runners: list[Running] = []
    try:
        if "speed" in parts or "agreement" in parts:
            for name in names:
                with turn:
                    runners.append(start(name, directory, work))
                print(f"{name}: {runners[-1].ready_seconds:.1f} s, {runners[-1].facts}", flush=True)
        if "speed" in parts:
            speed(runners, tokenizer, arguments.rounds, turn, first=arguments.first_round)
            report(runners)
        if "agreement" in parts:
            agreement(runners, tokenizer, arguments.texts, turn)
    finally:
        for runner in runners:
            runner.end()
    if "footprint" in parts:
        footprint(names, directory, work, tokenizer, turn)


if __name__ == "__main__":
    main()
