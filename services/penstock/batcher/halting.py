"""Why a lane halted, for whoever has to mend it: the error that ended one of its loops, with a code and the way out."""

from __future__ import annotations

from penstock.batcher.reading import recall
from penstock.batcher.writing import landing
from penstock.core import blocks, ledger, plans, results
from penstock.core.state import snapshot
from penstock.log import port


def flooded(verdict: str) -> results.Failure:
    """Too many rows are refused for it to be their fault."""
    return results.Failure(
        result_class=results.ResultClass.CONFIG,
        code="RejectFlood",
        message=verdict,
        remedy="look at `penstock dlq ls`, mend the cause, then `penstock resume`; nothing is lost meanwhile",
    )


def as_failure(error: Exception) -> results.Failure:
    """Always of the lane's configuration in the widest sense: nothing here goes away by itself."""
    codes: dict[type[Exception], tuple[str, str]] = {
        port.OffsetOutOfRangeError: (
            "LogGap",
            "restore the log from a copy, or leave the gap out with `penstock skip`",
        ),
        port.DamagedLogError: (
            "DamagedLog",
            "restore the log from a copy, or leave the record out with `penstock skip`",
        ),
        landing.RewoundLogError: (
            "LogRewound",
            "this data directory was put back from a copy; nothing is lost yet: go on with `penstock run --new-log-id`",
        ),
        blocks.CorruptBlockError: (
            "CorruptBlock",
            "restore the log from a copy, or leave the block out with `penstock skip`",
        ),
        blocks.BlockFormatError: (
            "BlockFormat",
            "run a release that reads this block format, or leave the block out with `penstock skip`",
        ),
        snapshot.SnapshotError: ("StateSnapshot", "the message says how to go on"),
        recall.StateLostError: (
            "StateLost",
            "restore the data directory from a copy, or start once without spec.transform.state, which forgets it",
        ),
        plans.PlansError: ("CommitMetadata", "run the release that wrote it or a newer one"),
        ledger.MetadataError: ("CommitMetadata", "run the release that wrote it or a newer one"),
    }
    code, remedy = codes.get(type(error), (type(error).__name__, "restart the lane; if it comes back, report it with the log"))
    return results.Failure(result_class=results.ResultClass.CONFIG, code=code, message=str(error), remedy=remedy)
