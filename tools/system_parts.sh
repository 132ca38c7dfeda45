#!/bin/sh
# Programs that some tests use: a Redis server and a browser. Installed where that needs no question (root on Debian
# or Ubuntu); anywhere else their tests are skipped and say why. Never fails.
want=
command -v redis-server >/dev/null || want="redis-server"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    want="$want chromium"
[ -n "$want" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
echo "Installing for the tests:" $want
export DEBIAN_FRONTEND=noninteractive
get() { apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1; }
get $want || { apt-get update >/dev/null 2>&1; get $want; } || for one in $want; do
    get "$one" || echo "Could not install $one: its tests will be skipped."
done
exit 0
