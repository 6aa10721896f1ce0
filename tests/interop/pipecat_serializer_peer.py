"""A process that has a serializer of Pipecat, or of the package that its workers were before.

Its argument is the module of `JSONMessageSerializer`.  Reads JSON lines.  {"make": [module, class,
fields]} is answered with what the serializer writes for such a message; {"echo": text} with what it
writes for the message it reads from it.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import base64
import importlib
import json
import sys

from loguru import logger

logger.remove()


def revive(value):
    """Make objects of {"!": [module, class, fields]}, {"enum": ...} and {"bytes": ...}."""
    match value:
        case {"!": [module, name, fields]}:
            return make(module, name, fields)
        case {"enum": [module, name, member]}:
            return getattr(importlib.import_module(module), name)[member]
        case {"bytes": text}:
            return base64.b64decode(text)
        case dict():
            return {key: revive(each) for key, each in value.items()}
        case list():
            return [revive(each) for each in value]
    return value


def make(module, name, fields):
    """Make an object of a class of Pipecat."""
    return getattr(importlib.import_module(module), name)(
        **{key: revive(each) for key, each in fields.items()}
    )


def main() -> None:
    """Answer each line with one."""
    serializer = importlib.import_module(sys.argv[1]).JSONMessageSerializer()
    for line in sys.stdin:
        match json.loads(line):
            case {"make": [module, name, fields]}:
                found = make(module, name, fields)
            case {"echo": text}:
                found = serializer.deserialize(text.encode())
        written = serializer.serialize(found).decode()
        print(json.dumps({"type": type(found).__name__, "text": written}), flush=True)


if __name__ == "__main__":
    main()
