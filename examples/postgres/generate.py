"""Orders as JSON lines: each is opened, paid and sent, in an order that networks make; one in a hundred is nonsense."""

import json
import random
import sys
import uuid

chance = random.Random(1)
lines = []
for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000):
    order = str(uuid.UUID(int=chance.getrandbits(128)))
    for hour, state in enumerate(("open", "paid", "lost" if number % 100 == 0 else "sent")):
        event = {
            "order_id": order,
            "at": f"2026-01-01T{hour:02}:00:00Z",
            "state": state,
            "total": f"{chance.randrange(100_000) / 100:.2f}",
            "tags": chance.sample(["gift", "express", "abroad"], chance.randrange(3)),
            "details": {"lines": chance.randrange(1, 9)},
        }
        lines.append(json.dumps(event))
chance.shuffle(lines)
print("\n".join(lines))
