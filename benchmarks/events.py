"""Clickstream events with random ids, the same for the same seed, and the pipeline they are made for.

An id is 32 random digits: made-up ones that count upwards would compress and hash as no real ones do.
"""

from __future__ import annotations

import functools
import pathlib
import random
from collections.abc import Iterator

from penstock.api import load, lower
from penstock.api.model import pipeline as api_pipeline
from penstock.core import schema as schemas
from penstock.core.transform import spec

PIPELINE = pathlib.Path(__file__).with_name("pipeline.yaml")
BLOCK_EVENTS = 10_000
DUPLICATE_SHARE = 0.1

_PAGES = ("/", "/Search", "/cart", "/checkout", "/account", "/Shoes", "/hats", "/sale")
_REGIONS = ('"eu"', '"us"', '"apac"', "null")
_TYPES = ("view", "view", "view", "click", "click", "purchase", "heartbeat")
_ITEMS = (0, 0, 0, 1, 2)


def documents(count: int, *, seed: int = 1) -> Iterator[bytes]:
    """`count` JSON documents of some 250 bytes on average, no two alike."""
    rng = random.Random(seed)
    for number in range(count):
        minute, second = divmod(number // 500, 60)
        hour, minute = divmod(minute, 60)
        items = ",".join(item(rng) for _ in range(rng.choice(_ITEMS)))
        yield (
            f'{{"id":"{rng.getrandbits(128):032x}","user_id":{rng.randrange(50_000)},'
            f'"ts":"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:{minute:02d}:{second:02d}.{number % 500 * 2:03d}Z",'
            f'"type":"{rng.choice(_TYPES)}","page":"{rng.choice(_PAGES)}","region":{rng.choice(_REGIONS)},'
            f'"meta":{{"device-id":"{rng.getrandbits(32):08x}","agent":"Mozilla/5.0"}},'
            f'"seconds":{rng.randrange(1, 90_000) / 1000},"items":[{items}]}}'
        ).encode()


def item(rng: random.Random) -> str:
    """One item of an event's array."""
    return f'{{"sku":"S{rng.randrange(5000):05d}","qty":{rng.randrange(1, 4)},"price":{rng.randrange(100, 20_000) / 100}}}'


def with_duplicates(count: int, *, seed: int = 1) -> Iterator[bytes]:
    """As `documents`, but one in ten has been sent before, some thousand events ago at most."""
    rng = random.Random(seed + 1)
    recent: list[bytes] = []
    for document in documents(count, seed=seed):
        if recent and rng.random() < DUPLICATE_SHARE:
            yield rng.choice(recent)
            continue
        yield document
        if len(recent) < 1_000:
            recent.append(document)
        else:
            recent[rng.randrange(1_000)] = document


@functools.cache
def pipeline() -> api_pipeline.BatchPipeline:
    """The pipeline of pipeline.yaml."""
    return load.load_one(PIPELINE.read_bytes(), file=str(PIPELINE))


def schema() -> schemas.Schema:
    return lower.event_schema(pipeline())


def transform() -> spec.TransformSpec:
    return lower.transform_spec(pipeline(), pipeline().spec.sinks[0])
