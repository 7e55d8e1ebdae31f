"""Shared by the tests against a real issuer. `run` sets the environment."""

import os

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import inventory_pb2_grpc
from token_credentials import TokenCredentials

ISSUER = os.environ["TOKEN_ISSUER"]
CA_FILE = os.environ["TOKEN_CA_FILE"]
CLIENT_ID = os.environ["TOKEN_CLIENT_ID"]
CLIENT_SECRET = os.environ["TOKEN_CLIENT_SECRET"]
INVENTORY = os.environ["INVENTORY"]
AUDIENCE = "inventory"


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def tokens(secret: str = CLIENT_SECRET) -> TokenCredentials:
    address = ISSUER.removeprefix("https://")
    return TokenCredentials.connect(address, CLIENT_ID, secret, AUDIENCE, root_certificates=read(CA_FILE))


def inventory(target: str, credentials: TokenCredentials | None = None):
    channel_credentials = grpc.ssl_channel_credentials(read(CA_FILE))
    if credentials:
        channel_credentials = grpc.composite_channel_credentials(
            channel_credentials, grpc.metadata_call_credentials(credentials)
        )
    return inventory_pb2_grpc.InventoryServiceStub(grpc.secure_channel(target, channel_credentials))


def details(error: grpc.RpcError):
    """Returns the ErrorInfo and RetryInfo of a failed call."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        detail.Unpack(info) or detail.Unpack(retry)
    return info, retry


def challenge(error: grpc.RpcError) -> str:
    return dict(error.trailing_metadata()).get("www-authenticate", "")
