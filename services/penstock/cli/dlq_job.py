"""Replaying and discarding, wherever the log may be written: by the process that runs, or by this one.

An embedded log has one writer, so the pipeline that runs is asked. One in Kafka has any number: the command is a job of its own,
as it is in a pod, and lanes read what it publishes whenever they run.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.cli import control, dlq_place, exits, serving
from penstock.core import selection
from penstock.machine import directory
from penstock.replay import survey
from penstock.v1 import control_pb2

WAIT_SECONDS = 30.0
_NO_END = 365 * 24 * 3600.0
_DISCARD_SECONDS = 600.0


def surveyed(place: dlq_place.Place, filters: selection.Filters, max_replays: int) -> survey.Survey:
    """What a replay would put back; nothing is written."""
    return dlq_place.with_log(place, filters, lambda opened: survey.survey(opened.log, opened.order(filters, max_replays)))


def replayed(
    place: dlq_place.Place, request: control_pb2.ReplayRequest, told: Callable[[control_pb2.ReplayProgress], None]
) -> control_pb2.ReplayProgress:
    """How it ended; `told` of each step. An interrupted call ends the job, and the next one goes on."""
    if place.data is None or place.is_shared:
        return dlq_place.run(_replay(place, request, told))
    last = control_pb2.ReplayProgress()
    try:
        with control.connected(place.data) as stub:
            # Bounded by the letters and the rate.
            for last in stub.Replay(request, timeout=_NO_END):
                told(last)
    except control.NotRunningError as error:
        raise (_gone(last, place.data) if last.selected else _not_running(error, place.data)) from error
    return last


def discarded(place: dlq_place.Place, request: control_pb2.DiscardRequest) -> int:
    """How many letters were given up."""
    if place.data is None or place.is_shared:
        return dlq_place.run(_discard(place, request))
    try:
        with control.connected(place.data) as stub:
            return int(stub.Discard(request, timeout=_DISCARD_SECONDS).discarded)
    except control.NotRunningError as error:
        raise _not_running(error, place.data) from error


async def _replay(
    place: dlq_place.Place, request: control_pb2.ReplayRequest, told: Callable[[control_pb2.ReplayProgress], None]
) -> control_pb2.ReplayProgress:
    last = control_pb2.ReplayProgress()
    async with dlq_place.desk(place, serving.failpoint()) as desk:
        async for last in desk.replay(request):
            told(last)
    return last


async def _discard(place: dlq_place.Place, request: control_pb2.DiscardRequest) -> int:
    async with dlq_place.desk(place, serving.failpoint()) as desk:
        return int((await desk.discard(request)).discarded)


def _gone(last: control_pb2.ReplayProgress, where: directory.DataDirectory) -> exits.Unreachable:
    return exits.Unreachable(
        f"the pipeline in {where.path} ended when {last.published:,} of {last.selected:,} were put back",
        "start it and run this again: it goes on with the rest, and nothing goes twice",
    )


def _not_running(error: Exception, where: directory.DataDirectory) -> exits.Unreachable:
    return exits.Unreachable(
        str(error), f"start it with `penstock run FILE --data {where.path}`: the process that runs the pipeline writes its log"
    )
