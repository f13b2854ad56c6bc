"""What the operator is told at its start, once, by its own Deployment: images, namespaces, the default log.

An image can only come from here: who may edit a pipeline must not thereby choose what code runs.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

import pydantic

from penstock.api.model import log as api_log

ROLES = ("ingest", "batcher", "sink")
OWN_NAMESPACE = "penstock-system"
KEY_FILE = pathlib.Path("/var/run/penstock/operator/key")
METRICS = "0.0.0.0:9464"
WEBHOOK_CERTIFICATE = pathlib.Path("/var/run/penstock/webhook")


class SettingsError(ValueError):
    """The operator's environment can't be used; the message names the variable."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`namespaces` empty: all. `default_log`: the log of pipelines that name none; None: they must name one. `key_file`: the key
    that tokens are made with. `lease`: the Lease by which several operators take turns; empty: there is only one.
    `webhook_address`: where objects are checked before they are stored; empty: nowhere."""

    images: Mapping[str, str]
    image_pull_secrets: tuple[str, ...] = ()
    operator_namespace: str = OWN_NAMESPACE
    namespaces: tuple[str, ...] = ()
    default_log: api_log.Log | None = None
    resync_seconds: float = 300.0
    key_file: pathlib.Path = KEY_FILE
    metrics_address: str = METRICS
    lease: str = ""
    webhook_address: str = ""
    webhook_certificate: pathlib.Path = WEBHOOK_CERTIFICATE


def of_environment(environment: Mapping[str, str]) -> Settings:
    """From PENSTOCK_IMAGE (or PENSTOCK_IMAGE_INGEST, …_BATCHER, …_SINK), PENSTOCK_IMAGE_PULL_SECRETS, PENSTOCK_NAMESPACES
    (both separated by commas), POD_NAMESPACE, PENSTOCK_DEFAULT_LOG (JSON, as `spec.log`), PENSTOCK_RESYNC_SECONDS,
    PENSTOCK_KEY_FILE, PENSTOCK_METRICS (host:port), PENSTOCK_LEASE (a name), PENSTOCK_WEBHOOK (host:port),
    PENSTOCK_WEBHOOK_CERTIFICATE (a folder with tls.crt and tls.key).

    Raises SettingsError.
    """
    usual = environment.get("PENSTOCK_IMAGE", "")
    images = {role: environment.get(f"PENSTOCK_IMAGE_{role.upper()}", usual) for role in ROLES}
    if missing := [role for role, image in images.items() if not image]:
        raise SettingsError(f"no image for {', '.join(missing)}: set PENSTOCK_IMAGE, or one of each, to name:tag or name@digest")
    return Settings(
        images=images,
        image_pull_secrets=_words(environment.get("PENSTOCK_IMAGE_PULL_SECRETS", "")),
        operator_namespace=environment.get("POD_NAMESPACE", OWN_NAMESPACE),
        namespaces=_words(environment.get("PENSTOCK_NAMESPACES", "")),
        default_log=_log(environment.get("PENSTOCK_DEFAULT_LOG", "")),
        resync_seconds=_seconds(environment.get("PENSTOCK_RESYNC_SECONDS", "300")),
        key_file=pathlib.Path(environment.get("PENSTOCK_KEY_FILE") or KEY_FILE),
        metrics_address=_address(environment.get("PENSTOCK_METRICS") or METRICS),
        lease=environment.get("PENSTOCK_LEASE", ""),
        webhook_address=_address(environment.get("PENSTOCK_WEBHOOK", ""), "PENSTOCK_WEBHOOK", none_is_fine=True),
        webhook_certificate=pathlib.Path(environment.get("PENSTOCK_WEBHOOK_CERTIFICATE") or WEBHOOK_CERTIFICATE),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _log(text: str) -> api_log.Log | None:
    if not text:
        return None
    try:
        told = api_log.Log.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise SettingsError(f"PENSTOCK_DEFAULT_LOG is no log: {error.errors()[0]['msg']}") from error
    if told.type != "Kafka" or told.kafka is None:
        raise SettingsError("PENSTOCK_DEFAULT_LOG must be of type Kafka and name kafka.bootstrapServers")
    return told


def _address(text: str, variable: str = "PENSTOCK_METRICS", *, none_is_fine: bool = False) -> str:
    if not text and none_is_fine:
        return ""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f'{variable} is "{text}": give host:port')
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 10 <= seconds <= 86_400:
        raise SettingsError(f'PENSTOCK_RESYNC_SECONDS is "{text}": give a number from 10 to 86400')
    return seconds
