"""kubectl's answers as errors of ours, and which words each command takes."""

from __future__ import annotations

import pytest
from click import testing

from penstock.cli import exits
from penstock.cli.kubectl import cluster, inside, main

_FORBIDDEN = (
    'Error from server (Forbidden): secrets "clicks-token" is forbidden: User "jane" cannot get resource "secrets" in API group '
    '"" in the namespace "web"'
)


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        (_FORBIDDEN, 1, "you may not get secrets in the namespace web"),
        ('Error from server (NotFound): pods "x" not found', 1, "there is no pods x"),
        ('error: the server doesn\'t have a resource type "batchpipelines"', 1, "does not know Penstock's kinds"),
        ("The connection to the server 127.0.0.1:1 was refused: connection refused", 3, "does not answer"),
        ("Unable to connect to the server: dial tcp: lookup k: no such host", 3, "does not answer"),
        ('The BatchPipeline "clicks" is invalid: spec.sinks: Required value', 1, "spec.sinks: Required value"),
    ],
    ids=str,
)
def test_a_refusal_says_what_is_missing(said: str, code: int, message: str) -> None:
    """Catches an error that names no right, and an outage that reads as a no."""
    found = cluster.refusal(said)
    assert (found.exit_code, message in found.message) == (code, True), found.message


def test_a_machine_without_kubectl_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback where the program is missing."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(exits.Unreachable, match="no kubectl"):
        cluster.Cluster().run("get", "pods")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("where", "id=a", "--limit", "1"), ["where", "-f", inside._FILE, "--secrets", inside._SECRETS, "id=a", "--limit", "1"]),
        (("dlq", "ls"), ["dlq", "ls", "-f", inside._FILE, "--secrets", inside._SECRETS]),
        (
            ("dlq", "show", "3f9c"),
            ["dlq", "show", "-f", inside._FILE, "--secrets", inside._SECRETS, "3f9c"],
        ),
    ],
    ids=str,
)
def test_what_runs_in_the_pod_is_told_where_its_files_are(arguments: tuple[str, ...], command: list[str]) -> None:
    """Catches options that end up behind the wrong word."""
    assert inside.told(arguments) == ["penstock", *command]


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    """Catches a table that names a command which can't be loaded."""
    passed_on = name in ("where", "dlq")
    said = testing.CliRunner().invoke(main.cli, [name] if passed_on else [name, "--help"])
    assert said.exit_code == (2 if passed_on else 0), said.output
    if not passed_on:
        assert "--namespace" in said.output


@pytest.mark.parametrize(
    ("yes", "says"), [(None, "nothing was done"), ("click", "another name"), ("", "nothing was done")], ids=str
)
def test_a_name_that_was_not_said_stops_it(yes: str | None, says: str) -> None:
    """Catches a purge that takes any yes."""
    with pytest.raises(exits.Invalid, match=says):
        cluster.typed("clicks", yes, "all of it goes")
    cluster.typed("clicks", "clicks", "all of it goes")
