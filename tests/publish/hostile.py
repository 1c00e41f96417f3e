"""A campaign that means no good: what a board, a kernel or a pyperf suite says of itself is made to run, to break out, or to confuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from study.campaign import Campaign
from study.campaign.lines import line_digest

SCRIPT = "<script>document.title='taken';window.taken=1</script>"
ATTRIBUTE = '"\'><img src=x onerror="window.taken=1"><a href="javascript:window.taken=1" autofocus onfocus=window.taken=1>'
LOADS = "<link rel=stylesheet href=http://192.0.2.1/x.css><img src=http://192.0.2.1/x.png><iframe src=//192.0.2.1></iframe>"
ENDS = "</pre></code></td></table></main></style><style>*{display:none}</style></title><meta http-equiv=refresh content='0;url=http://192.0.2.1/'>"
LONG = "very long " * 600
TURNED = "\u202eevil\u2066\u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627"
NUL = "a\x00b\x1b[31mred\x07\r\nnext"
MARKDOWN = "![x](http://192.0.2.1/y.png) [link](javascript:alert(1)) `code` $x^2$ {{ 7*7 }} {% raw %} # title"
ALL = {"script": SCRIPT, "attribute": ATTRIBUTE, "loads": LOADS, "ends": ENDS, "long": LONG, "turned": TURNED, "nul": NUL,
       "markdown": MARKDOWN}  # fmt: skip
# What its three boards are called.
BOARDS = {"qemu-cortex-a57": SCRIPT + TURNED + NUL, "qemu-neoverse-n1": ATTRIBUTE + MARKDOWN + LONG}


def make(reference: Campaign, folder: Path) -> Path:
    """Copy a part of a campaign and let everything in it that others write be hostile; its digests are right."""
    folder.mkdir()
    shutil.copy(reference.folder / "design.json", folder)
    for old in reference.boots():
        board = old.name.rpartition(".")[0]
        if board not in BOARDS or not old.name.endswith((".1", ".8", ".9")):  # the boots of one kernel
            continue
        new = folder / "boots" / old.name
        new.mkdir(parents=True)
        facts = json.loads((old / "boot.json").read_text())
        facts |= {
            "board": BOARDS[board],
            "kernel": f"6.1 {ENDS}",
            "mode": LOADS,
            "command_line": " ".join(ALL.values()),
            "cpu": ALL,
        }
        facts |= {"notes": list(ALL.values()), SCRIPT: SCRIPT}
        (new / "boot.json").write_text(json.dumps(facts))
        lines = [json.loads(line) for line in (old / "visits.jsonl").read_text().splitlines()]
        for line in lines:
            line["pyperf"]["metadata"] |= {"hostname": SCRIPT + NUL, "note": " ".join(ALL.values()), ATTRIBUTE: LOADS}
        text = "".join(json.dumps({**line, "sha256": line_digest(line)}) + "\n" for line in lines)
        (new / "visits.jsonl").write_text(text)
    return folder
