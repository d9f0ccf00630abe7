"""What a traceback in a log tells."""

from __future__ import annotations

import pytest

from ops.diagnosis.checks.log_reading import exception_in, package_frame

FLASK = '  File "/srv/venv/lib/python3.11/site-packages/flask/app.py", line 1488, in wsgi_app\n    x()\n'
OWN = '  File "/srv/app/app.py", line 13, in predict\n    return toolbox.read()\n'
TOOLBOX = (
    '  File "/srv/venv/lib/python3.11/site-packages/toolbox.py", line 2, in read\n    return json.loads(x)\n'
)
JSON = '  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode\n    raise JSONDecodeError\n'


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (FLASK + OWN + TOOLBOX, "/srv/venv/lib/python3.11/site-packages/toolbox.py:2"),
        (FLASK + OWN + TOOLBOX + JSON, "/srv/venv/lib/python3.11/site-packages/toolbox.py:2"),
        (FLASK + OWN, None),
        (FLASK + OWN + JSON, None),
        (FLASK, None),
    ],
)
def test_the_package_that_the_applications_line_calls(frames: str, expected: str | None) -> None:
    text = f"Exception on /predict [POST]\nTraceback (most recent call last):\n{frames}ValueError: no price\n"
    assert package_frame(text) == expected
    exception = exception_in(text)
    assert exception is not None
    assert exception[0] == "ValueError: no price"
