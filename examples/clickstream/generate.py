"""Prints clickstream events, one JSON object per line; the same seed gives the same bytes.

python generate.py --events 100000 | penstock send -
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import sys
from collections.abc import Callable, Iterator

_PAGES = ("/", "/search", "/cart", "/checkout", "/account", "/shoes", "/hats", "/sale")
_REGIONS = ("eu", "us", "apac", None)
_TYPES = ("view", "view", "view", "click", "click", "purchase", "heartbeat")
_START = datetime.datetime(2026, 1, 1)

_BREAK: tuple[Callable[[dict[str, object]], bytes], ...] = (
    lambda event: json.dumps(event).encode()[:-20],  # malformed: cut off
    lambda event: json.dumps({**event, "user_id": "someone"}).encode(),  # wrong type
    lambda event: json.dumps({**event, "ts": "yesterday"}).encode(),  # no time
    lambda event: json.dumps({name: value for name, value in event.items() if name != "id"}).encode(),  # missing
    lambda event: json.dumps({**event, "note": "x" * 70_000}).encode(),  # too large
    lambda event: json.dumps(event).encode()[:-1] + b',"x":"\xff"}',  # invalid UTF-8
)


def events(count: int, *, seed: int = 1, bad_percent: float = 0.0, resent_percent: float = 2.0) -> Iterator[bytes]:
    """`count` events, some of them broken in one of six ways, some sent twice in a row."""
    rng = random.Random(seed)
    previous = b""
    for number in range(count):
        if previous and rng.uniform(0, 100) < resent_percent:
            yield previous
            continue
        event = _event(number, rng)
        bad = rng.uniform(0, 100) < bad_percent
        line = rng.choice(_BREAK)(event) if bad else json.dumps(event, separators=(",", ":")).encode()
        previous = b"" if bad else line
        yield line


def _event(number: int, rng: random.Random) -> dict[str, object]:
    kind = rng.choice(_TYPES)
    moment = _START + datetime.timedelta(milliseconds=number * 7)
    return {
        "id": f"{rng.getrandbits(64):016x}",
        "user_id": rng.randrange(50_000),
        "ts": moment.isoformat(timespec="milliseconds") + "Z",
        "type": kind,
        "page": rng.choice(_PAGES),
        "region": rng.choice(_REGIONS),
        "meta": {"device-id": f"{rng.getrandbits(32):08x}", "agent": "Mozilla/5.0", "width": rng.choice((390, 1280, 1920))},
        "items": [_item(rng) for _ in range(rng.randrange(4) if kind in ("click", "purchase") else 0)],
    }


def _item(rng: random.Random) -> dict[str, object]:
    return {"sku": f"S{rng.randrange(5000):05}", "qty": rng.randrange(1, 4), "price": rng.randrange(100, 20_000) / 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000, help="how many lines (default 10000)")
    parser.add_argument("--bad", type=float, default=0.0, metavar="PERCENT", help="how many of 100 are broken")
    parser.add_argument("--resent", type=float, default=2.0, metavar="PERCENT", help="how many of 100 come twice (default 2)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    made = events(options.events, seed=options.seed, bad_percent=options.bad, resent_percent=options.resent)
    sys.stdout.buffer.writelines(line + b"\n" for line in made)


if __name__ == "__main__":
    main()
