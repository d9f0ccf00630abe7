"""How a variable is written where it is set: what its reader makes of that, and when nothing is wrong with it."""

from __future__ import annotations

import pytest

from ops.facts.start import Flaw
from ops.interpret.assignments import Syntax, bad_assignments

E, U, S, D = Syntax.ENVIRONMENT_FILE, Syntax.UNIT, Syntax.SHELL, Syntax.DOTENV
BAD = (
    (E, "export SHOP_URL=http://shop", Flaw.EXPORT),
    (E, "\ufeffSHOP_URL=http://shop", Flaw.BOM),
    (E, "SHOP_URL=\u201chttp://shop\u201d", Flaw.TYPED_QUOTES),
    (E, "SHOP_URL=\"'http://shop'\"", Flaw.QUOTES),
    (E, 'SHOP_URL="http://shop "', Flaw.SPACE),
    (E, "SHOP_URL=http://shop # of the shop", Flaw.COMMENT),
    (E, "SHOP_URL=http://${HOST}/", Flaw.REFERENCE),
    (U, "Environment=SHOP_URL=postgres://a b", Flaw.SPLIT),
    (U, 'Environment="export SHOP_URL=http://shop"', Flaw.EXPORT),
    (U, "Environment=SHOP_URL=http://shop/%20", Flaw.PERCENT),
    (U, "Environment=\"SHOP_URL='http://shop'\"", Flaw.QUOTES),
    (S, "export SHOP_URL=\"'http://shop'\"", Flaw.QUOTES),
    (S, 'export SHOP_URL="a$bc"', Flaw.DOLLAR),
    (S, "SHOP_URL=a$bc", Flaw.DOLLAR),
    (S, "export SHOP_URL=http://shop\r", Flaw.CARRIAGE_RETURN),
    (D, "SHOP_URL=\u2018http://shop\u2019", Flaw.TYPED_QUOTES),
    (D, '\ufeffSHOP_URL="http://shop"', Flaw.BOM),
)
GOOD = (
    (E, "SHOP_URL=http://shop"),
    (Syntax.LITERAL, "SHOP_URL=http://shop "),  # gunicorn strips it
    (Syntax.LITERAL, "SHOP_URL=http://shop\r"),
    (E, 'SHOP_URL="http://shop"'),
    (E, "SHOP_URL=pa$$word#1"),
    (E, "SHOP_URL=http://shop\r"),
    (E, "# SHOP_URL='\"x\"'"),
    (U, 'Environment="SHOP_URL=http://shop and more" OTHER=1'),
    (U, "Environment=SHOP_URL='http://shop' OTHER=%%"),
    (U, "Environment='SHOP_URL=http://shop'"),
    (U, "ExecStart=/usr/bin/env SHOP_URL='\"x\"' gunicorn"),
    (S, "export SHOP_URL='pa$word'"),
    (S, 'export SHOP_URL="http://shop"'),
    (S, 'export SHOP_URL="pa\\$word"'),
    (S, "SHOP_URL = x"),
    (D, "export SHOP_URL='http://shop'  # of the shop"),
)


@pytest.mark.parametrize(("syntax", "line", "flaw"), BAD)
def test_a_bad_writing_is_named(syntax: Syntax, line: str, flaw: Flaw) -> None:
    (found,) = bad_assignments("/etc/shop", f"# first\n{line}\n", syntax)
    assert (found.name, found.line, found.flaw) == ("SHOP_URL", 2, flaw)


@pytest.mark.parametrize(("syntax", "line"), GOOD)
def test_a_good_writing_is_let_be(syntax: Syntax, line: str) -> None:
    assert list(bad_assignments("/etc/shop", line, syntax)) == []
