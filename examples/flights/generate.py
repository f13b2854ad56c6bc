"""Prints the example's events, one JSON object per line, for `penstock send -`."""

from __future__ import annotations

import argparse
import sys

import archive
import flights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true", help="only the real events: none twice, none broken")
    options = parser.parse_args()
    source = archive.obtain()
    lines = flights.events(source) if options.plain else flights.stream(source)
    sys.stdout.buffer.writelines(line + b"\n" for line in lines)


if __name__ == "__main__":
    main()
