"""An image written without Docker: does every part have the digest that others know it by?"""

from __future__ import annotations

import hashlib
import json
import pathlib
import tarfile
from typing import Any

import pytest
from e2e.cluster import oci


@pytest.fixture
def image(tmp_path: pathlib.Path) -> oci.Image:
    (tmp_path / "tree" / "bin").mkdir(parents=True)
    (tmp_path / "tree" / "bin" / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tree" / "bin" / "tool").chmod(0o755)
    oci.write_layer(tmp_path / "layer.tar", {"/opt": tmp_path / "tree"})
    return oci.Image(
        name="here.test/tool:1", layers=[tmp_path / "layer.tar"], entrypoint=["tool"], environment={"A": "b=c"}, user="7"
    )


def contents(archive: pathlib.Path) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        files = {entry.name: opened.extractfile(entry) for entry in opened}
        return {name: file.read() for name, file in files.items() if file}


def blob(files: dict[str, bytes], described: dict[str, Any]) -> bytes:
    """What a description describes, checked against it."""
    content = files["blobs/" + described["digest"].replace(":", "/")]
    assert (described["size"], described["digest"]) == (len(content), "sha256:" + hashlib.sha256(content).hexdigest())
    return content


def test_every_description_fits_what_it_describes(tmp_path: pathlib.Path, image: oci.Image) -> None:
    """Catches digests of other bytes than those in the archive, and settings that get lost."""
    oci.write(tmp_path / "image.tar", image)
    files = contents(tmp_path / "image.tar")
    [entry] = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "here.test/tool:1"
    manifest = json.loads(blob(files, entry))
    config = json.loads(blob(files, manifest["config"]))
    [layer] = manifest["layers"]
    assert blob(files, layer) == image.layers[0].read_bytes()
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    said = config["config"]
    assert (said["Entrypoint"], said["Env"], said["User"]) == (["tool"], ["A=b=c"], "7")


def test_docker_s_own_list_names_the_same_files(tmp_path: pathlib.Path, image: oci.Image) -> None:
    """Catches an archive that `docker load` would refuse."""
    oci.write(tmp_path / "image.tar", image)
    files = contents(tmp_path / "image.tar")
    [listed] = json.loads(files["manifest.json"])
    assert listed["RepoTags"] == ["here.test/tool:1"]
    assert {listed["Config"], *listed["Layers"]} <= files.keys()


def test_the_same_files_give_the_same_bytes(tmp_path: pathlib.Path, image: oci.Image) -> None:
    """Catches times, owners or an order that differ from one build to the next."""
    (tmp_path / "tree" / "bin" / "tool").touch()
    oci.write_layer(tmp_path / "again.tar", {"/opt": tmp_path / "tree"})
    assert (tmp_path / "again.tar").read_bytes() == image.layers[0].read_bytes()


def test_a_layer_keeps_what_may_be_run(image: oci.Image) -> None:
    """Catches an entrypoint without its permission, or at another place."""
    with tarfile.open(image.layers[0]) as layer:
        assert {entry.name: entry.mode & 0o777 for entry in layer if entry.isfile()} == {"opt/bin/tool": 0o755}
