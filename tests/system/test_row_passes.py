"""The compiled passes between int8's products compute what torch does in their place."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from service.engines.gte import row_passes
from service.engines.gte.linear import Quantized, in_turn

ROOT = Path(__file__).parents[2]
SIZES = [(1, 16), (3, 48), (64, 1024), (97, 1040)]  # rows, columns


@pytest.fixture(autouse=True)
def _library() -> None:
    """Built where the package is installed: scripts/test installs a compiler before it."""
    assert row_passes.compiled() is not None, f"{row_passes.LIBRARY} was not built: scripts/environment dev"


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patch:
        yield patch


def layers(columns: int, inner: int) -> tuple[Quantized, Quantized]:
    torch.manual_seed(columns)
    wide = Quantized(torch.randn(inner, columns) * 0.1, torch.randn(inner), gelu=True)
    return wide, Quantized(
        torch.randn(columns, inner) * 0.1, torch.randn(columns), gelu=False, after_gelu=True
    )


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def without_library(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_passes, "compiled", lambda: None)


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_levels_and_scales_are_torch_s_but_for_values_on_the_edge(
    rows: int, columns: int, by_torch: pytest.MonkeyPatch
) -> None:
    wide, narrow = layers(columns, 4 * columns)
    x = torch.randn(rows, columns) * torch.logspace(-3, 3, rows)[:, None]
    levels, scale = wide._quantized(x)
    products = wide._product(levels)
    passes = row_passes.compiled()
    assert passes is not None
    after = passes.levels_after_gelu(products, scale, wide._bias, narrow._widths, narrow._shift)
    without_library(by_torch)
    plain = wide._quantized(x)
    plain_after = narrow._quantized(wide._finished(products, scale))
    for ours, theirs in (((levels, scale), plain), (after, plain_after)):
        distance = (ours[0].int() - theirs[0].int()).abs()
        assert distance.max() <= 1
        assert (distance > 0).float().mean() < 0.001
        assert torch.allclose(ours[1], theirs[1], rtol=1e-5)


def test_both_layers_in_turn_give_torch_s_values(by_torch: pytest.MonkeyPatch) -> None:
    wide, narrow = layers(256, 1024)
    x = torch.randn(70, 256)
    ours = in_turn(wide, narrow, x)
    without_library(by_torch)
    theirs = in_turn(wide, narrow, x)
    assert torch.nn.functional.cosine_similarity(ours, theirs).min() > 0.9999


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "columns"), [*SIZES, (2, 5), (3, 1001)])
def test_a_sum_is_normalised_as_torch_does(kind: torch.dtype, rows: int, columns: int) -> None:
    x, y = torch.randn(rows, columns) * 30, torch.randn(rows, columns).to(kind)
    weight, bias = torch.randn(columns), torch.randn(columns)
    passes = row_passes.compiled()
    assert passes is not None
    ours = passes.normalised_sum(x, y, weight, bias, 1e-12)
    assert torch.allclose(
        ours, torch.nn.functional.layer_norm(x + y, (columns,), weight, bias, 1e-12), atol=1e-4
    )
    x[0, -1] = float("nan")
    assert not passes.normalised_sum(x, y, weight, bias, 1e-12)[0].isfinite().any()


def test_what_the_library_would_misread_is_refused() -> None:
    passes = row_passes.compiled()
    assert passes is not None
    x, row = torch.randn(2, 8), torch.randn(8)
    for wrong in (x.double(), x.half()):
        with pytest.raises(TypeError, match="float32"):
            passes.normalised_sum(x, wrong, row, row, 1e-12)
        with pytest.raises(TypeError, match="float32"):
            passes.normalised_sum(wrong, x, row, row, 1e-12)


def test_the_source_compiles_as_older_compilers_take_it(tmp_path: Path) -> None:
    """gcc before 12 has no names for the levels of the architecture."""
    library = tmp_path / "older.so"
    source = ROOT / "service" / "engines" / "gte" / "row_passes.c"
    flags = ["-O3", "-fPIC", "-shared", "-DCLONES_BY_FEATURE", "-Wall", "-Werror"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(library)], check=True, timeout=60)
    older, newer = row_passes.RowPasses(ctypes.CDLL(str(library))), row_passes.compiled()
    assert newer is not None
    x, widths = torch.randn(9, 100), torch.rand(100)
    assert (older.levels(x, widths)[0].int() - newer.levels(x, widths)[0].int()).abs().max() <= 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_in_its_row(value: float) -> None:
    wide, narrow = layers(64, 256)
    x = torch.randn(5, 64)
    clean = in_turn(wide, narrow, x)
    x[2, 7] = value
    answer = in_turn(wide, narrow, x)
    assert not answer[2].isfinite().any(), "it would pass for a vector"
    assert torch.equal(answer[[0, 1, 3, 4]], clean[[0, 1, 3, 4]])


def test_rows_of_zeros_views_and_half_as_wide_types_are_read_as_what_they_are() -> None:
    wide, _ = layers(64, 256)
    x = torch.randn(6, 64)
    assert torch.equal(wide(torch.zeros(2, 64)), wide(torch.zeros(2, 64)))
    assert wide(torch.zeros(2, 64)).isfinite().all()
    every_other = torch.randn(12, 64)
    every_other[::2] = x
    assert torch.equal(wide(every_other[::2]), wide(x))
    assert torch.equal(wide(x.bfloat16()), wide(x.bfloat16().float()))


def test_without_a_compiler_the_wheel_is_built_and_torch_computes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.rstrip("\0").split("\0"):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "benchmarks/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-index")
    built = subprocess.run(
        [*pip, "--no-build-isolation", "--wheel-dir", tmp_path, source],
        env=os.environ | {"CC": "false"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
