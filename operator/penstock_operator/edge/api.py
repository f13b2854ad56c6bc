"""The connection to the cluster's API: one call, its answer, and what kind of no it was. No other module knows the client.

It is `kubernetes.aio`'s plain client: its dynamic one lists every kind of the cluster at the start and has no word for strict
validation, and the typed one refuses answers in which a newer cluster leaves out what an older one had.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Final
from urllib import parse

import aiohttp
from kubernetes.aio import client, config

from penstock_operator import permissions

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
_MOST_CONNECTIONS: Final = 32


class ApiError(Exception):
    """The API answered with an error. `reason` is its own word, such as Conflict; `status` is that of HTTP."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


class AwayError(Exception):
    """No answer: the API server is away, or too slow."""


class NoCredentialsError(Exception):
    """Neither a service account nor a kubeconfig that can be used; the message says what is missing."""


class Api:
    """Calls with the credentials of the pod, or of a kubeconfig."""

    def __init__(self, connected: client.ApiClient) -> None:
        self._client = connected

    @classmethod
    async def connected(cls, kubeconfig: pathlib.Path | None = None) -> Api:
        """With this kubeconfig; without, with the pod's service account, whose token is read again every minute.

        Raises NoCredentialsError.
        """
        settings = client.Configuration()
        try:
            if kubeconfig:
                await config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings, persist_config=False)
            else:
                config.load_incluster_config(client_configuration=settings)
        except config.ConfigException as error:
            where = str(kubeconfig) if kubeconfig else "not in a pod with a service account, and KUBECONFIG is not set"
            raise NoCredentialsError(f"{where}: {error}") from error
        settings.connection_pool_maxsize = _MOST_CONNECTIONS
        settings.retries = 0
        return cls(client.ApiClient(settings))

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "application/json",
    ) -> dict[str, Any]:
        """The answer as plain data. Raises ApiError, and AwayError where there was none."""
        serialised = await self._client.param_serialize(
            method,
            path,
            header_params={"Accept": "application/json", "Content-Type": content},
            query_params=list((query or {}).items()),
            auth_settings=["BearerToken"],
        )
        _, url, headers, _, _ = serialised
        try:
            answer = await self._client.rest_client.request(method, url, headers=headers, body=body, _request_timeout=_TIMEOUT)
            raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AwayError(f"{method} {path}: {error or type(error).__name__}") from error
        return _told(answer.status, raw)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()


def _told(status: int, raw: bytes) -> dict[str, Any]:
    try:
        said = json.loads(raw)
    except ValueError:
        said = {"message": raw[:1000].decode(errors="replace")}
    if status >= 400:
        raise ApiError(status, str(said.get("reason") or ""), str(said.get("message") or ""))
    return dict(said)


def place(api_version: str, kind: str, namespace: str = "", name: str = "") -> str:
    """The path of an object, of all of a namespace, or of all."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    parts = [root, *(["namespaces", namespace] if namespace else []), permissions.PLURALS[kind], *([name] if name else [])]
    return "/".join(parse.quote(part, safe="/") for part in parts)


def kubeconfig_of(environment: Mapping[str, str] = os.environ) -> pathlib.Path | None:
    """KUBECONFIG, for an operator outside a cluster; None inside one."""
    told = environment.get("KUBECONFIG", "")
    return pathlib.Path(told) if told else None
