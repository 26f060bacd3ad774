#!/usr/bin/env python3
"""Checks a compose file, as podman-compose reads it, against the Compose specification's schema, and that what its services
name is there: volumes, other services, and the files that are mounted.

usage: podman-compose --file FILE config | check_compose.py FOLDER [MADE...]
    FOLDER  of the compose file, which its paths are relative to
    MADE    paths that somebody makes before the first start
Prints each finding, exits 1 when there is one.
"""

import importlib.util
import json
import pathlib
import sys

import jsonschema
import yaml


def by_schema(config):
    # The package is there for its schema alone, without what it would need to run.
    package = pathlib.Path(importlib.util.find_spec("compose").submodule_search_locations[0])
    schema = json.loads((package / "config/compose_spec.json").read_text(encoding="utf-8"))
    # The package is of 2021; the specification has had a project's name since 2022.
    schema["properties"].setdefault("name", {"type": "string"})
    for error in jsonschema.Draft7Validator(schema).iter_errors(config):
        yield f"{'.'.join(map(str, error.absolute_path)) or 'the file'}: {error.message}"


def by_names(config, folder, made):
    services, volumes = config["services"], config.get("volumes") or {}
    for name, service in services.items():
        for other in service.get("depends_on") or []:
            if other not in services:
                yield f"services.{name}.depends_on: no service {other}: one of {', '.join(services)}"
        for mount in service.get("volumes") or []:
            source = mount.split(":")[0]
            if source.startswith((".", "/")):
                if source not in made and not (folder / source).exists():
                    yield f"services.{name}.volumes: {source} is not there, seen from {folder}"
            elif source not in volumes:
                yield f"services.{name}.volumes: no volume {source}: one of {', '.join(volumes)}"


def main():
    folder, made = pathlib.Path(sys.argv[1]), sys.argv[2:]
    config = yaml.safe_load(sys.stdin)
    found = [*by_schema(config), *by_names(config, folder, made)]
    print(*found, sep="\n", file=sys.stderr, end="\n" if found else "")
    if found:
        sys.exit(1)
    print(f"{len(config['services'])} services are of the specification")


if __name__ == "__main__":
    main()
