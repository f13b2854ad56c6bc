"""The cluster's API as the admin sees it, without a program for each question: scenarios look many times a second."""

from __future__ import annotations

import base64
import http.client
import json
import pathlib
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

import yaml

Object = dict[str, Any]
_SECONDS = 20.0
_ROOTS = {
    "batchpipelines": "/apis/penstock.dev/v1alpha1",
    "deadletterreplays": "/apis/penstock.dev/v1alpha1",
    "deployments": "/apis/apps/v1",
    "events": "/apis/events.k8s.io/v1",
    "configmaps": "/api/v1",
    "namespaces": "/api/v1",
    "pods": "/api/v1",
    "resourcequotas": "/api/v1",
    "secrets": "/api/v1",
    "services": "/api/v1",
}
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class AwayError(OSError):
    """No answer."""


class Api:
    """One connection a request. Everything raises AwayError, and `urllib.error.HTTPError` where the answer is no."""

    def __init__(self, kubeconfig: pathlib.Path) -> None:
        told = yaml.safe_load(kubeconfig.read_text())
        cluster, user = told["clusters"][0]["cluster"], told["users"][0]["user"]
        self._url = str(cluster["server"])
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._tls.load_cert_chain(pair.name)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """None where there is none."""
        try:
            return self._asked("GET", _place(kind, namespace, name))
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.NOT_FOUND:
                return None
            raise

    def listed(self, kind: str, namespace: str, labels: Mapping[str, str] | None = None) -> list[Object]:
        """Those with all of these labels."""
        selector = urllib.parse.quote(",".join(f"{key}={value}" for key, value in (labels or {}).items()))
        return list(self._asked("GET", f"{_place(kind, namespace)}?labelSelector={selector}")["items"])

    def apply(self, kind: str, made: Object) -> Object:
        """As `kubectl apply --server-side --force-conflicts`."""
        metadata = made["metadata"]
        place = _place(kind, metadata.get("namespace", ""), metadata["name"])
        return self._asked("PATCH", f"{place}?fieldManager=scenario&force=true&fieldValidation=Strict", made, _APPLY)

    def patch(self, kind: str, namespace: str, name: str, part: Object) -> Object:
        """What `part` says, merged."""
        return self._asked("PATCH", f"{_place(kind, namespace, name)}?fieldManager=scenario", part, _MERGE)

    def delete(self, kind: str, namespace: str, name: str, grace_seconds: int | None = None) -> None:
        """Ask for it; what isn't there is gone already."""
        options = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        try:
            self._asked("DELETE", _place(kind, namespace, name), {**options, "propagationPolicy": "Background"})
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.NOT_FOUND:
                raise

    def text(self, path: str) -> str:
        """Any path."""
        return self._opened(urllib.request.Request(self._url + path)).decode(errors="replace")

    def _asked(self, method: str, path: str, body: Object | None = None, content: str = "application/json") -> Object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, headers={"Content-Type": content}, method=method)
        return dict(json.loads(self._opened(request)))

    def _opened(self, request: urllib.request.Request) -> bytes:
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS, context=self._tls) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            error.msg = f"{error.msg}: {error.read().decode(errors='replace')[:1000]}"
            raise
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise AwayError(str(error)) from error


def _place(kind: str, namespace: str, name: str = "") -> str:
    inside = f"/namespaces/{namespace}" if namespace and kind != "namespaces" else ""
    return f"{_ROOTS[kind]}{inside}/{kind}" + (f"/{name}" if name else "")
