#!/bin/sh
# make-version.sh DIR VERSION: an artifact directory with a site as `wagtail start` makes it, this version of Wagtail and what it needs (from PyPI).
# The Python is that of the image: 3.11 in Debian's bookworm.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 DIR VERSION" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$1"
mkdir -p "$1"
cd "$1"
python3 -m pip install --quiet --root-user-action=ignore --no-warn-conflicts --target lib --only-binary :all: --implementation cp --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 "wagtail==$2" "django>=5.2,<5.3" "gunicorn==27.0.1" "psycopg[binary]==3.3.9" "whitenoise==6.12.0"
export PYTHONPATH="$PWD/lib" PYTHONDONTWRITEBYTECODE=1
python3 lib/bin/wagtail start mysite . >/dev/null
cp "$here/local.py" mysite/settings/local.py
python3 manage.py collectstatic --noinput --settings mysite.settings.production >/dev/null
