#!/usr/bin/env bash
# Measures the image factory against mmdebstrap + mkfs.erofs on the same set of packages, in one run: five times each, in turn, medians.
# One JSON object a line. Needs root, a mirror, mmdebstrap and erofs-utils. RUNS=N changes how often, SUITE and PACKAGES what.
#
#   ours_warm      bake --fresh, every package in the store         ours_empty     bake into an empty data directory
#   mmdebstrap     mmdebstrap and mkfs.erofs, fetching each time    mmdebstrap_warm  the same, its apt cache filled
#   nothing_new    bake again                                       one_newer      bake after one package of the set changed its version
#   artifact_20mb  a directory of 20 MB to a mounted volume
#   three_shared   three images upon that set, which none was made of yet, beside three times ours_warm
set -euo pipefail
afresh=$(realpath "${1:?usage: bench_image.sh PATH-OF-AFRESH}")
runs=${RUNS:-5}
suite=${SUITE:-bookworm}
packages=${PACKAGES:-systemd ca-certificates curl python3-minimal}
if [ "$(id -u)" -ne 0 ]; then
  echo "not root: the image factory was left out" >&2
  exit 0
fi

work=$(mktemp -d /tmp/afresh-bench.XXXXXX)
trap 'umount -q "$work/mnt" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
mkdir "$work/mnt"

recipe() { # NAME EXTRA-PACKAGE...
  local name=$1 quoted=""
  shift
  for p in $packages "$@"; do quoted="$quoted\"$p\", "; done
  printf 'image "%s" {\n  debian   = "%s"\n  packages = [%s]\n}\n' "$name" "$suite" "${quoted%, }"
}
recipe bench >"$work/bench.hcl"
{
  recipe bench
  for name in one two three; do
    printf 'image "%s" {\n  base = image.bench\n  packages = []\n  file "/etc/name" { content = "%s" }\n}\n' "$name" "$name"
  done
} >"$work/three.hcl"

# Wall and CPU (its children's too) of one command, one line each: "WALL CPU". Its output goes to a log that is shown if it fails.
timed() {
  python3 - "$work/log" "$@" <<'PY'
import resource, subprocess, sys, time
log, command = sys.argv[1], sys.argv[2:]
began = time.monotonic()
with open(log, "w") as out:
    code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode
wall, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
if code:
    sys.exit(f"{' '.join(command)} ended with {code}:\n{open(log).read()[-2000:]}")
print(f"{wall:.3f} {used.ru_utime + used.ru_stime:.3f}")
PY
}

tell() { # NAME NOTE: the times of $work/NAME
  python3 - "$1" "$work/$1" "$2" <<'PY'
import json, os, statistics, sys
name, path, note = sys.argv[1:]
rows = [tuple(map(float, line.split())) for line in open(path)]
wall, cpu = [r[0] for r in rows], [r[1] for r in rows]
print(json.dumps({"bench": "image", "what": name, "runs": len(rows), "wall_s": wall, "median_wall_s": statistics.median(wall),
    "median_cpu_s": statistics.median(cpu), "note": note, "load_1m": os.getloadavg()[0]}), flush=True)
PY
}

bake() { "$afresh" bake bench --data-dir "$1" --file "$work/bench.hcl" --json "${@:2}"; }

# The machine's own sources for this suite, without third parties: what our bake uses too.
sources=$(find "$work" -maxdepth 0 >/dev/null && bake "$work/warm" >"$work/first.json" && find "$work/warm/store/apt" -name afresh.sources | head -n 1)
python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); print(json.dumps({"bench":"image","what":"set","packages":d["packages"],"digest":d["digest"],"bytes":d["bytes"]}))' "$work/first.json"

mmdebstrap_one() {
  rm -rf --one-file-system "$work/tree" "$work/mm.erofs"
  # As much as ours does and no more: minbase, no recommends, lz4 as ours packs, fixed times and id; a directory, for mkfs.erofs reads one.
  mmdebstrap --quiet --mode=root "$@" --variant=minbase --format=directory --include="${packages// /,}" "$suite" "$work/tree" "$sources"
  mkfs.erofs -zlz4 -T1000000000 -U 00000000-0000-4000-8000-000000000000 --quiet "$work/mm.erofs" "$work/tree"
}
three() {
  for name in one two three; do "$afresh" bake "$name" --data-dir "$work/three" --file "$work/three.hcl" --json; done
}
export -f mmdebstrap_one bake three
export work packages suite sources afresh

# Fills the cache for mmdebstrap_warm, and warms the disk's for all.
mkdir "$work/debs"
timed bash -euc 'mmdebstrap_one --skip=essential/unlink --customize-hook="cp \"\$1\"/var/cache/apt/archives/*.deb $work/debs/"' >/dev/null

