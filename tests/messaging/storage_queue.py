"""The official Queue Storage SDK for the tests, with Azurite's well-known account: storage_queue.py PORT"""

import sys

from azure.storage.queue import (
    BinaryBase64EncodePolicy,
    QueueServiceClient,
    TextBase64EncodePolicy,
)

from blob_storage import ACCOUNT, KEY
from json_lines import serve, to_bytes

# What a sender chooses; the first is what the SDK does without being told.
POLICIES = {"plain": None, "text": TextBase64EncodePolicy, "bytes": BinaryBase64EncodePolicy}


class Operations:
    """A client of one account."""

    def __init__(self, port):
        self.service = QueueServiceClient.from_connection_string(
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"QueueEndpoint=http://127.0.0.1:{port}/{ACCOUNT};",
            retry_total=0,
        )

    def queue(self, name, policy="plain"):
        chosen = POLICIES[policy]
        options = {"message_encode_policy": chosen()} if chosen else {}
        return self.service.get_queue_client(name, **options)

    def create(self, queue):
        """Makes a queue."""
        self.service.create_queue(queue)

    def send(self, queue, body, policy):
        """Sends bytes, or text where the policy is one for text."""
        body = to_bytes(body)
        self.queue(queue, policy).send_message(body if policy == "bytes" else body.decode())

    def receive(self, queue):
        """The first visible message, undecoded, or null."""
        message = next(iter(self.queue(queue).receive_messages(max_messages=1, visibility_timeout=60)), None)
        return message and {
            "id": message.id,
            "pop_receipt": message.pop_receipt,
            "dequeue_count": message.dequeue_count,
            "text": message.content,
        }

    def delete(self, queue, id, pop_receipt):
        """Deletes a message that was read."""
        self.queue(queue).delete_message(id, pop_receipt)


if __name__ == "__main__":
    operations = Operations(sys.argv[1])
    serve({name: getattr(operations, name) for name in ("create", "send", "receive", "delete")})
