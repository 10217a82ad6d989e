"""The frames that real servers sent (tests/data/record_pgoutput.py), by major."""

import json
from pathlib import Path

RECORDED: dict[int, list[bytes]] = {}
for _major, _frame in json.loads((Path(__file__).parents[2] / "data" / "pgoutput.json").read_text()):
    RECORDED.setdefault(_major, []).append(bytes.fromhex(_frame))
