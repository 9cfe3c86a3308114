"""Adds a tar as the uppermost layer of the only image in an OCI layout, and sets its name and what runs:
oci_layer.py LAYOUT TAR NAME CONFIG, the last as JSON."""

import gzip
import hashlib
import json
import sys
from pathlib import Path


def main():
    layout, tar, name, settings = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
    blobs = layout / "blobs/sha256"

    def path(descriptor):
        return blobs / descriptor["digest"].removeprefix("sha256:")

    def put(kind, data):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def replace(descriptor, value):
        path(descriptor).unlink()
        descriptor.update(put(descriptor["mediaType"], json.dumps(value, sort_keys=True).encode()))

    index = json.loads((layout / "index.json").read_text())
    (described,) = index["manifests"]
    manifest = json.loads(path(described).read_text())
    config = json.loads(path(manifest["config"]).read_text())
    data = tar.read_bytes()
    # Without the time of its making.
    manifest["layers"].append(put("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(data, 9, mtime=0)))
    config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(data).hexdigest())
    config.setdefault("config", {}).update(settings)
    if "history" in config:
        config["history"].append({"created": config.get("created"), "created_by": "afresh"})
    replace(manifest["config"], config)
    replace(described, manifest)
    described.setdefault("annotations", {})["org.opencontainers.image.ref.name"] = name
    (layout / "index.json").write_text(json.dumps(index, sort_keys=True))


main()
