"""The options by which the processes of a pipeline, and whoever asks them, know each other."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import click

from penstock.cli import exits
from penstock.ingest import secret
from penstock.machine.peers import gate


def peer_options(command: Callable[..., None]) -> Callable[..., None]:
    """`peers`: what the pipeline's processes show each other, and ask of each other."""

    @functools.wraps(command)
    def told(*, token_file: pathlib.Path | None, tls_dir: pathlib.Path | None, insecure: bool, **rest: Any) -> None:
        try:
            peers = gate.Peers(gate.Files(token=token_file, tls=tls_dir, insecure=insecure)).load()
        except secret.SecretError as error:
            raise exits.Invalid(str(error)) from error
        command(peers=peers, **rest)

    anywhere = click.option(
        "--insecure", is_flag=True, help="Listen beyond this machine though nobody is asked for a token or certificate."
    )
    return token_option(tls_option(anywhere(told)))


def token_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--token-file`, of servers and of their clients."""
    return click.option(
        "--token-file",
        type=click.Path(path_type=pathlib.Path),
        envvar="PENSTOCK_TOKEN_FILE",
        help="The token of the pipeline's processes: servers take each line, clients show the first. [PENSTOCK_TOKEN_FILE]",
    )(command)


def tls_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--tls-dir`, of servers and of their clients."""
    return click.option(
        "--tls-dir",
        type=click.Path(path_type=pathlib.Path),
        envvar="PENSTOCK_TLS_DIR",
        help="Certificates between the processes: tls.crt, tls.key, ca.crt (clients must show one then). [PENSTOCK_TLS_DIR]",
    )(command)
