"""A real Envoy in front of a Python server that verifies nothing. Envoy has admitted every request."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "python"))

import inventory_pb2  # noqa: E402
import inventory_pb2_grpc  # noqa: E402


class Inventory(inventory_pb2_grpc.InventoryServiceServicer):
    """Accepts every request, and keeps the metadata of the last one."""

    metadata: list[tuple[str, str]] | None = None

    def heard(self, context):
        self.metadata = list(context.invocation_metadata())
        return dict(self.metadata)

    def GetItem(self, request, context):
        asked_by = self.heard(context).get("x-token-client-id", "")
        return inventory_pb2.GetItemResponse(item=inventory_pb2.Item(sku=request.sku), asked_by=asked_by)

    def ListItems(self, request, context):
        self.heard(context)
        yield inventory_pb2.ListItemsResponse(item=inventory_pb2.Item(name="spanner"))

    def DeleteItem(self, request, context):
        self.heard(context)
        return inventory_pb2.DeleteItemResponse()

    def GetOpeningHours(self, request, context):
        self.heard(context)
        return inventory_pb2.GetOpeningHoursResponse(hours="nine to five")


@pytest.fixture(scope="session")
def upstream():
    """Starts the server behind Envoy. Returns it with its port."""
    servicer = Inventory()
    server = grpc.server(ThreadPoolExecutor(4))
    inventory_pb2_grpc.add_InventoryServiceServicer_to_server(servicer, server)
    servicer.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer
    server.stop(None)


def cluster(name: str, address: str) -> dict:
    """Returns the cluster of a gRPC server in plaintext."""
    host, port = address.rsplit(":", 1)
    endpoint = {"address": {"socket_address": {"address": host, "port_value": int(port)}}}
    http2 = {"explicit_http_config": {"http2_protocol_options": {}}}
    options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": options, **http2}
        },
    }


@contextlib.contextmanager
def envoy(folder: Path, http_filters: list[dict], clusters: list[dict]):
    """Starts Envoy with these filters in front of the cluster `inventory`. Returns its address."""
    extensions = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{extensions}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "inventory", "timeout": "10s"}}
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inventory",
        "route_config": {"virtual_hosts": [{"name": "inventory", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*http_filters, router],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    local = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    config = {
        "admin": {"address": local},
        "static_resources": {
            "listeners": [{"name": "inventory", "address": local, "filter_chains": [chain]}],
            "clusters": clusters,
        },
    }
    file, admin = folder / "envoy.yaml", folder / "admin"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    command = [os.environ["ENVOY"], "-c", file, "--admin-address-path", admin, "--use-dynamic-base-id"]
    with open(folder / "envoy.log", "wb") as log:
        process = subprocess.Popen([*command, "--concurrency", "1", "-l", "warning"], stderr=log, stdout=log)
    try:
        yield address_of(process, admin, folder / "envoy.log")
    finally:
        process.terminate()
        process.wait(timeout=30)


def address_of(process, admin: Path, log: Path) -> str:
    """Returns the address of the listener, once Envoy is ready."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
            connection = http.client.HTTPConnection(admin.read_text().strip(), timeout=5)
            connection.request("GET", "/ready")
            if connection.getresponse().read().strip() == b"LIVE":
                connection.request("GET", "/listeners?format=json")
                status = json.loads(connection.getresponse().read())["listener_statuses"][0]
                return f"127.0.0.1:{status['local_address']['socket_address']['port_value']}"
        time.sleep(0.05)
    raise AssertionError(f"Envoy did not become ready:\n{log.read_text()}")
