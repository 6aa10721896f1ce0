"""What stands on a wire: messages as bytes, without any input or output."""

from __future__ import annotations

from .codec import ForeignMessage
from .jsontext import Limits
from .pipecat import JSONMessageSerializer

__all__ = ["ForeignMessage", "JSONMessageSerializer", "Limits"]
