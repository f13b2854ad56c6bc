"""A lane that is told other settings while it runs. Its open batch, its writes under way and its position stay as they are."""

from __future__ import annotations

from penstock.batcher import lane as lanes
from penstock.batcher import settings as lane_settings


def follow(lane: lanes.Lane, wanted: lane_settings.LaneSettings) -> None:
    """Do as `wanted` says from now on, as far as that needs no restart."""
    before, lane.settings = lane.settings, lane_settings.followed(lane.settings, wanted)
    lane.dispatcher.follow(wanted)
    lane.replay_log.dispatcher.follow(wanted)
    lane.circuit.follow(wanted.circuit, wanted.circuit_mode)
    if lane.settings.hedging != before.hedging and lane.delivery is not None:
        lane.agree(lane.delivery)
    lane.dispatcher.wake()
