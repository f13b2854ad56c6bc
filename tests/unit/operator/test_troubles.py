"""What is in a pipeline's way, in the words of whoever knows: which Secret, what the store said, which pods are behind."""

from __future__ import annotations

from tests.unit.operator import cluster
from tests.unit.operator import situations as given

from penstock.api import live
from penstock.api.model import sinks
from penstock_operator import snapshot


def test_what_is_refused_or_missing_names_the_secret_and_its_keys() -> None:
    """Catches a reader who must search the object for the Secret to renew."""
    told = given.current(given.up(), given.batcher(circuit="Open", trouble=given.MISSING), given.door())
    landing = next(one for one in told["conditions"] if one["type"] == "Landing")
    assert landing["message"] == (
        'warehouse: secret "ch" has no key "password"; add the key, or name another one; see Secret ch (username, password)'
    )
    login = {"type": "ScramSha512", "username": "clicks", "passwordSecretRef": {"name": "kafka-user", "key": "pw"}}
    kafka = {**cluster.KAFKA_LOG["kafka"], "authentication": login, "tls": {"caSecretRef": {"name": "ca", "key": "ca.crt"}}}
    told = given.no_taker(given.door(away=given.REJECTED), log={"type": "Kafka", "kafka": kafka})
    reached = next(one for one in told["conditions"] if one["type"] == "LogReachable")
    assert (reached["status"], reached["reason"]) == ("False", "CredentialsRejected")
    assert "it refuses these credentials" in reached["message"]
    assert "put right: Secret kafka-user (pw), Secret ca (ca.crt)" in reached["message"]


def test_an_open_circuit_is_told_in_the_store_s_words() -> None:
    """Catches "5 failures in a row", which everybody knew."""
    words = snapshot.Trouble(code="CONNECTION", message="clickhouse:8443 refused connection")
    told = given.current(given.up(), given.batcher(circuit="Open", message="5 failures in a row", trouble=words), given.door())
    assert told["lanes"][0]["circuit"]["lastFailure"] == "clickhouse:8443 refused connection"
    assert "refused connection" in told["message"]


def test_settings_that_pods_do_not_follow_yet_are_told() -> None:
    """Catches an edit that is called done while half of the pods go on as before."""
    there = given.up(sinks=[cluster.sink(batching={"static": {"rows": 7}})])
    version = live.version(sinks.Sink.model_validate(there.pipeline["spec"]["sinks"][0]))
    both = (given.batcher("b-0", settings_version=version), given.batcher("b-1", settings_version="old"), given.door())
    told = given.current(there, *both)
    (one,) = [one for one in told["conditions"] if one["type"] == "Reconciling"]
    assert (one["status"], one["reason"]) == ("True", "Applying")
    assert one["message"] == "pods that follow the new settings: warehouse 1 of 2"
    assert given.row(given.current(there, both[0], given.door()))[3] == "Running"
