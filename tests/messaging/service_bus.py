"""The official Service Bus SDK for the tests: service_bus.py PORT

Queues are named as paths: `orders`, `orders/$deadletterqueue`, `topic/subscriptions/name`.
"""

import sys
from contextlib import ExitStack

from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusSubQueue

from json_lines import serve, to_bytes, to_text

DEAD_LETTERS = "/$deadletterqueue"


class Operations:
    """A client with its senders and receivers, and the messages it has locked."""

    def __init__(self, port):
        self.client = ServiceBusClient.from_connection_string(
            f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=test;SharedAccessKey=test;UseDevelopmentEmulator=true;",
            retry_total=0,
        )
        self.links = ExitStack()
        self.senders = {}
        self.receivers = {}
        self.locked = {}

    def send(self, to, messages, batch=False):
        """Sends messages to a queue or topic, one by one or as one batch."""
        messages = [
            ServiceBusMessage(to_bytes(message.pop("body")), **message) for message in messages
        ]
        sender = self.senders.get(to) or self.client.get_queue_sender(to)
        self.senders[to] = sender
        for part in [messages] if batch else messages:
            sender.send_messages(part)

    def receive(self, queue, limit, wait_s):
        """Locks up to `limit` messages, once one is there within `wait_s` seconds."""
        receiver = self.receivers.get(queue) or self.open(queue)
        received = receiver.receive_messages(max_message_count=limit, max_wait_time=wait_s)
        self.locked.update((str(message.lock_token), (receiver, message)) for message in received)
        return [describe(message) for message in received]

    def open(self, queue):
        """A receiver that is kept."""
        path = queue.removesuffix(DEAD_LETTERS)
        options = {} if path == queue else {"sub_queue": ServiceBusSubQueue.DEAD_LETTER}
        if "/" in path:
            topic, _, subscription = path.split("/")
            receiver = self.client.get_subscription_receiver(topic, subscription, **options)
        else:
            receiver = self.client.get_queue_receiver(path, **options)
        self.receivers[queue] = self.links.enter_context(receiver)  # opens the link now, without a wait's limit
        return receiver

    def complete(self, lock):
        """Removes a message for good."""
        receiver, message = self.locked.pop(lock)
        receiver.complete_message(message)

    def abandon(self, lock):
        """Gives a message back."""
        receiver, message = self.locked.pop(lock)
        receiver.abandon_message(message)

    def dead_letter(self, lock, reason):
        """Puts a message aside."""
        receiver, message = self.locked.pop(lock)
        receiver.dead_letter_message(message, reason=reason)


def describe(message):
    """A received message as JSON."""
    return {
        "lock": str(message.lock_token),
        "body": to_text(b"".join(message.body)),
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "content_type": message.content_type,
        "application_properties": {
            text(name): text(value) for name, value in (message.application_properties or {}).items()
        },
        # how often it was delivered before, to which the Functions host's SDK adds one
        "delivery_count": message.delivery_count,
        "sequence_number": message.sequence_number,
    }


def text(value):
    """AMQP's texts come as bytes."""
    return value.decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    operations = Operations(sys.argv[1])
    names = ("send", "receive", "complete", "abandon", "dead_letter")
    serve({name: getattr(operations, name) for name in names})
