#!/bin/sh
# Start the image as production does (read-only, no privileges, bounded), predict, stop.
# Usage: IMAGE=name deploy/smoke.sh
set -eu

container=$(docker run --detach --read-only --tmpfs /tmp --cap-drop ALL \
    --security-opt no-new-privileges --memory 512m --cpus 1 --pids-limit 128 "$IMAGE")
trap 'docker rm --force "$container" >/dev/null' EXIT
trap 'exit 130' HUP INT TERM

waited=0
until [ "$(docker inspect --format '{{.State.Health.Status}}' "$container")" = healthy ]; do
    if [ "$waited" -ge 60 ] || [ "$(docker inspect --format '{{.State.Running}}' "$container")" != true ]; then
        docker logs "$container" >&2
        echo "The container did not become healthy." >&2
        exit 1
    fi
    sleep 1
    waited=$((waited + 1))
done
docker exec "$container" python -m ml_chassis predict http://127.0.0.1:3000
docker stop --time 15 "$container" >/dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
[ "$code" = 0 ] || { echo "The container stopped with exit code $code." >&2; exit 1; }
echo "The image $IMAGE is healthy, predicts, and stops in good order."
