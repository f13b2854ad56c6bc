"""Stands in for somebody else's endpoint: wants a token, refuses a batch with an address that has no "@", knows repeats."""

from __future__ import annotations

import http.server
import json


class Receiver(http.server.BaseHTTPRequestHandler):
    """Prints what it takes. A request is taken as a whole or not at all."""

    protocol_version = "HTTP/1.1"
    # Else each answer's body waits 40 ms for the acknowledgement of its head.
    disable_nagle_algorithm = True
    seen: frozenset[str] = frozenset()

    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Idempotency-Key", "")
        wrong = [row for row in rows if "@" not in (row["email"] or "")]
        if not self.headers.get("Authorization", "").startswith("Bearer "):
            self._answer(401, "a token, please")
        elif wrong:
            self._answer(422, f"{wrong[0]['email']!r} is no address")
        elif key in Receiver.seen:
            self._answer(200, "known already")
        else:
            Receiver.seen |= {key}
            print(f"{len(rows)} rows, from {rows[0]['id']} to {rows[-1]['id']}", flush=True)
            self._answer(200, "thank you")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing per request."""


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", 8099), Receiver).serve_forever()
