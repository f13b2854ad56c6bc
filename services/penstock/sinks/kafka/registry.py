"""The schema registry as a sink meets it: what a schema's number is, and whose fault it is when there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from penstock.core import results
from penstock.registry import client
from penstock.sinks import certificates, port, tables

_REMEDIES: Mapping[int, str] = {
    401: "renew the secret of kafka.format.registry.authentication",
    403: "give this user the right to register the subject, or register the schema by hand",
    409: "the subject's compatibility forbids this schema: change select, or the subject's compatibility",
    422: "the registry refuses the schema itself: change the columns in select",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """`user` and `password` read what they are at this moment; both None where none are asked for."""

    url: str
    user: Callable[[], str] | None = None
    password: Callable[[], str] | None = None
    tls: certificates.Tls | None = None

    async def number(self, subject: str, schema: Mapping[str, Any]) -> int:
        """The schema's number, registered under `subject` if need be. Raises SinkError: config or outage."""
        try:
            return await self._registry.number(subject, schema)
        except client.RegistryError as error:
            raise _translated(error) from error

    @property
    def _registry(self) -> client.Registry:
        tls = self.tls.context if self.tls else None
        return client.Registry(url=self.url, user=self.user, password=self.password, tls=tls)


def _translated(error: client.RegistryError) -> port.SinkError:
    status = error.status
    if status is None:
        return tables.unavailable("REGISTRY_UNAVAILABLE", str(error))
    if status == 200:
        return tables.misconfigured("REGISTRY", str(error), "check kafka.format.registry.url")
    return port.SinkError(
        results.Failure(
            result_class=results.ResultClass.OUTAGE if error.is_outage else results.ResultClass.CONFIG,
            code="CREDENTIALS_REJECTED" if status == 401 else f"REGISTRY_{status}",
            message=str(error),
            remedy=_REMEDIES.get(status, "" if error.is_outage else "check kafka.format.registry"),
        )
    )
