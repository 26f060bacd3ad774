#!/bin/sh
# Asks for a snapshot of each of TARGETS, as Cloud Scheduler does. Reads PUBSUB, PROJECT, PREFIX.
set -eu
for target in $TARGETS; do
    curl -sSf -X POST -H 'Content-Type: application/json' "$PUBSUB/v1/projects/$PROJECT/topics/${PREFIX}tick:publish" \
        --data "{\"messages\": [{\"attributes\": {\"target\": \"$target\"}, \"data\": \"e30=\"}]}"
done
