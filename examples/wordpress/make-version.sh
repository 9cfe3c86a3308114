#!/bin/sh
# make-version.sh DIR SUITE: an artifact directory with the WordPress of this Debian suite (bookworm: 6.1, trixie: 6.8), out of its packages.
# Where a package links to another's file, the file is there itself. The theme is that of bookworm's version, which both have.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 DIR SUITE" >&2
    exit 2
fi
rm -rf "$1"
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial archives/partial
for archive in "debian $2" "debian-security $2-security"; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/$archive main"
done > sources.list
# An apt of its own: what this machine's apt knows stays as it is.
apt() {
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" "$@"
}
apt update
apt download wordpress wordpress-theme-twentytwentythree php-getid3 libjs-cropper libjs-lodash libjs-underscore
for package in *.deb; do
    dpkg -x "$package" root
done
cd root/usr/share/wordpress
rm .htaccess
cp -RL . "$out"
