"""Writes the table of values in the chart's README, from values.yaml and its comments."""

import json
import pathlib

import yaml

CHART = pathlib.Path(__file__).resolve().parent.parent
HEADING = "## Values\n"
# Objects of Kubernetes, which the schema does not describe further.
OPEN = ("podSecurityContext", "resources.requests", "resources.limits")


def leaves(node, lines, path=()):
    """Yields path, default and comment of each value that a user sets."""
    for key, value in node.value:
        name = (*path, key.value)
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from leaves(value, lines, name)
        else:
            at, comment = key.start_mark.line - 1, []
            while lines[at].lstrip().startswith("#"):
                comment.insert(0, lines[at].lstrip("# "))
                at -= 1
            assert comment, f"values.yaml: {'.'.join(name)} has no comment"
            default = yaml.safe_load(yaml.serialize(value))
            yield ".".join(name), default, " ".join(comment)


def values():
    text = (CHART / "values.yaml").read_text()
    return list(leaves(yaml.compose(text), text.splitlines()))


def readme():
    """Returns the README with the table of today's values."""
    rows = [f"| `{name}` | `{json.dumps(default)}` | {comment} |\n" for name, default, comment in values()]
    before, after = (CHART / "README.md").read_text().split(HEADING)
    rest = after[after.index("\n## ") + 1 :]
    return before + HEADING + "\n| value | default | meaning |\n|---|---|---|\n" + "".join(rows) + "\n" + rest


def described(schema, path=()):
    """Yields the path of each value in the schema."""
    for name, member in schema.get("properties", {}).items():
        if member.get("properties"):
            yield from described(member, (*path, name))
        elif name != "global":
            yield ".".join((*path, name))


def problems():
    """Returns the differences between values.yaml, its schema and the README."""
    schema = set(described(json.loads((CHART / "values.schema.json").read_text())))
    there = {name for name, _, _ in values()}
    for name in OPEN:
        schema.discard(name)
        there = {value for value in there if not value.startswith(f"{name}.")}
        schema = {value for value in schema if not value.startswith(f"{name}.")}
    found = [f"{name} is in one of values.yaml and values.schema.json" for name in sorted(schema ^ there)]
    if readme() != (CHART / "README.md").read_text():
        found.append("the table of values in README.md is not that of values.yaml: run token-server/deploy/render")
    return found


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
