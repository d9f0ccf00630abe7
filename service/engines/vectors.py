"""The type of an encoder's vectors."""

from typing import Any

import numpy

# One row a text, or one row.
Vectors = numpy.ndarray[Any, numpy.dtype[numpy.float32]]
