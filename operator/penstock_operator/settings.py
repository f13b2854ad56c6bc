"""What the operator is told at its start, once, by its own Deployment: images, namespaces, the default log.

An image can only come from here: who may edit a pipeline must not thereby choose what code runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pydantic

from penstock.api.model import log as api_log

ROLES = ("ingest", "batcher", "sink")
OWN_NAMESPACE = "penstock-system"


class SettingsError(ValueError):
    """The operator's environment can't be used; the message names the variable."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`namespaces` empty: all. `default_log`: the log of pipelines that name none; None: they must name one."""

    images: Mapping[str, str]
    image_pull_secrets: tuple[str, ...] = ()
    operator_namespace: str = OWN_NAMESPACE
    namespaces: tuple[str, ...] = ()
    default_log: api_log.Log | None = None
    resync_seconds: float = 300.0


def of_environment(environment: Mapping[str, str]) -> Settings:
    """From PENSTOCK_IMAGE (or PENSTOCK_IMAGE_INGEST, …_BATCHER, …_SINK), PENSTOCK_IMAGE_PULL_SECRETS, PENSTOCK_NAMESPACES
    (both separated by commas), POD_NAMESPACE, PENSTOCK_DEFAULT_LOG (JSON, as `spec.log`), PENSTOCK_RESYNC_SECONDS.

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


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 10 <= seconds <= 86_400:
        raise SettingsError(f'PENSTOCK_RESYNC_SECONDS is "{text}": give a number from 10 to 86400')
    return seconds
