"""The clock that time slices are measured with.

One module attribute, so that a run which must not depend on real time can swap it.  It is not
trio's clock: that one costs three times as much to read, and it is read for every message.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

slice_clock: Callable[[], float] = perf_counter