echo "image factory: $runs runs of each, in turn, on $(nproc) cores with a load of $(cut -d' ' -f1 /proc/loadavg); others may be at work here" >&2
head -c 20000000 /dev/urandom >"$work/random"
for i in $(seq "$runs"); do
  timed "$afresh" bake bench --fresh --data-dir "$work/warm" --file "$work/bench.hcl" --json >>"$work/ours_warm"
  python3 -c 'import json,sys; print(json.dumps(json.load(open(sys.argv[1]))["seconds"]))' "$work/log" >>"$work/steps"
  timed bash -euc 'mmdebstrap_one' >>"$work/mmdebstrap"
  timed bash -euc 'mmdebstrap_one --setup-hook="mkdir -p \"\$1/var/cache/apt/archives\"; cp -l $work/debs/*.deb \"\$1/var/cache/apt/archives/\""' >>"$work/mmdebstrap_warm"
  rm -rf --one-file-system "$work/empty"
  timed "$afresh" bake bench --data-dir "$work/empty" --file "$work/bench.hcl" --json >>"$work/ours_empty"
  timed "$afresh" bake bench --data-dir "$work/warm" --file "$work/bench.hcl" --json >>"$work/nothing_new"
  grep -q '"did":"nothing"' "$work/log" || { echo "the second bake did something: $(cat "$work/log")" >&2; exit 1; }

  # A store that has all packages but one. Mirrors keep no older version to be newer than, so the set gets one small package more
  # (less), which is fetched, unpacked and configured with the others: the work that a newer version of one costs.
  rm -rf --one-file-system "$work/newer"
  cp -a "$work/warm" "$work/newer"
  recipe bench less >"$work/newer.hcl"
  timed "$afresh" bake bench --data-dir "$work/newer" --file "$work/newer.hcl" --json >>"$work/one_newer"
  grep -q '"did":"baked"' "$work/log" || { echo "one package more was no new image: $(cat "$work/log")" >&2; exit 1; }

  # All packages and no image: the first makes the base, the others begin with it.
  rm -rf --one-file-system "$work/three"
  cp -a "$work/warm" "$work/three"
  rm -rf --one-file-system "$work/three/store/"{objects,manifests,inputs,current,attested}
  timed bash -euc three >>"$work/three_shared"
  [ "$(grep -c '"from":"store"' "$work/log")" -eq 2 ] || { echo "two of three images should begin with the base: $(cat "$work/log")" >&2; exit 1; }

  # New content each time, or nothing would be packed.
  mkdir -p "$work/code"
  for n in $(seq 20); do { echo "$i $n"; head -c $((n * 1000000)) "$work/random" | tail -c 1000000; } >"$work/code/$n"; done
  timed bash -euc 'object=$("$afresh" image pack "$work/code" --data-dir "$work/warm" --json | sed "s/.*\"path\":\"\([^\"]*\)\".*/\1/")
    mount -t erofs -o loop,ro "$object" "$work/mnt"' >>"$work/artifact_20mb"
  umount "$work/mnt"
  echo "round $i, wall and CPU in seconds:$(cd "$work" && for f in ours_warm ours_empty mmdebstrap mmdebstrap_warm nothing_new one_newer three_shared artifact_20mb; do echo " $f $(tail -n 1 "$f")"; done | tr '\n' ';')" >&2
done

tell ours_warm "bake --fresh, all packages in the store; signed and with its bill of materials"
tell ours_empty "bake into an empty data directory: lists, packages, all"
tell mmdebstrap "mmdebstrap and mkfs.erofs -zlz4, fetching lists and packages each time"
tell mmdebstrap_warm "the same, packages hard-linked into its apt cache; lists fetched"
tell nothing_new "bake again: the mirrors are asked, nothing is done; target < 1 s"
tell one_newer "one package of the set is not in the store (less, added to it), the rest is"
tell three_shared "three images, each with the whole set and a file of its own; the first also packs the base for the others"
tell artifact_20mb "image pack and mount, 20 files of random bytes, new each time; target < 0.2 s"
python3 - "$work" <<'PY'
import json, statistics, sys
median = lambda name, column=0: statistics.median(float(line.split()[column]) for line in open(f"{sys.argv[1]}/{name}"))
steps = [json.loads(line) for line in open(f"{sys.argv[1]}/steps")]
print(json.dumps({"bench": "image", "what": "steps", "median_s": {s: statistics.median(r.get(s, 0) for r in steps) for s in steps[0]}}))
ratio = lambda a, b, column=0: round(median(a, column) / median(b, column), 3)
print(json.dumps({"bench": "image", "what": "ratios", "target": "ours_warm at most 0.6 of mmdebstrap's wall",
    "warm_wall": ratio("ours_warm", "mmdebstrap"), "warm_wall_to_warm": ratio("ours_warm", "mmdebstrap_warm"), "warm_cpu": ratio("ours_warm", "mmdebstrap", 1),
    "warm_cpu_to_warm": ratio("ours_warm", "mmdebstrap_warm", 1), "empty_wall": ratio("ours_empty", "mmdebstrap"), "one_newer_wall": ratio("one_newer", "mmdebstrap"),
    "three_shared_wall_to_three_of_ours_warm": round(median("three_shared") / (3 * median("ours_warm")), 3),
    "three_shared_cpu_to_three_of_ours_warm": round(median("three_shared", 1) / (3 * median("ours_warm", 1)), 3),
    "nothing_new_under_1_s": median("nothing_new") < 1, "artifact_under_0.2_s": median("artifact_20mb") < 0.2}))
PY
