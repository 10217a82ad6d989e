"""The CEL library, `cel`, without its command line.

`import cel` imports that too, and with it a toolkit for terminals: a tenth of a daemon's start and 8 MB of its memory, for nothing.
While `cel` is imported an empty module stands in its place.
"""

import sys
from types import ModuleType

_NAME = "cel.cli"
_empty = ModuleType(_NAME)
sys.modules.setdefault(_NAME, _empty)

try:
    import cel
finally:
    if sys.modules[_NAME] is _empty:
        del sys.modules[_NAME]

__all__ = ["cel"]
