#!/bin/sh
# Makes what Terraform makes in the cloud: topics, subscriptions with dead letters, buckets. May be run again.
# Reads PUBSUB and STORE (addresses), PROJECT, PREFIX, TARGETS and BUCKETS (words).
set -eu
api=$PUBSUB/v1/projects/$PROJECT
topics="tick volume-snapshot-ready snapshot-uploaded snapshot-failed snapshot-published dead-letters"

# put URL [JSON]: what is there already is no error.
put() {
    code=$(curl -sS --retry 60 --retry-connrefused --retry-delay 1 -o /tmp/answer -w '%{http_code}' -X PUT \
        -H 'Content-Type: application/json' --data "${2:-}" "$1")
    case $code in
        2?? | 409) echo "$code $1" ;;
        *)
            echo "$1: $code $(cat /tmp/answer)" >&2
            exit 1
            ;;
    esac
}

subscribe() {
    put "$api/subscriptions/$PREFIX$1" "{
        \"topic\": \"projects/$PROJECT/topics/$PREFIX$2\", \"ackDeadlineSeconds\": 60, \"enableExactlyOnceDelivery\": true,
        \"retryPolicy\": {\"minimumBackoff\": \"10s\", \"maximumBackoff\": \"600s\"},
        \"deadLetterPolicy\": {\"deadLetterTopic\": \"projects/$PROJECT/topics/${PREFIX}dead-letters\", \"maxDeliveryAttempts\": 5}${3:-}
    }"
}

for topic in $topics; do put "$api/topics/$PREFIX$topic" '{}'; done
for target in $TARGETS; do
    filter=", \"filter\": \"attributes.target = \\\"$target\\\"\""
    subscribe "engine.tick.$target" tick "$filter"
    subscribe "engine.snapshot-uploaded.$target" snapshot-uploaded "$filter"
    subscribe "engine.snapshot-failed.$target" snapshot-failed "$filter"
    subscribe "snapshotter.volume-snapshot-ready.$target" volume-snapshot-ready "$filter"
done
subscribe publisher.snapshot-uploaded snapshot-uploaded
subscribe publisher.snapshot-failed snapshot-failed
put "$api/subscriptions/${PREFIX}operator.dead-letters" "{\"topic\": \"projects/$PROJECT/topics/${PREFIX}dead-letters\"}"
for bucket in $BUCKETS; do put "$STORE/$bucket"; done
