#!/usr/bin/env python3
"""Checks that what terraform/ repeats of the code is what the code says: topics, chains, explorers, log lines, subscriptions.

usage: check_code.py REPOSITORY
Prints each finding and exits 1 when there is one.
"""

import pathlib
import re
import sys


def read(root, path):
    return (root / path).read_text(encoding="utf-8")


def between(text, start, end):
    """The part of a text from one mark to the next other one."""
    begin = text.index(start)
    return text[begin : text.index(end, begin)]


def compare(what, here, there):
    if here != there:
        yield f"{what}: terraform has {sorted(here)}, the code {sorted(there)}"


def topics(root):
    code = set(re.findall(r'=> "([a-z-]+)"', between(read(root, "shared/src/event.rs"), "pub fn as_str", "pub fn event_type")))
    ours = set(re.findall(r'"([a-z-]+)"', between(read(root, "terraform/modules/pubsub/main.tf"), "  topics = [", "]")))
    yield from compare("topics (modules/pubsub, shared/src/event.rs)", ours, code)


def subscriptions(root):
    """Each worker reads the topics that its own handler names."""
    text = read(root, "terraform/modules/pubsub/main.tf")
    ours = set(re.findall(r'worker = "([a-z]+)", topic = "([a-z-]+)"', text))
    kinds = {"Tick": "tick", "VolumeSnapshotReady": "volume-snapshot-ready", "SnapshotUploaded": "snapshot-uploaded", "SnapshotFailed": "snapshot-failed"}
    code = set()
    for worker in ("engine", "snapshotter", "publisher"):
        source = "".join(path.read_text(encoding="utf-8") for path in (root / "workers" / worker / "src").rglob("*.rs"))
        lists = re.findall(r"TOPICS: \[Topic; \d+\] = \[([^\]]*)\]|NAME, &\[([^\]]*)\]", source)
        code |= {(worker, kinds[name]) for parts in lists for name in re.findall(r"Topic::(\w+)", "".join(parts))}
    yield from compare("subscriptions (modules/pubsub, workers)", ours, code)


def chains(root):
    code = set(re.findall(r'\("(\w+)", "(\w+)", "0x[0-9a-f]{64}"\)', read(root, "shared/src/chain.rs")))
    ours = set(re.findall(r'(\w+) += "(\w+)"', between(read(root, "terraform/locals.tf"), "built_in_chains = {", "}")))
    yield from compare("built-in chains (locals.tf, shared/src/chain.rs)", ours, code)


def explorers(root):
    code = set(re.findall(r'\("(\w+)", "([\w.]+)", "([\w.-]+)", (?:Some\("([\w.]+)"\)|None)\)', read(root, "shared/src/chain.rs")))
    text = between(read(root, "terraform/locals.tf"), "explorer_hosts = {", "\n  }")
    ours = set(re.findall(r'(\w+) += \{ subscan = "([\w.]+)", rpc = "([\w.-]+)", statescan = (?:"([\w.]+)"|null) \}', text))
    yield from compare("explorers (locals.tf, shared/src/chain.rs)", ours, code)


def log_lines(root):
    """A metric counts log lines by their words; a line that is reworded would silently count nothing."""
    sources = "".join(path.read_text(encoding="utf-8") for folder in ("shared/src", "workers") for path in (root / folder).rglob("*.rs"))
    for message in re.findall(r'jsonPayload\.message=\\"([^"\\]+)\\"', read(root, "terraform/modules/observability/metrics.tf")):
        if not re.search(r'(info|warn|error)!\([^;]*"' + re.escape(message) + r'"\)', sources, re.S):
            yield f'modules/observability/metrics.tf counts the log line "{message}", which no worker writes'


def names(root):
    code = read(root, "shared/src/names.rs")
    if '"{worker}.{topic}.{target}"' not in code or '"{worker}.{topic}"' not in code:
        yield "shared/src/names.rs names subscriptions in another way than modules/pubsub"
    prefix = re.search(r'PARTS_PREFIX: &str = "([^"]+)"', code).group(1)
    for path in ("terraform/modules/storage/main.tf", "terraform/modules/identity/main.tf"):
        if f'"{prefix}"' not in read(root, path):
            yield f"{path} does not know the folder {prefix} of uploads under way"


def main(root):
    for check in (topics, subscriptions, chains, explorers, log_lines, names):
        yield from check(root)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    findings = list(main(pathlib.Path(sys.argv[1])))
    for finding in findings:
        print(finding, file=sys.stderr)
    sys.exit(1 if findings else 0)
