"""The tokens under asyncio."""

import asyncio

import grpc

import inventory_pb2
import inventory_pb2_grpc
from m2m_token import aio
from world import CA_FILE, CLIENT_ID, INVENTORY, read, tokens


def test_many_calls_under_asyncio_share_their_tokens():
    async def calls():
        credentials = grpc.ssl_channel_credentials(read(CA_FILE))
        async with aio.secure_channel(tokens(), INVENTORY, credentials) as channel:
            inventory = inventory_pb2_grpc.InventoryServiceStub(channel)
            request = inventory_pb2.GetItemRequest(sku="sp-1")
            return await asyncio.gather(*(inventory.GetItem(request, timeout=10) for _ in range(100)))

    assert {answer.asked_by for answer in asyncio.run(calls())} == {CLIENT_ID}


def test_call_credentials_work_under_asyncio_too():
    async def call():
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(read(CA_FILE)), tokens().call_credentials()
        )
        async with grpc.aio.secure_channel(INVENTORY, credentials) as channel:
            inventory = inventory_pb2_grpc.InventoryServiceStub(channel)
            return await inventory.GetItem(inventory_pb2.GetItemRequest(sku="sp-1"), timeout=10)

    assert asyncio.run(call()).asked_by == CLIENT_ID
