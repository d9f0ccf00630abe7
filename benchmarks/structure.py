"""Counts what a newcomer meets: rooms, arrows between them, long functions, class names that stand for two things.

    python -m benchmarks.structure [CHECKOUT]

A room is a module or package directly below ``ops`` or ``service``; an arrow, one room that imports another. Lengths
are lines of a function from its ``def`` to its last line.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

LONGEST = 10


def modules(root: Path, package: str) -> dict[str, ast.Module]:
    """The package's modules by dotted name; what lies behind a link is left out."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        relative = path.relative_to(root)
        if any((root / part).is_symlink() for part in relative.parents if part != Path()):
            continue
        parts = relative.with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def room_of(name: str) -> str:
    """``ops.collect`` for ``ops.collect.net.tls``."""
    return ".".join(name.split(".")[:2])


def imported(tree: ast.Module, known: dict[str, ast.Module]) -> Iterator[str]:
    """The known modules that a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def main() -> None:
    """Print the counts for both packages."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for package in ("ops", "service"):
        trees = modules(root, package)
        rooms = {room_of(name) for name in trees if "." in name}
        arrows = {
            (room_of(name), room_of(target))
            for name, tree in trees.items()
            for target in imported(tree, trees)
            if target.startswith(f"{package}.") and room_of(name) != room_of(target) and "." in name
        }
        functions = [
            (node.end_lineno - node.lineno + 1, f"{name}:{node.name}")
            for name, tree in trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
        ]
        classes: dict[str, set[str]] = defaultdict(set)
        for name, tree in trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    classes[node.name].add(name)
        double = sorted(name for name, places in classes.items() if len(places) > 1)
        lengths = [length for length, _ in functions]
        print(f"{package}: {len(rooms)} rooms, {len(arrows)} arrows, {len(trees)} modules")
        print(f"  functions: {len(lengths)}, mean {statistics.mean(lengths):.1f} lines; the longest:")
        for length, name in sorted(functions, reverse=True)[:LONGEST]:
            print(f"    {length:4d}  {name}")
        print(f"  class names that stand for two things: {len(double)} {' '.join(double)}")


if __name__ == "__main__":
    main()
