"""`python -m e2e`: a cluster, Penstock in it, and every scenario; build/e2e/summary.json. Ends with 1 if one did not pass."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping

from e2e.cluster import __main__ as clusters
from e2e.cluster import archives, cache, provider, shell
from e2e.scenarios import (
    api,
    beside,
    chart,
    edits,
    faults,
    first,
    install,
    lives,
    playing,
    replaying,
    report,
    situations,
    table,
    upkeep,
    world,
)

BUILD = clusters.BUILD / "e2e"
_ROOMS = (first, edits, table, faults, lives, replaying, situations, chart, upkeep)
EACH: Mapping[str, playing.Scenario] = {name: scenario for room in _ROOMS for name, scenario in room.EACH.items()}
ALONE = frozenset({"operator killed", "api server away", "log away", "helm test", "webhook", "upgrade"})
"""What they take away is everybody's."""
IN_SHORT = ("edit under load", "kills", "delete and apply again", "first apply", "operator killed")
_TOGETHER = 2


class _EndedError(Exception):
    """Somebody has ended the run, or its time is up."""


def main() -> int:
    """Run what was asked for, and take everything away again."""
    told = _arguments()
    names = IN_SHORT if told.short else tuple(EACH)
    chosen = [name for name in names if not told.only or any(part in name for part in told.only)]
    if not chosen:
        print(f"no scenario has that in its name; there are: {', '.join(names)}")
        return 1
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # Brokers are away sometimes, on purpose.
    _end_after(told.minutes)
    try:
        reports = _run(told, chosen)
    except (provider.ClusterError, cache.MissingError, shell.CommandError, world.StuckError, _EndedError) as error:
        print(f"e2e: {error}")
        return 1
    return 0 if len(reports) == len(chosen) and all(one.passed for one in reports) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e", description=__doc__)
    parser.add_argument("--provider", choices=["local", "kind"], default="local")
    parser.add_argument("--only", action="append", metavar="TEXT", help="scenarios with this in their name; may be repeated")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help=f"{', '.join(IN_SHORT)}, with fewer events")
    size.add_argument("--long", action="store_true", help="more events, and everything that is away is away for longer")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up at the end")
    parser.add_argument("--together", type=int, default=_TOGETHER, help=f"scenarios at a time [{_TOGETHER}]")
    parser.add_argument("--minutes", type=float, help="everything is ended after so many [20 with --short, 240 with --long, 90]")
    told = parser.parse_args()
    told.minutes = told.minutes or (20.0 if told.short else 240.0 if told.long else 90.0)
    return told


def _end_after(minutes: float) -> None:
    """A signal, or the end of the time, is an error in the main thread: then all that was begun is taken away."""
    began = time.monotonic()

    def end(number: int, frame: object) -> None:
        for one in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(one, signal.SIG_IGN)  # Nothing interrupts the taking away.
        raise _EndedError(f"ended by {signal.Signals(number).name} after {(time.monotonic() - began) / 60.0:.1f} minutes")

    for one in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(one, end)
    signal.setitimer(signal.ITIMER_REAL, minutes * 60.0)


def _run(told: argparse.Namespace, chosen: list[str]) -> list[report.Report]:
    reports: list[report.Report] = []
    report.write(BUILD / "summary.json", reports)
    scale = world.SHORT if told.short else world.LONG if told.long else world.USUAL
    with _installed(told.provider, keep_it=told.keep) as (cluster, connection, servers):
        stage = playing.Stage(
            cluster=cluster,
            connection=connection,
            servers=servers,
            provided=told.provider,
            scale=scale,
            folder=BUILD,
            told=functools.partial(_note, reports),
        )
        stage.play([(name, EACH[name]) for name in chosen if name not in ALONE], told.together)
        stage.play([(name, EACH[name]) for name in chosen if name in ALONE], 1)
    return reports


def _note(reports: list[report.Report], one: report.Report) -> None:
    reports.append(one)
    report.write(BUILD / "summary.json", reports)
    _say(one)


@contextlib.contextmanager
def _installed(name: str, *, keep_it: bool) -> Iterator[tuple[provider.Cluster, api.Api, beside.Beside]]:
    """A cluster with Penstock in it, and servers beside it; all of it taken away at the end."""
    cluster = clusters.provided(name)
    keeps = keep_it
    try:
        clusters.up(cluster)
        with clusters.timed(f"image, {archives.PATH.name}"):
            archives.make()
        with clusters.timed("image loaded, chart installed, operator ready"):
            install.install(cluster)
        with contextlib.ExitStack() as stack:
            with clusters.timed("Kafka and Postgres beside it"):
                servers = stack.enter_context(beside.opened(cluster.machine_address))
            connection = api.Api(cluster.kubeconfig)
            world.clear_all(connection)
            yield cluster, connection, servers
    except provider.UnfitError:
        keeps = True  # What may be there is somebody else's.
        raise
    except BaseException:
        cluster.keep_logs(BUILD / "logs")
        raise
    finally:
        if not keeps:
            clusters.down(cluster)


def _say(one: report.Report) -> None:
    counts = one.summary()
    told = ", ".join(f"{counts[name]:,} {name}" for name in ("acknowledged", "lost", "duplicated", "unexpected"))
    lines = [f"{'pass' if one.passed else 'FAIL'} {one.name:32} {one.seconds:6.1f} s  {told}"]
    lines += [f"     {line}" for line in (*one.notes, *one.error[:3000].splitlines())]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
