#!/bin/sh
# Pin the base image of the Dockerfile, and the images of others in compose.yaml, to the digests that
# their tags have now.
set -eu
cd "$(dirname "$0")"

pin() {
    file=$1 image=$2
    docker pull --quiet "$image" >/dev/null
    # The same image may be known from other registries, too.
    digest=$(docker inspect --format '{{join .RepoDigests "\n"}}' "$image" | grep -F "${image%:*}@")
    sed "s|\( $image\)\(@[^ ]*\)\{0,1\}\( .*\)\{0,1\}\$|\1@${digest#*@}\3|" "$file" >"$file.new"
    mv "$file.new" "$file"
    grep " $image@" "$file"
}

sed -n 's/^FROM \([^@ ]*\)[^ ]* AS base$/\1/p' Dockerfile | while read -r image; do pin Dockerfile "$image"; done
sed -n 's/^    image: \([^"@ ][^@ ]*\).*$/\1/p' compose.yaml | while read -r image; do pin compose.yaml "$image"; done
