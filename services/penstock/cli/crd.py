"""`penstock crd`: the custom resource definitions of this release, for a cluster without the chart."""

from __future__ import annotations

import pathlib

import click

from penstock.api.crd import kinds

EPILOG = """\b
Examples:
  penstock crd | kubectl apply --server-side -f -
  penstock crd --to charts/penstock/files/crds
"""


@click.command(epilog=EPILOG, short_help="Print the custom resource definitions of this release.")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="Write one file for each kind into this folder instead.",
)
def crd(folder: pathlib.Path | None) -> None:
    """Print the definitions of BatchPipeline and DeadLetterReplay."""
    if folder is None:
        click.echo("---\n".join(kinds.as_yaml(kind) for kind in kinds.KINDS), nl=False)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds.KINDS:
        (folder / f"{kind.plural}.yaml").write_text(kinds.as_yaml(kind), encoding="utf-8")
