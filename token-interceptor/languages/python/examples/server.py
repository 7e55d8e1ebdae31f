import os
from concurrent import futures
from pathlib import Path

import grpc
import inventory_pb2
import inventory_pb2_grpc

import m2m_token


class Inventory(inventory_pb2_grpc.InventoryServiceServicer):
    def GetItem(self, request, context):
        caller = m2m_token.current_caller()
        return inventory_pb2.GetItemResponse(
            item=inventory_pb2.Item(sku=request.sku, name=f"for {caller.client_id}")
        )


roots = Path(os.environ["TOKEN_CA_FILE"]).read_bytes()
issuer = m2m_token.discover(os.environ["TOKEN_ISSUER"], extra_roots=roots)
server = m2m_token.server(futures.ThreadPoolExecutor(8), issuers=[issuer])
inventory_pb2_grpc.add_InventoryServiceServicer_to_server(Inventory(), server)
key = tuple(Path(os.environ[name]).read_bytes() for name in ("TOKEN_TLS_KEY", "TOKEN_TLS_CERTIFICATE"))
port = server.add_secure_port(
    os.environ.get("ADDRESS", "localhost:50051"), grpc.ssl_server_credentials([key])
)
server.start()
print(f"ready on port {port}", flush=True)
server.wait_for_termination()
