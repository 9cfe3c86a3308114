"""Judges a scan by the labels: score.py LABELS.json SCAN.jsonl. Exits 1 below the targets."""

import json
import sys
from collections import defaultdict

labels = {(l["type"], l["id"]): l for l in json.load(open(sys.argv[1]))}
lines = [json.loads(line) for line in open(sys.argv[2]) if line.strip()]
found = {(l["type"], l["id"]): l for l in lines if "verdict" in l}
by_type = defaultdict(lambda: defaultdict(int))
wrong = []
for key, label in labels.items():
    line = found.get(key)
    # Where ACLs are off, the line of the bucket speaks for its objects.
    verdict = line["verdict"] if line else "not_public" if key[0] == "s3_object" else "absent"
    count = by_type[key[0]]
    count["all"] += 1
    count["public"] += label["public"]
    count["unknown"] += verdict in ("unknown", "absent")
    count["true"] += verdict == "public" and label["public"]
    count["false"] += verdict == "public" and not label["public"]
    count["cross"] += (line["cross_account"] if line else "none") == label["cross_account"]
    if verdict != ("public" if label["public"] else "not_public"):
        wrong.append(f"{key[0]} {key[1]} ({label['of']}): {verdict}, is {'public' if label['public'] else 'not public'}")
print(f"{'type':22} {'all':>5} {'public':>6} {'unknown':>7} {'precision':>9} {'recall':>7} {'cross':>6}")
total = defaultdict(int)
for kind, count in sorted(by_type.items()):
    for name, n in count.items():
        total[name] += n
    by_type[kind] = count
good = True
for kind, c in [*sorted(by_type.items()), ("total", total)]:
    precision = c["true"] / max(1, c["true"] + c["false"])
    recall = c["true"] / max(1, c["public"])
    good &= precision >= 0.995 and recall >= (1.0 if kind == "s3_bucket" else 0.995)
    print(f"{kind:22} {c['all']:5} {c['public']:6} {c['unknown']:7} {precision:9.4f} {recall:7.4f} {c['cross'] / c['all']:6.3f}")
strangers = [k for k, l in found.items() if l["verdict"] == "public" and k not in labels]
print(f"public without a label: {len(strangers)} {strangers[:3]}")
for line in wrong[:20]:
    print("wrong:", line)
sys.exit(0 if good and not wrong else 1)
