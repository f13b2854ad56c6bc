"""What a lane says of itself: the `LaneStatus` message, and the gauges and counters that follow from the same numbers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from penstock.batcher import lane as lanes
from penstock.core import breaker, ledger, results
from penstock.telemetry import metrics
from penstock.v1 import control_pb2

_CIRCUIT_GAUGE = {breaker.State.CLOSED: 0, breaker.State.HALF_OPEN: 1, breaker.State.OPEN: 2}
_EVENT_OUTCOMES = {
    "read": "read",
    "duplicate": "duplicates",
    "dead_lettered": "dead_lettered_events",
    "transformed": "transformed",
    "lost": "lost",
}
_ROW_OUTCOMES = {
    "made": "made",
    "filtered": "filtered",
    "other_lanes": "other_lanes",
    "written": "written",
    "dead_lettered": "dead_lettered_rows",
}


class Reporter:
    """Reports one lane. Counters are fed with what changed since the last report, so a label lookup costs per report only."""

    def __init__(self, lane: lanes.Lane) -> None:
        self._lane = lane
        self._counted: dict[str, int] = {}
        self._stages: dict[str, float] = {}
        self._evicted = 0
        self._forgotten = (0, 0)
        self._replayed: Mapping[str, int] = {}
        self._hedged: Mapping[str, int] = {}

    async def report(self) -> control_pb2.LaneStatus:
        """The lane as it is now; exports the same numbers."""
        lane = self._lane
        events, oldest = await lane.lag()
        totals, rows_in_flight = lane.accounts.totals(), lane.dispatcher.rows_in_flight
        unexplained = totals.unexplained(events_in_flight=lane.accounts.events_in_flight, rows_in_flight=rows_in_flight)
        self._export_counts(lane.accounts.own)
        self._export_gauges(events, oldest, unexplained)
        return control_pb2.LaneStatus(
            sink=lane.settings.sink,
            state=lane.state.value,
            message=self._message(),
            delivery=self._delivery(),
            lag=control_pb2.Lag(events=events, oldest_unread_seconds=oldest),
            circuit=lane.circuit.state.value,
            batching=self._batching(),
            ledger=ledger_message(totals, lane.accounts.events_in_flight, rows_in_flight, unexplained),
            flushes={reason.value: count for reason, count in lane.dispatcher.flushes.items() if count},
            dead_letters_written=totals.dead_lettered_events + totals.dead_lettered_rows,
            replays=self._replays(),
            endpoints=control_pb2.Endpoints(known=lane.sink.endpoints, well=lane.sink.endpoints_well),
            hedges=self._hedges(),
            pressure=lane.dispatcher.pressure_steps,
            partitions=lane.partitions,
            trouble=trouble(lane.trouble),
        )

    def _replays(self) -> control_pb2.Replays:
        """Replays are counted apart."""
        log = self._lane.replay_log
        totals, rows_in_flight = log.accounts.totals(), log.dispatcher.rows_in_flight
        events_in_flight = log.accounts.events_in_flight
        self._export_replays(_replay_outcomes(log.accounts.own))
        return control_pb2.Replays(
            **_replay_outcomes(totals),
            in_flight=events_in_flight + rows_in_flight,
            unexplained=totals.unexplained(events_in_flight=events_in_flight, rows_in_flight=rows_in_flight),
        )

    def _hedges(self) -> control_pb2.Hedges:
        counted = dict(self._lane.sink.hedges)
        for outcome, count in counted.items():
            metrics.HEDGES.labels(**self._lane.settings.labels, outcome=outcome).inc(count - self._hedged.get(outcome, 0))
        self._hedged = counted
        won, lost = counted.get("won", 0), counted.get("lost", 0)
        return control_pb2.Hedges(sent=won + lost, won=won, withheld=sum(counted.values()) - won - lost)

    def _export_replays(self, counted: Mapping[str, int]) -> None:
        highest = {outcome: max(value, self._replayed.get(outcome, 0)) for outcome, value in counted.items()}
        for outcome, value in highest.items():
            metrics.LANE_REPLAYS.labels(**self._lane.settings.labels, outcome=outcome).inc(value - self._replayed.get(outcome, 0))
        self._replayed = highest

    def _message(self) -> str:
        """Why the lane is not simply running."""
        if failure := self._lane.failure:
            return f"{failure.code}: {failure.message}; {failure.remedy}"
        if self._lane.away:
            return f"waits for its store: {self._lane.away}"
        circuit = self._lane.circuit
        return "" if circuit.state is breaker.State.CLOSED else circuit.reason

    def _delivery(self) -> control_pb2.Delivery:
        described = self._lane.delivery
        if described is None:
            return control_pb2.Delivery()
        mode = "AtLeastOnce" if described.identity.value == "None" else "EffectivelyOnce"
        return control_pb2.Delivery(mode=mode, reason=described.identity_reason)

    def _batching(self) -> control_pb2.Batching:
        dispatcher = self._lane.dispatcher
        told, batches = dispatcher.write_model, sum(dispatcher.flushes.values())
        latencies = sorted(dispatcher.latencies)
        p99 = statistics.quantiles(latencies, n=100)[98] if len(latencies) > 1 else sum(latencies)
        return control_pb2.Batching(
            rows=told.target_rows,
            linger_seconds=told.close_line(dispatcher.open_rows, dispatcher.level),
            concurrency=dispatcher.slots,
            level=dispatcher.level,
            batches=batches,
            mean_rows=dispatcher.rows_dispatched / batches if batches else 0.0,
            latency_p99_seconds=p99,
        )

    def _export_counts(self, counted: ledger.Counts) -> None:
        labels = self._lane.settings.labels
        for counter, outcomes in ((metrics.LANE_EVENTS, _EVENT_OUTCOMES), (metrics.LANE_ROWS, _ROW_OUTCOMES)):
            for outcome, name in outcomes.items():
                # What was unfinished of a revoked partition is counted by its next owner; a counter only ever grows.
                value = max(getattr(counted, name), self._counted.get(name, 0))
                counter.labels(**labels, outcome=outcome).inc(value - self._counted.get(name, 0))
                self._counted[name] = value
        for stage, seconds in self._lane.preparer.stage_seconds.items():
            metrics.LANE_STAGE_SECONDS.labels(**labels, stage=stage).inc(seconds - self._stages.get(stage, 0.0))
            self._stages[stage] = seconds

    def _export_gauges(self, events: int, oldest: float, unexplained: int) -> None:
        lane, labels = self._lane, self._lane.settings.labels
        metrics.LANE_LAG_EVENTS.labels(**labels).set(events)
        metrics.LANE_LAG_SECONDS.labels(**labels).set(oldest)
        metrics.LANE_UNEXPLAINED.labels(**labels).set(unexplained)
        metrics.CIRCUIT_STATE.labels(**labels).set(_CIRCUIT_GAUGE[lane.circuit.state])
        metrics.STORE_LEVEL.labels(**labels).set(lane.dispatcher.level)
        metrics.PRESSURE.labels(**labels).set(lane.dispatcher.pressure_steps)
        metrics.ENDPOINTS.labels(**labels, state="known").set(lane.sink.endpoints)
        metrics.ENDPOINTS.labels(**labels, state="well").set(lane.sink.endpoints_well)
        metrics.SLOTS.labels(**labels, kind="limit").set(lane.dispatcher.slots)
        metrics.SLOTS.labels(**labels, kind="in_use").set(lane.dispatcher.slots_in_use)
        tables = lane.preparer.tables.values()
        metrics.DEDUP_IDS.labels(**labels).set(sum(table.remembered for table in tables))
        metrics.DEDUP_BYTES.labels(**labels).set(sum(table.memory_bytes for table in tables))
        evicted = sum(table.evicted for table in tables)
        metrics.DEDUP_EVICTED.labels(**labels).inc(max(0, evicted - self._evicted))
        self._evicted = evicted
        self._export_state()

    def _export_state(self) -> None:
        labels, known = self._lane.settings.labels, list(self._lane.preparer.states.values())
        if not known:
            return
        metrics.STATE_KEYS.labels(**labels).set(sum(table.keys for table in known))
        metrics.STATE_BYTES.labels(**labels).set(sum(table.memory_bytes for table in known))
        counted = (sum(table.evicted for table in known), sum(table.unkept for table in known))
        for counter, now, before in zip((metrics.STATE_EVICTED, metrics.STATE_UNKEPT), counted, self._forgotten, strict=True):
            counter.labels(**labels).inc(max(0, now - before))
        self._forgotten = counted


def trouble(failure: results.Failure | None) -> control_pb2.Trouble | None:
    """A failure as a status says it."""
    if failure is None:
        return None
    return control_pb2.Trouble(code=failure.code, message=failure.message, remedy=failure.remedy)


def _replay_outcomes(totals: ledger.Counts) -> dict[str, int]:
    """By the names of the message's fields, which are the metric's outcomes too."""
    return {
        "letters": totals.read - totals.duplicates,
        "rows_landed": totals.written,
        "failed_again": totals.dead_lettered_events + totals.dead_lettered_rows,
    }


def ledger_message(totals: ledger.Counts, events_in_flight: int, rows_in_flight: int, unexplained: int) -> control_pb2.Ledger:
    """Counts as a status says them."""
    return control_pb2.Ledger(
        events_read=totals.read,
        events_duplicate=totals.duplicates,
        events_dead_lettered=totals.dead_lettered_events,
        events_transformed=totals.transformed,
        events_without_rows=totals.without_rows,
        events_in_flight=events_in_flight,
        events_lost=totals.lost,
        rows_made=totals.made,
        rows_filtered=totals.filtered,
        rows_other_lanes=totals.other_lanes,
        rows_written=totals.written,
        rows_dead_lettered=totals.dead_lettered_rows,
        rows_in_flight=rows_in_flight,
        resent_blocks=totals.resent_blocks,
        unexplained=unexplained,
    )
