#!/usr/bin/env python3
"""Prints every new snapshot, one line of JSON each: what a subscriber in Python needs and no more.

usage: subscriber.py PROJECT SUBSCRIPTION [--target ID] [--count N]
Needs google-cloud-pubsub from PyPI. The subscription is the reader's own, on the topic ...snapshot-published: docs/events.md
tells how to make it. With PUBSUB_EMULATOR_HOST set it reads from the emulator.
"""

import argparse
import json
import sys
import threading

from google.cloud import pubsub_v1

EVENT_TYPE = "io.polkashots.snapshot.published.v1"


def handle(event):
    """The effect. An event may come more than once: the same (target, version) must change nothing the second time."""
    print(json.dumps(event), flush=True)


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("project")
    words.add_argument("subscription")
    words.add_argument("--target", help="skip the events of other targets")
    words.add_argument("--count", type=int, help="end after so many events")
    asked = words.parse_args()

    seen = set()
    enough = threading.Event()

    def on_message(message):
        # Another type, or a newer version of this one: coming again would not help.
        if message.attributes.get("ce-type") != EVENT_TYPE:
            message.ack()
            return
        # The subscription's filter has done this already; an emulator ignores filters.
        if asked.target and message.attributes.get("target") != asked.target:
            message.ack()
            return
        event = json.loads(message.data)
        key = (event["target"], event["version"])
        if key not in seen:
            handle(event)
            seen.add(key)
        # Only now: an event whose effect failed comes again.
        message.ack()
        if asked.count and len(seen) >= asked.count:
            enough.set()

    with pubsub_v1.SubscriberClient() as client:
        path = client.subscription_path(asked.project, asked.subscription)
        one_at_a_time = pubsub_v1.types.FlowControl(max_messages=1)
        pulling = client.subscribe(path, callback=on_message, flow_control=one_at_a_time)
        pulling.add_done_callback(lambda _: enough.set())
        enough.wait()
        pulling.cancel()
        # Raises what ended the stream, if it was not us: a subscription that does not exist, a right that is missing.
        pulling.result()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
