#!/bin/sh
# Make the default project in build/demo, train its model, serve it, and predict over HTTP.
# Usage: UV=path/to/uv tools/demo.sh
set -eu
unset MAKEFLAGS # what the make around it was told is not for that of the project
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$1"; }

say "1/4 generate the default project"
rm -rf build/demo
"$UV" run --only-group generate copier copy --quiet --defaults --vcs-ref HEAD . build/demo
cd build/demo
git init --quiet
PATH=$(dirname "$UV"):$PATH

say "2/4 install its locked dependencies and train its model"
make --silent --no-print-directory setup train

say "3/4 serve the model"
PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PORT
make serve > serve.log 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
trap 'exit 130' HUP INT TERM
seconds=0
until python3 -c "import urllib.request as r; r.urlopen('http://localhost:$PORT/readyz', timeout=1)" 2>/dev/null; do
    if [ "$seconds" -ge 60 ] || ! kill -0 "$server" 2>/dev/null; then
        cat serve.log >&2
        echo "The service did not become ready." >&2
        exit 1
    fi
    sleep 0.5
    seconds=$((seconds + 1))
done

say "4/4 predict"
make --silent --no-print-directory predict

cat <<'END'

A trained model answered over HTTP. Next:
  cd build/demo
  make serve         the service again, on http://localhost:3000
  make check         everything that its CI checks
  less README.md     what is where, and how to put your own model in
Your own project: see "Start your own" in the README of the template.
END
