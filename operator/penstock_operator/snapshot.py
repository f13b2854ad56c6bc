"""All that is known of one pipeline at one moment, and nothing that could change under the planner's hands.

Objects of the cluster are plain data, as its API tells them. What pods say of themselves is put into reports by whoever
asks them; where several pods have a lane, their reports add up.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from penstock.core import errors
from penstock_operator import claims

Manifest = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The counts of a lane as one pod has them. Events, then rows."""

    read: int = 0
    duplicates: int = 0
    events_dead_lettered: int = 0
    transformed: int = 0
    events_in_flight: int = 0
    lost: int = 0
    made: int = 0
    filtered: int = 0
    other_lanes: int = 0
    written: int = 0
    rows_dead_lettered: int = 0
    rows_in_flight: int = 0
    unexplained: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What a pod says is in its way. `code` is a word of ours, of the sink's or of the store's."""

    code: str
    message: str = ""
    remedy: str = ""

    @property
    def is_rejection(self) -> bool:
        """Whether somebody is there and refuses the credentials. Postgres says so with codes of its class 28."""
        postgres = len(self.code) == 5 and self.code.startswith("28")
        return postgres or self.code in ("CREDENTIALS_REJECTED", "LOG_CREDENTIALS_REJECTED")

    @property
    def is_secret(self) -> bool:
        """Whether a Secret or one of its keys is missing."""
        return self.code == "SECRET"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """What one pod says of its part of a lane. `message` begins with a code and a colon where the lane is halted. `trouble`: why
    its last write failed, or why it has not begun; `settings_version`: of what it was told last, empty where it can't be told."""

    sink: str
    state: str
    message: str = ""
    delivery_mode: str = ""
    delivery_reason: str = ""
    lag_events: int = 0
    oldest_unread_seconds: float = 0.0
    retention_used: float = 0.0
    circuit: str = "Closed"
    rows: int = 0
    linger_seconds: float = 0.0
    concurrency: int = 0
    latency_p99_seconds: float = 0.0
    ledger: Ledger = Ledger()
    outstanding: int = 0
    replayed: int = 0
    expired: int = 0
    by_category: Mapping[str, int] = dataclasses.field(default_factory=dict)
    trouble: Trouble | None = None
    settings_version: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodReport:
    """What one pod says. `message`: what it waits for, or why it is not ready. `log_id`: of the log it has open. `trouble`: why
    it has none, can't reach it now, or waits for something else."""

    pod: str
    role: str
    address: str = ""
    lifecycle: str = "Running"
    message: str = ""
    log_id: str = ""
    log_bytes: int = 0
    accepted: int = 0
    lanes: tuple[LaneReport, ...] = ()
    trouble: Trouble | None = None

    @property
    def log_trouble(self) -> Trouble | None:
        """Why it can't use its log. A Secret that is missing once the log is open is not the log's."""
        told = self.trouble
        return told if told and (told.code.startswith("LOG_") or (told.is_secret and not self.log_id)) else None

    @property
    def refuses(self) -> bool:
        """Whether it is a door that takes no more events, as it was told to."""
        return self.role == "ingest" and self.lifecycle in ("Draining", "Drained")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`pipeline` is the object itself, `children` all that carries its label, `pods` theirs. `kinds`: optional kinds that the
    cluster has, such as PodMonitor. `sql`: what is wrong with the expressions of this very generation. `rivals`: what other
    pipelines have that this one may want."""

    pipeline: Manifest
    children: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    reports: tuple[PodReport, ...] = ()
    kinds: frozenset[str] = frozenset()
    sql: tuple[errors.Problem, ...] = ()
    rivals: tuple[claims.Held, ...] = ()

    @property
    def name(self) -> str:
        return str(self.pipeline["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.pipeline["metadata"]["namespace"])

    @property
    def generation(self) -> int:
        return int(self.pipeline["metadata"].get("generation", 0))

    def child(self, kind: str, name: str) -> Manifest | None:
        """One child, or None where it isn't there."""
        found = (one for one in self.children if one["kind"] == kind and one["metadata"]["name"] == name)
        return next(found, None)

    def lanes(self, sink: str) -> list[LaneReport]:
        """What pods say of a lane, one report for each pod."""
        return [lane for report in self.reports for lane in report.lanes if lane.sink == sink]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An action the cluster did not take: `reason` is its own word, such as Forbidden or Conflict."""

    child: str
    reason: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What else a status is made of: the time, and what came of the last plan. `now` has a time zone."""

    now: datetime.datetime
    refusals: tuple[Refusal, ...] = ()
