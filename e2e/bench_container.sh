#!/usr/bin/env bash
# A container image of 1 GB: `afresh bake` from a registry of this machine beside `skopeo copy` and `umoci unpack`, in seconds and peak memory.
# It runs as root and needs docker-registry, skopeo and umoci. MIB: how large, LAYERS: in how many layers; AFRESH: the program.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env=AFRESH,MIB,LAYERS "$0" "$@"
AFRESH=$(realpath "${AFRESH:-target/ship/afresh}")
MIB=${MIB:-1024} LAYERS=${LAYERS:-5}
work=$(mktemp -d /var/tmp/afresh-container.XXXXXX)
registry=
trap '[ -z "$registry" ] || kill "$registry"; rm -rf "$work"' EXIT

# Half of it compresses, as programs do; the other half does not. 200 files to a layer.
WORK=$work MIB=$MIB LAYERS=$LAYERS python3 - <<'PY'
import gzip, hashlib, io, json, os, random, tarfile
work, mib, layers = os.environ["WORK"], int(os.environ["MIB"]), int(os.environ["LAYERS"])
blobs = f"{work}/layout/blobs/sha256"
os.makedirs(blobs)
def blob(data):
    name = hashlib.sha256(data).hexdigest()
    open(f"{blobs}/{name}", "wb").write(data)
    return {"digest": f"sha256:{name}", "size": len(data)}
def put(value, kind):
    return {"mediaType": kind, **blob(json.dumps(value).encode())}
rng, descriptors, diff_ids = random.Random(1), [], []
words = b" ".join(b"%d" % n for n in range(200_000))
size = mib * (1 << 20) // layers // 200
for layer in range(layers):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for n in range(200):
            at = rng.randrange(len(words) - 1000)
            text = (words[at:] + words) * (size // 2 // len(words) + 1)
            data = rng.randbytes(size - size // 2) + text[: size // 2]
            info = tarfile.TarInfo(f"data/{layer}/{n}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    plain = raw.getvalue()
    diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
    descriptors.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob(gzip.compress(plain, 6, mtime=0))})
config = put({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/x"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}, "application/vnd.oci.image.config.v1+json")
top = put({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": descriptors}, "application/vnd.oci.image.manifest.v1+json")
top["annotations"] = {"org.opencontainers.image.ref.name": "big"}
json.dump({"schemaVersion": 2, "manifests": [top]}, open(f"{work}/layout/index.json", "w"))
json.dump({"imageLayoutVersion": "1.0.0"}, open(f"{work}/layout/oci-layout", "w"))
PY

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/blobs}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$work" "$port" >"$work/registry.yml"
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
for _ in $(seq 100); do curl -sf "http://127.0.0.1:$port/v2/" >/dev/null && break || sleep 0.1; done
name=127.0.0.1:$port/bench/big:1
skopeo --insecure-policy copy -q --preserve-digests --dest-tls-verify=false "oci:$work/layout:big" "docker://$name"

# What it took, and the most that it or a process of its held at once.
measured() {
  local what=$1
  shift
  sync
  WHAT=$what python3 - "$@" <<'PY'
import os, resource, subprocess, sys, time
begun = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
took, used = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"| {os.environ['WHAT']} | {took:.1f} s | {used.ru_utime + used.ru_stime:.1f} s | {used.ru_maxrss / 1024:.0f} MiB |")
if done.returncode != 0:
    sys.exit(done.stdout.decode())
PY
}

printf 'image "big" {\n  oci = "%s"\n}\n' "$name" >"$work/afresh.hcl"
echo "| $MIB MiB in $LAYERS layers | time | CPU | peak memory |"
echo "| --- | --- | --- | --- |"
measured "afresh bake: pull, verify, flatten, pack, sign" "$AFRESH" bake big --file "$work/afresh.hcl" --data-dir "$work/data" --json
measured "afresh bake: the same tag again" "$AFRESH" bake big --file "$work/afresh.hcl" --data-dir "$work/data" --json
measured "skopeo copy to a layout" skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$name" "oci:$work/copied:big"
measured "umoci unpack" umoci unpack --image "$work/copied:big" "$work/bundle"
