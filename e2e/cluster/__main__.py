"""`python -m e2e.cluster up|down|status|images|smoke`: a cluster for whoever sits at this machine."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from e2e.cluster import archives, cache, image, kind, provider, shell, smoke
from e2e.cluster.local import cluster

BUILD = image.REPOSITORY / "build"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description="A Kubernetes cluster for tests.")
    parser.add_argument("command", choices=list(COMMANDS))
    parser.add_argument("--provider", choices=["local", "kind"], default="local")
    chosen = parser.parse_args(arguments)
    try:
        COMMANDS[chosen.command](provided(chosen.provider))
    except (provider.ClusterError, cache.MissingError, shell.CommandError) as error:
        raise SystemExit(f"cluster: {error}") from None


def provided(name: str) -> provider.Cluster:
    return kind.Kind(BUILD / "kind", shell.run) if name == "kind" else cluster.Local(report)


def report(what: str, seconds: float) -> None:
    print(f"cluster: {what:<50} {seconds:6.1f} s", flush=True)


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    report(what, time.perf_counter() - started)


def up(one: provider.Cluster) -> None:
    try:
        with timed("up"):
            one.up()
    except provider.ClusterError:
        one.keep_logs(BUILD / "e2e" / "logs")
        raise
    print(f"export KUBECONFIG={one.kubeconfig}")


def down(one: provider.Cluster) -> None:
    with timed("down"):
        one.down()


def status(one: provider.Cluster) -> None:
    print(one.status())


def images(_: provider.Cluster) -> None:
    """The image alone; no cluster is needed."""
    started = time.perf_counter()
    how = archives.make()
    report(f"{image.NAME}, {how}", time.perf_counter() - started)
    print(archives.PATH)


def try_out(one: provider.Cluster) -> None:
    smoke.run(one, archives.PATH, report)


COMMANDS: Mapping[str, Callable[[provider.Cluster], None]] = {
    "up": up,
    "down": down,
    "status": status,
    "images": images,
    "smoke": try_out,
}

if __name__ == "__main__":
    main()
