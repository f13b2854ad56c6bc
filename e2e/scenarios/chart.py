"""What the chart offers beside the operator: `helm test`, and the webhook, by which objects are refused at once."""

from __future__ import annotations

import copy
import functools
import json

from e2e.scenarios import api, install, manifests, site, world

_WENT_THROUGH = "one event went through a pipeline of the test's own"
_OWN = "helm-test"
_BAD_SQL = "lower(nobody)"
_METADATA = {"name": manifests.SINK, "type": "HTTP", "http": {"url": "http://169.254.169.254/latest"}}


def helm_test(here: world.World) -> None:
    """Where the chart has a log, its test makes a pipeline, sends an event through it from a pod, and takes it away again."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        log = {"type": "Kafka", "kafka": {"bootstrapServers": [here.servers.kafka.bootstrap], "replicationFactor": 1}}
        where = f"--namespace={install.NAMESPACE}"
        with install.changed(here.cluster, f"--set-json=log={json.dumps(log)}"):
            said = here.cluster.helm("test", install.RELEASE, where, "--logs", "--timeout=300s")
            here.expect(_WENT_THROUGH in said, f"helm test says: {said[-2000:]}")
            here.note(f"helm test: {_WENT_THROUGH}")
            here.until(functools.partial(_gone, here), "the test's pipeline is gone")
        one.until_state("Running")
        one.until_lands()
        one.judge()


def _gone(here: world.World) -> bool | None:
    labels = {site.PIPELINE_LABEL: _OWN}
    there = here.api.get("batchpipelines", install.NAMESPACE, _OWN) or here.api.listed("pods", install.NAMESPACE, labels)
    return not there or None


def webhook(here: world.World) -> None:
    """What can't run is refused when it is applied, by its field, and nothing changes; what can is taken. While the operator is
    away everything is taken, and once it is back it says the same."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        with install.changed(here.cluster, "--set=webhook.enabled=true"):
            bad = manifests.transformed(one.manifest, _BAD_SQL)
            field = f"spec.transform.select[{len(bad['spec']['transform']['select']) - 1}].value"
            here.until(lambda: _refusal(here, bad, "--dry-run=server") or None, "the webhook is asked")
            _refuses(here, one, bad, field)
            _refuses(here, one, _with_sink(one.manifest, _METADATA), "spec.sinks[0].http.url")
            one.apply(manifests.transformed(one.manifest, "cast(note as bigint) * 3"))
            one.until_state("Running")
            one.until_lands()
            _taken_while_the_operator_is_away(here, one, bad, field)
        one.until_lands()
        one.judge()


def _with_sink(made: api.Object, sink: api.Object) -> api.Object:
    changed = copy.deepcopy(made)
    changed["spec"]["sinks"] = [sink]
    return changed


def _refusal(here: world.World, made: api.Object, *more: str) -> str:
    """Why it is refused; empty where it is taken."""
    try:
        here.kubectl("apply", "--filename=-", *more, stdin=json.dumps(made))
    except world.StuckError as error:
        return str(error)
    return ""


def _refuses(here: world.World, one: site.Site, made: api.Object, field: str) -> None:
    before = one.pipeline()["metadata"]["generation"]
    said = _refusal(here, made)
    here.expect(field in said, f"the refusal does not name {field}: {said or 'there is none'}")
    here.expect(one.pipeline()["metadata"]["generation"] == before, "what was refused is stored")
    here.note(f"refused: {said[said.index(field) :][:160].strip()}")


def _taken_while_the_operator_is_away(here: world.World, one: site.Site, bad: api.Object, field: str) -> None:
    good, pods = one.manifest, {pod["metadata"]["uid"] for pod in one.pods()}
    _resize_operator(here, 0)
    try:
        here.until(lambda: not here.operator_pods() or None, "the operator is away")
        one.apply(bad)
    finally:
        _resize_operator(here, 1)
    here.until_operator_ready()
    told = one.until_state("Stalled")
    here.expect(one.condition("SpecValid") == ("False", "SpecInvalid"), f"SpecValid is {one.condition('SpecValid')}")
    here.expect(field in str(told["message"]), f"the message does not name {field}: {told['message']}")
    here.expect(pods == {pod["metadata"]["uid"] for pod in one.pods()}, "pods were replaced for an object that can't run")
    here.note("while the operator was away it was taken, and told once it was back")
    one.apply(good)
    one.until_state("Running")


def _resize_operator(here: world.World, replicas: int) -> None:
    which = ",".join(f"{key}={value}" for key, value in install.OPERATOR.items())
    here.kubectl("scale", "deployment", f"--selector={which}", f"--replicas={replicas}", f"--namespace={install.NAMESPACE}")


EACH = {"helm test": helm_test, "webhook": webhook}
