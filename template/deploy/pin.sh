#!/bin/sh
# Pin the base image of the Dockerfile to the digest that its tag has now.
set -eu
dockerfile=$(dirname "$0")/Dockerfile

image=$(sed -n 's/^FROM \([^@ ]*\)[^ ]* AS base$/\1/p' "$dockerfile")
docker pull --quiet "$image" >/dev/null
digest=$(docker inspect --format '{{index .RepoDigests 0}}' "$image")
sed "s|^FROM .* AS base$|FROM $image@${digest#*@} AS base|" "$dockerfile" >"$dockerfile.new"
mv "$dockerfile.new" "$dockerfile"
grep ' AS base$' "$dockerfile"
