"""The first call of a Python client, as the documentation shows it."""

import os
from pathlib import Path

import grpc

import inventory_pb2
import inventory_pb2_grpc
from token_credentials import TokenCredentials


def main() -> None:
    ca = Path(os.environ["TOKEN_CA_FILE"]).read_bytes()  # None where gRPC's own roots will do
    tokens = TokenCredentials.connect(
        os.environ["TOKEN_ISSUER"].removeprefix("https://"),  # host:port
        os.environ["TOKEN_CLIENT_ID"],
        os.environ["TOKEN_CLIENT_SECRET"],
        "inventory",
        root_certificates=ca,
    )
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(ca), grpc.metadata_call_credentials(tokens)
    )
    with grpc.secure_channel(os.environ["INVENTORY"], credentials) as channel:
        inventory = inventory_pb2_grpc.InventoryServiceStub(channel)
        answer = inventory.GetItem(inventory_pb2.GetItemRequest(sku="sp-1"))
        print(answer.item.name, "asked by", answer.asked_by)


if __name__ == "__main__":
    main()
