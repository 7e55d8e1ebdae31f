import os
from pathlib import Path

import grpc
import inventory_pb2
import inventory_pb2_grpc

import m2m_token

roots = Path(os.environ["TOKEN_CA_FILE"]).read_bytes()
issuer = m2m_token.GrpcIssuer(os.environ["TOKEN_ISSUER"], extra_roots=roots)
source = m2m_token.ClientCredentials(os.environ["TOKEN_CLIENT_ID"], os.environ["TOKEN_CLIENT_SECRET"], issuer)
tokens = m2m_token.ClientTokens(source)
target = os.environ.get("INVENTORY", "localhost:50051")
with tokens.secure_channel(target, grpc.ssl_channel_credentials(roots)) as channel:
    inventory = inventory_pb2_grpc.InventoryServiceStub(channel)
    print(inventory.GetItem(inventory_pb2.GetItemRequest(sku="bolt-m8"), timeout=10).item.name)
