"""One target under atheris, in a process of its own: ``python -m tests.fuzz.one TARGET [options of libFuzzer]``."""

import sys

import atheris

with atheris.instrument_imports(
    include=[
        "ops.archive",
        "ops.facts.bundle",
        "ops.interpret.x509",
        "ops.collect",
        "ops.text.sanitize",
        "ops.interpret",
        "crossplane",
    ],
):
    from tests.fuzz import targets


def main() -> None:
    """Runs until libFuzzer's options say to stop; ends the process."""
    parse = targets.TARGETS[sys.argv.pop(1)]
    targets.JUDGE_ONE_OF = 20
    atheris.Setup(sys.argv, parse)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
