"""Checks the chart in every variant. Needs helm, and kubernetes-validate and check-jsonschema of the same Python.

Each file of ci/rendered must render, and what it renders must fit the schemas: those of Kubernetes, and for other
kinds the definitions in ci/crds. Each file of ci/rejected must not render, for the reason in its first line. The
configuration of each variant must satisfy `token-server serve --check`, whose path is the first argument.
"""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema
import kubernetes_validate
import yaml

import values as chart_values
from cluster import cluster, kind

CHART = pathlib.Path(__file__).resolve().parent.parent
KUBERNETES = "1.37"
# The public key of RFC 7517, appendix A.1.
KEY = {
    "kty": "EC", "crv": "P-256", "use": "sig", "kid": "1", "alg": "ES256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}


def helm(*arguments):
    return subprocess.run(["helm", *map(str, arguments)], capture_output=True, text=True)


def definitions():
    """Returns the schema of each kind in ci/crds, which then rejects fields that it does not name."""
    schemas = {}
    for file in sorted((CHART / "ci/crds").glob("*.yaml")):
        for crd in yaml.safe_load_all(file.read_text()):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = version["schema"]["openAPIV3Schema"]
                close(schema)
                schema["properties"].update({"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}})
                schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return schemas


def close(schema):
    if "properties" in schema:
        schema["additionalProperties"] = False
        for member in schema["properties"].values():
            close(member)
    if isinstance(schema.get("items"), dict):
        close(schema["items"])


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def validate(document, schemas):
    """Raises an error if the document does not fit its schema, or there is none."""
    schema = schemas.get((document["apiVersion"], document["kind"]))
    if schema is None:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    else:
        jsonschema.validate(document, schema)


def configuration(found):
    """Returns token-server.toml."""
    maps = [document["data"] for document in found if document["kind"] == "ConfigMap"]
    return next(data["token-server.toml"] for data in maps if "token-server.toml" in data)


def references(found):
    """Returns what the pod needs of its own release, or the configuration of the pod, and does not find."""
    there = {(document["kind"], document["metadata"]["name"]) for document in found}
    workload = next(document for document in found if document["kind"] in ("Deployment", "StatefulSet"))
    pod = workload["spec"]["template"]["spec"]
    wanted = {("ConfigMap", volume["configMap"]["name"]) for volume in pod["volumes"] if volume["name"] == "config"}
    wanted.add(("ServiceAccount", pod["serviceAccountName"]))
    if workload["kind"] == "StatefulSet":
        wanted.add(("Service", workload["spec"]["serviceName"]))
    mounts = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    paths = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    mounted = lambda path: any(path == at or path.startswith(f"{at}/") for at in paths)
    named = {path for path in re.findall(r"(/(?:etc|var/lib)/token-server/[^\"\n]+)", configuration(found))}
    unmounted = {("mount", path) for path in named if not mounted(path)}
    return wanted - there | {("volume", name) for name in mounts ^ volumes} | unmounted


def check_configuration(found, program):
    """Runs `serve --check` as in the pod, with the paths of a folder here."""
    maps = [document["data"] for document in found if document["kind"] == "ConfigMap"]
    toml = configuration(found)
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        for name in ("tls", "keys", "other-keys", "store", "clients", "client-secrets", "cluster", "state"):
            (home / name).mkdir()
        host = re.search(r'url = "https://([^/:"]+)', toml)[1]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", "/CN=test", "-addext", f"subjectAltName=DNS:{host}", "-keyout", home / "tls/tls.key",
             "-out", home / "tls/tls.crt"],
            check=True, capture_output=True)
        for name in ("sealing.key", "pepper.key"):
            (home / "keys" / name).write_text("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
        (home / "other-keys/sealing.key").write_text("ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=")
        (home / "cluster/jwks.json").write_text(json.dumps({"keys": [KEY]}))
        (home / "store/url").write_text("postgres://token-server@database.example/tokens\n")
        declared = next((data["clients.toml"] for data in maps if "clients.toml" in data), "")
        moved = lambda text: text.replace("/etc/token-server", folder).replace("/var/lib/token-server", f"{folder}/state")
        (home / "clients/clients.toml").write_text(moved(declared))
        file = home / "token-server.toml"
        file.write_text(moved(toml))
        if declared:
            command = [program, "client", "new-secret", "--config", file]
            secret = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]
            (home / "client-secrets/orders").write_text(secret)
        for path in home.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        ran = subprocess.run([program, "serve", "--check", "--config", file], capture_output=True, text=True)
        return ran.stdout + ran.stderr if ran.returncode else None


def keys(secrets, *options):
    """Renders a release that creates its keys on a cluster with these Secrets. Returns the Secret, or the error."""
    with cluster(secrets) as kubeconfig:
        ran = helm("template", "release", CHART, "--namespace", "tokens", "--values", CHART / "ci/rendered/sqlite.yaml",
                   "--set", "keys.create=true", "--dry-run=server", "--disable-openapi-validation", "--kubeconfig", kubeconfig, *options)
    found = documents(ran.stdout)
    created = [document for document in found if document["kind"] == "Secret"]
    return ran.stderr if ran.returncode else (created[0] if created else None)


def check_keys():
    """Yields what is wrong with keys that the chart creates: once, at random, and never again."""
    first, second = keys({}), keys({})
    for secret in (first, second):
        if not isinstance(secret, dict):
            yield f"keys.create: the first release creates no keys: {secret}"
            return
        if secret.get("immutable") is not True or secret["metadata"]["annotations"]["helm.sh/resource-policy"] != "keep":
            yield f"keys.create: a later release could change the keys: {secret['metadata']}"
    of_both = [secret["stringData"][name] for secret in (first, second) for name in ("sealing.key", "pepper.key")]
    if len(set(of_both)) != 4 or any(len(base64.b64decode(key)) != 32 for key in of_both):
        yield "keys.create: the keys are not 32 random bytes each"
    stored = {"token-server-keys": kind("Secret", metadata={"name": "token-server-keys"}, data={})}
    for options in ((), ("--is-upgrade",)):
        if keys(stored, *options) is not None:
            yield f"keys.create: keys that exist are rendered again {options}"
    lost = keys({}, "--is-upgrade")
    if not isinstance(lost, str) or "Restore it from your backup" not in lost:
        yield f"keys.create: an upgrade without the keys must fail: {lost}"


def main(program):
    schemas, wrong, seen = definitions(), chart_values.problems(), set()
    rendered = sorted((CHART / "ci/rendered").glob("*.yaml"))
    rejected = sorted((CHART / "ci/rejected").glob("*.yaml"))
    for file in rendered:
        name = file.relative_to(CHART)
        lint = helm("lint", "--strict", CHART, "--values", file)
        if lint.returncode:
            wrong.append(f"{name}: {lint.stdout}{lint.stderr}")
        ran = helm("template", "release", CHART, "--namespace", "tokens", "--values", file)
        if ran.returncode:
            wrong.append(f"{name}: {ran.stderr}")
            continue
        found = documents(ran.stdout)
        for document in found:
            seen.add(document["kind"])
            try:
                validate(document, schemas)
            except Exception as error:
                wrong.append(f"{name}: {document['kind']} {document['metadata']['name']}: {error}")
        missing = references(found)
        if missing:
            wrong.append(f"{name}: these belong together and do not: {missing}")
        problem = check_configuration(found, program)
        if problem:
            wrong.append(f"{name}: {problem}")
    for file in rejected:
        reason = file.read_text().splitlines()[0].removeprefix("# ")
        ran = helm("template", "release", CHART, "--values", file)
        if not ran.returncode or reason not in ran.stderr:
            wrong.append(f"{file.relative_to(CHART)}: must be rejected for {reason!r}: {ran.stderr or 'it renders'}")
    wrong.extend(check_keys())
    unseen = {kind for _, kind in schemas} - seen
    if unseen:
        wrong.append(f"no file in ci/rendered renders {unseen}")
    print(f"chart: {len(rendered)} variants rendered, {len(rejected)} rejected, kinds: {', '.join(sorted(seen))}")
    sys.exit("\n".join(wrong) or 0)


os.environ.pop("KUBECONFIG", None)
main(sys.argv[1])
