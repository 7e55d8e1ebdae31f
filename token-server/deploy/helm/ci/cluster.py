"""A stand-in for the API server, for `lookup` in templates: it has one namespace of Secrets and nothing else.

It is enough to check that keys are created once.
"""

import contextlib
import http.server
import json
import tempfile
import threading

SECRETS = "/api/v1/namespaces/tokens/secrets"
# The kinds of ci/rendered/sqlite.yaml, which helm looks up.
KINDS = {
    "v1": ["Secret", "ConfigMap", "Service", "ServiceAccount"],
    "apps/v1": ["StatefulSet"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
}


def kind(name, **members):
    return {"kind": name, "apiVersion": "v1", **members}


def group(version):
    preferred = {"groupVersion": version, "version": "v1"}
    return {"name": version.split("/")[0], "versions": [preferred], "preferredVersion": preferred}


def resources(version):
    def plural(name):
        return name.lower().removesuffix("y") + ("ies" if name.endswith("y") else "s")

    found = [{"name": plural(name), "namespaced": True, "kind": name, "verbs": ["get"]} for name in KINDS[version]]
    return kind("APIResourceList", groupVersion=version, resources=found)


@contextlib.contextmanager
def cluster(secrets):
    """Serves the Secrets, by name. Yields the path of a kubeconfig."""
    answers = {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        "/api": kind("APIVersions", versions=["v1"]),
        "/apis": kind("APIGroupList", groups=[group(version) for version in KINDS if "/" in version]),
        SECRETS: kind("SecretList", metadata={}, items=list(secrets.values())),
    }
    answers |= {f"/{'apis' if '/' in version else 'api'}/{version}": resources(version) for version in KINDS}
    answers |= {f"{SECRETS}/{name}": secret for name, secret in secrets.items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path.split("?")[0])
            status = kind("Status", status="Failure", reason="NotFound", code=404)
            self.send_response(200 if answer else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer or status).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = {
        "apiVersion": "v1", "kind": "Config", "current-context": "a", "users": [],
        "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": ""}}],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(context, file)
        file.flush()
        try:
            yield file.name
        finally:
            server.shutdown()
            server.server_close()
