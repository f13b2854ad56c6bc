"""`python -m e2e`: a cluster, Penstock in it, and every scenario; build/e2e/summary.json. Ends with 1 if one did not pass."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
import traceback
from collections.abc import Iterator

from e2e.cluster import __main__ as clusters
from e2e.cluster import archives, cache, provider, shell
from e2e.scenarios import api, beside, edits, faults, first, install, keep, lives, report, world

BUILD = clusters.BUILD / "e2e"
EACH = {**first.EACH, **edits.EACH, **faults.EACH, **lives.EACH}


def main() -> int:
    """Run what was asked for, one after the other."""
    told = _arguments()
    chosen = [name for name in EACH if not told.only or any(part in name for part in told.only)]
    if not chosen:
        print(f"no scenario has that in its name; there are: {', '.join(EACH)}")
        return 1
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # Brokers are away sometimes, on purpose.
    reports: list[report.Report] = []
    deadline = time.monotonic() + told.minutes * 60.0
    try:
        with _installed(told.provider, keep_it=told.keep) as (cluster, connection, servers):
            for name in chosen:
                if time.monotonic() > deadline:
                    late = report.Report(name=name, provider=told.provider, seconds=0.0, verdicts=(), error="no time was left")
                    reports.append(late)
                    continue
                here = world.World(cluster, connection, servers, _slug(name), world.LONG if told.long else world.SHORT)
                reports.append(_play(name, told.provider, here))
                report.write(BUILD / "summary.json", reports)
    except (provider.ClusterError, cache.MissingError, shell.CommandError) as error:
        print(f"e2e: {error}")
        return 1
    report.write(BUILD / "summary.json", reports)
    return 0 if all(one.passed for one in reports) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e", description=__doc__)
    parser.add_argument("--provider", choices=["local", "kind"], default="local")
    parser.add_argument("--only", action="append", metavar="TEXT", help="scenarios with this in their name; may be repeated")
    parser.add_argument("--long", action="store_true", help="more events, and everything that is away is away for longer")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up at the end")
    parser.add_argument("--minutes", type=float, default=90.0, help="no scenario is begun after so many [90]")
    return parser.parse_args()


@contextlib.contextmanager
def _installed(name: str, *, keep_it: bool) -> Iterator[tuple[provider.Cluster, api.Api, beside.Beside]]:
    """A cluster with Penstock in it, and servers beside it; all of it taken away at the end."""
    cluster = clusters.provided(name)
    with clusters.timed(f"image, {archives.PATH.name}"):
        archives.make()
    clusters.up(cluster)
    try:
        with clusters.timed("image loaded, chart installed, operator ready"):
            install.install(cluster)
        with contextlib.ExitStack() as stack:
            with clusters.timed("Kafka and Postgres beside it"):
                servers = stack.enter_context(beside.opened(cluster.machine_address))
            yield cluster, api.Api(cluster.kubeconfig), servers
    except BaseException:
        cluster.keep_logs(BUILD / "logs")
        raise
    finally:
        if not keep_it:
            clusters.down(cluster)


def _play(name: str, provided: str, here: world.World) -> report.Report:
    """One scenario from its beginning to its verdict; whatever goes wrong is in the report."""
    began, error = time.monotonic(), ""
    try:
        EACH[name](here)
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
        folder = BUILD / _slug(name)
        keep.everything(here.cluster, here.api, here.servers, here.namespaces, folder)
        (folder / "error.txt").write_text(traceback.format_exc())
    told = report.Report(
        name=name,
        provider=provided,
        seconds=time.monotonic() - began,
        verdicts=here.verdicts,
        error=error,
        notes=here.notes,
    )
    _say(told)
    with contextlib.suppress(OSError):
        here.clear()
    return told


def _say(one: report.Report) -> None:
    counts = one.summary()
    told = ", ".join(f"{counts[name]:,} {name}" for name in ("acknowledged", "lost", "duplicated", "unexpected"))
    print(f"{'pass' if one.passed else 'FAIL'} {one.name:32} {one.seconds:6.1f} s  {told}", flush=True)
    for line in (*one.notes, *one.error[:3000].splitlines()):
        print(f"     {line}", flush=True)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


if __name__ == "__main__":
    sys.exit(main())
