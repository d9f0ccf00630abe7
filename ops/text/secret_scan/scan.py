"""All that is looked for in a text, one after the other."""

from __future__ import annotations

from ops.text.secret_scan import signs

# What is hidden can bring the next secret into reach of a name; a few rounds, then nothing changes any more.
MAX_ROUNDS = 4


def without_secrets(words: str) -> str:
    """``words`` with every secret in it hidden. What a text has no sign of is not loaded."""
    for _ in range(MAX_ROUNDS):
        before = words
        # Forms first: a block that spans lines is hidden as a whole.
        if signs.has_form(words):
            from ops.text.secret_scan.forms import without_forms

            words = without_forms(words)
        if "<" in words and "=" in words:
            from ops.text.secret_scan.html import without_attribute_secrets

            words = without_attribute_secrets(words)
        if signs.has_name(words):
            from ops.text.secret_scan.names_in_text import without_named_secrets

            words = without_named_secrets(words)
        if signs.has_program(words):
            from ops.text.secret_scan.command_lines import without_argument_secrets

            words = without_argument_secrets(words)
        if words == before:
            break
    return words
