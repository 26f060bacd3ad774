#!/bin/sh
# The engine's part where there is no Kubernetes: a copy of the node's volume, and the word that it is ready. The node must
# be stopped: docker compose stop node. Reads PUBSUB, PROJECT, PREFIX, TARGET.
set -eu
[ -n "$(ls -A /data)" ] || {
    echo "the node's volume is empty: let the node run first" >&2
    exit 1
}
version=$(date -u +%Y%m%d-%H%M%S)
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
find /claim -mindepth 1 -delete
cp -a /data/. /claim/
data=$(printf '{"target":"%s","version":"%s","volumeSnapshot":"%s","claim":"%s","takenAt":"%s"}' \
    "$TARGET" "$version" "$TARGET-$version" "$TARGET-restore" "$now" | base64 | tr -d '\n')
curl -sSf -X POST -H 'Content-Type: application/json' "$PUBSUB/v1/projects/$PROJECT/topics/${PREFIX}volume-snapshot-ready:publish" \
    --data "{\"messages\": [{\"data\": \"$data\", \"attributes\": {\"target\": \"$TARGET\", \"ce-specversion\": \"1.0\",
        \"ce-id\": \"volume-snapshot-ready/$TARGET/$version\", \"ce-type\": \"io.polkashots.volume-snapshot.ready.v1\",
        \"ce-source\": \"compose\", \"ce-time\": \"$now\", \"content-type\": \"application/json\"}}]}" >/dev/null
echo "$TARGET $version: the snapshotter works on it"
