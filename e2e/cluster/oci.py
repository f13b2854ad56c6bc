"""Writing a container image as a file, without Docker, a registry or root: layers in, an OCI archive out.

The same input gives the same bytes. The archive also has Docker's own list of contents, so that any `docker load` takes it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pathlib
import platform
import tarfile
from collections.abc import Mapping, Sequence

_TYPES = "application/vnd.oci.image"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_EPOCH = "1970-01-01T00:00:00Z"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`name` with its tag; `layers` are tar files, the lowest first."""

    name: str
    layers: Sequence[pathlib.Path]
    entrypoint: Sequence[str]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    user: str = ""


def architecture() -> str:
    """This machine's, as images spell it."""
    return _MACHINES[platform.machine()]


def write_layer(target: pathlib.Path, trees: Mapping[str, pathlib.Path]) -> None:
    """A tar file with each folder or file of `trees` at the path that is its key; everything is root's and old."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for place, source in trees.items():
            paths = [source, *sorted(source.rglob("*"))] if source.is_dir() else [source]
            for path in paths:
                name = pathlib.PurePosixPath(place.strip("/")) / path.relative_to(source).as_posix()
                archive.add(path, arcname=str(name), recursive=False, filter=_anonymous)


def write(target: pathlib.Path, image: Image) -> None:
    """The archive."""
    layers = [_blob(path) for path in image.layers]
    config = _json(_config(image, [layer["digest"] for layer in layers]))
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPES}.manifest.v1+json",
            "config": {"mediaType": f"{_TYPES}.config.v1+json", **_described(config)},
            "layers": [{"mediaType": f"{_TYPES}.layer.v1.tar", **layer} for layer in layers],
        }
    )
    names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name.rpartition(":")[2]}
    entry = {"mediaType": f"{_TYPES}.manifest.v1+json", **_described(manifest), "annotations": names}
    docker = {"Config": _place(config), "RepoTags": [image.name], "Layers": [_place_of(layer["digest"]) for layer in layers]}
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        _put(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _put(archive, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        _put(archive, "manifest.json", _json([docker]))
        for content in (config, manifest):
            _put(archive, _place(content), content)
        for layer, path in {layer["digest"]: path for layer, path in zip(layers, image.layers, strict=True)}.items():
            archive.add(path, arcname=_place_of(layer), filter=_anonymous)


def _config(image: Image, layers: Sequence[object]) -> dict[str, object]:
    return {
        "architecture": architecture(),
        "os": "linux",
        "created": _EPOCH,
        "config": {
            "Entrypoint": list(image.entrypoint),
            "Env": [f"{name}={value}" for name, value in image.environment.items()],
            "User": image.user,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
    }


def _blob(path: pathlib.Path) -> dict[str, object]:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {"digest": f"sha256:{digest}", "size": path.stat().st_size}


def _described(content: bytes) -> dict[str, object]:
    return {"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}


def _place(content: bytes) -> str:
    return _place_of(_described(content)["digest"])


def _place_of(digest: object) -> str:
    return f"blobs/{str(digest).replace(':', '/')}"


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry
