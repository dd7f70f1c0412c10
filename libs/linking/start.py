#!/usr/bin/env python3
"""Writes start.ld, the functions that run while a service starts and is idle; see docs/adr/0022.

    valgrind --tool=callgrind --demangle=no --callgrind-out-file=core.out quartet-core serve
    libs/linking/start.py core.out quartet-core [media.out quartet-media ...]

The binaries have the profile `dist` with their symbols (CARGO_PROFILE_DIST_STRIP=none), the settings of a
development stack, and are stopped some seconds after /ready has returned 200.
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

HASH = re.compile(r"17h[0-9a-f]{16}E(\..*)?$")


def executed(profile: str, binary: str) -> set[str]:
    """The symbols of the binary in a profile of callgrind."""
    names, objects, found, inside = {}, {}, set(), False
    for line in Path(profile).read_text().splitlines():
        match = re.match(r"(c?)(ob|fn)=\((\d+)\)(?: (.*))?$", line)
        if not match:
            continue
        callee, kind, number, name = match.groups()
        known = objects if kind == "ob" else names
        if name:
            known[number] = name
        if callee:
            continue
        if kind == "ob":
            inside = Path(known[number]).name == Path(binary).name
        elif inside:
            found.add(known[number].split("'")[0])
    return found


def functions(binary: str) -> list[tuple[str, int, str]]:
    """Address, size and symbol. Identical functions have one address."""
    lines = subprocess.run(["nm", "-S", binary], capture_output=True, text=True, check=True).stdout
    fields = (line.split() for line in lines.splitlines())
    return [(it[0], int(it[1], 16), it[3]) for it in fields if len(it) == 4 and it[2] in "tTwW"]


def main(arguments: list[str]) -> None:
    share: dict[str, float] = defaultdict(float)
    for profile, binary in zip(arguments[::2], arguments[1::2], strict=True):
        ran, every = defaultdict(int), defaultdict(int)
        names, known = executed(profile, binary), functions(binary)
        addresses = {address for address, _, symbol in known if symbol in names}
        for address, size, symbol in known:
            # Without the hash, which changes with every version of a crate.
            pattern = HASH.sub("17h*", symbol)
            every[pattern] += size
            ran[pattern] += size if address in addresses else 0
        for pattern, size in ran.items():
            share[pattern] = max(share[pattern], size / max(every[pattern], 1))
    # Generic code shares names. Those of which all instances run come first, so that the others do not lie
    # between them.
    ran_first = sorted(share, key=lambda pattern: (-round(share[pattern], 1), pattern))
    lines = "\n".join(f"*(.text.{pattern})" for pattern in ran_first if share[pattern] > 0)
    text = f"""/* Functions that run while a service starts and is idle. Written by start.py; do not edit. */
SECTIONS {{ .text.start : {{
{lines}
/* Cold functions: few, and some of them run at the start. */
*(.text.unlikely.*)
}} }} INSERT BEFORE .text;
"""
    Path(__file__).with_name("start.ld").write_text(text)


main(sys.argv[1:])
