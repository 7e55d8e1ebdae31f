"""The Python program of the interop matrix: `matrix.py server`, or `matrix.py client HOST:PORT`.

`tests/interop/matrix/run` documents the commands.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import inventory_pb2
import inventory_pb2_grpc
import m2m_token

ISSUER = os.environ["TOKEN_ISSUER"]
ROOTS = Path(os.environ["TOKEN_CA_FILE"]).read_bytes()


def item() -> inventory_pb2.Item:
    """An item that is named by the token of the call."""
    return inventory_pb2.Item(name=m2m_token.current_caller().bearer)


class Inventory(inventory_pb2_grpc.InventoryServiceServicer):
    def GetItem(self, request, context):
        return inventory_pb2.GetItemResponse(item=item(), asked_by=m2m_token.current_caller().client_id)

    def ListItems(self, request, context):
        message = inventory_pb2.ListItemsResponse(item=item())
        while context.is_active():
            yield message
            time.sleep(0.1)

    def DeleteItem(self, request, context):
        return inventory_pb2.DeleteItemResponse()

    def GetOpeningHours(self, request, context):
        return inventory_pb2.GetOpeningHoursResponse(hours="around the clock")


def serve() -> None:
    server = m2m_token.server(ThreadPoolExecutor(8), issuers=[m2m_token.watch(ISSUER, extra_roots=ROOTS)])
    inventory_pb2_grpc.add_InventoryServiceServicer_to_server(Inventory(), server)
    key, certificate = (Path(os.environ[name]).read_bytes() for name in ("TOKEN_TLS_KEY", "TOKEN_TLS_CERTIFICATE"))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    server.start()
    print("port", port, flush=True)
    sys.stdin.read()
    server.stop(None)


class Calls:
    """The commands."""

    def __init__(self, address: str):
        credentials = grpc.ssl_channel_credentials(ROOTS)
        issuer = m2m_token.GrpcIssuer(ISSUER, extra_roots=ROOTS)
        source = m2m_token.ClientCredentials(
            os.environ["TOKEN_CLIENT_ID"], os.environ["TOKEN_CLIENT_SECRET"], issuer
        )
        self._tokens = m2m_token.ClientTokens(source)
        self._bare = inventory_pb2_grpc.InventoryServiceStub(grpc.secure_channel(address, credentials))
        self._ours = inventory_pb2_grpc.InventoryServiceStub(self._tokens.secure_channel(address, credentials))

    def bare(self) -> str:
        return self._bare.GetItem(inventory_pb2.GetItemRequest()).asked_by

    def hours(self) -> str:
        return self._ours.GetOpeningHours(inventory_pb2.GetOpeningHoursRequest()).hours

    def get(self) -> str:
        answer = self._ours.GetItem(inventory_pb2.GetItemRequest())
        return f"{answer.asked_by} {answer.item.name}"

    def delete(self) -> str:
        self._ours.DeleteItem(inventory_pb2.DeleteItemRequest())
        return "deleted"

    def open(self) -> str:
        self._stream = self._ours.ListItems(inventory_pb2.ListItemsRequest())
        return next(self._stream).item.name

    def end(self) -> str:
        for _ in self._stream:
            pass
        return "the stream ended"


def reason(error: grpc.RpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return info.reason
    return "none"


def follow(address: str) -> None:
    calls = Calls(address)
    for line in sys.stdin:
        try:
            print("ok", getattr(calls, line.strip())(), flush=True)
        except grpc.RpcError as error:
            print("error", error.code().value[0], reason(error), flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else follow(sys.argv[2])
