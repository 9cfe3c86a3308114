#!/bin/sh
# make-version.sh DIR VERSION: an artifact directory with the two programs, this version of Celery and what it needs (from PyPI).
# The Python is that of the image: 3.11 in Debian's bookworm. It is 3.11.2, for which redis needs async-timeout; pip judges that by the Python
# that it runs on, which may be newer.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 DIR VERSION" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$1"
mkdir -p "$1"
cp "$here"/src/*.py "$1"
python3 -m pip install --quiet --root-user-action=ignore --no-warn-conflicts --target "$1/lib" --only-binary :all: --implementation cp --python-version 3.11 \
    --platform manylinux2014_x86_64 "celery[redis]==$2" "flask==3.1.2" "gunicorn==27.0.1" async-timeout
