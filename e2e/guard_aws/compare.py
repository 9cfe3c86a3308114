"""What other scanners say of the labelled buckets: compare.py NAME LABELS.json OUTPUT

OUTPUT is Custodian's directory, or Prowler's OCSF file. A row is one finding about a bucket.
"""

import json
import pathlib
import sys

name, labels, output = sys.argv[1], json.load(open(sys.argv[2])), pathlib.Path(sys.argv[3])
rows = []
if output.is_dir():
    for file in output.glob("*/resources.json"):
        rows += [bucket["Name"] for bucket in json.load(open(file))]
else:
    for finding in json.load(open(output)):
        if finding["status_code"] == "FAIL":
            rows += [resource["name"] for resource in finding["resources"]]
public = {l["id"] for l in labels if l["type"] == "s3_bucket" and l["public"]}
all = {l["id"] for l in labels if l["type"] == "s3_bucket"}
found = set(rows) & all
hits = len(found & public)
print(
    f"{name}: buckets {len(all)}, precision {hits / max(1, len(found)):.3f}, recall {hits / len(public):.3f}, "
    f"rows for one real exposure {len(rows) / max(1, hits):.2f}"
)
