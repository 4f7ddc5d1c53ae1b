#!/bin/sh
# Pin the base image of the Dockerfile, and the images of others in compose.yaml, to the digests that
# their tags have now.
set -eu
cd "$(dirname "$0")"

pin() {
    file=$1 image=$2
    docker pull --quiet "$image" >/dev/null
    digest=$(docker inspect --format '{{index .RepoDigests 0}}' "$image")
    sed "s|\( $image\)\(@[^ ]*\)\{0,1\}\( .*\)\{0,1\}\$|\1@${digest#*@}\3|" "$file" >"$file.new"
    mv "$file.new" "$file"
    grep " $image@" "$file"
}

for image in $(sed -n 's/^FROM \([^@ ]*\)[^ ]* AS base$/\1/p' Dockerfile); do pin Dockerfile "$image"; done
for image in $(sed -n 's/^    image: \([a-z][^@ ]*\).*$/\1/p' compose.yaml); do pin compose.yaml "$image"; done
