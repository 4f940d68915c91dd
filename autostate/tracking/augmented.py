"""Whether the program writes by an augmented assignment, such as `stats["items"] += len(items)`.

Such a statement adds, whatever it adds: with no items it writes the number that is there already,
and means a difference. `prices["tea"] = 99.5` means the number.
"""

from __future__ import annotations

import dis
import sys
from types import FrameType
from typing import Final

_SWAP: Final = dis.opmap["SWAP"]
_OURS: Final = __name__.partition(".")[0] + "."


def is_augmented() -> bool:
    """Tell whether the statement of the program that is under way is an augmented assignment.

    The compiler brings the sum below the container and the key: the instruction before the one that
    stores is `SWAP 2`, which it is in no other statement.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        frame = frame.f_back
    if frame is None or frame.f_lasti < 2:
        return False
    code, at = frame.f_code.co_code, frame.f_lasti
    return code[at - 2] == _SWAP and code[at - 1] == 2
