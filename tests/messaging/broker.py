"""A broker that answers as far as the Azure Service Bus SDKs ask: broker.py PORT [TOPIC/SUBSCRIPTION ...]

Plain AMQP 1.0 on 127.0.0.1, as with the official emulator. Queues come into being when they are named. Locks do not
expire; a message goes back when its receiver leaves. Prints a line when it listens and ends with its standard input.
"""

import os
import sys
import threading
import time
import uuid
from collections import defaultdict, deque
from urllib.parse import urlsplit

from proton import Data, Delivery, Message, int32, symbol, timestamp
from proton.handlers import MessagingHandler
from proton.reactor import Container

MAX_DELIVERY_COUNT = 10
MAX_MESSAGE_BYTES = 1 << 20
LOCK_SECONDS = 60
DEAD_LETTERS = "/$deadletterqueue"
TOKENS = "$cbs"
DATA_SECTION = 0x75
MESSAGE_SECTIONS = range(0x70, 0x79)
# A header is a list of durable, priority, ttl, first-acquirer and delivery-count; what is missing at its end is null.
HEADER = bytes.fromhex("005370")
EMPTY_LIST, SHORT_LIST = 0x45, 0xC0
NULL, ZERO = b"\x40", b"\x43"
DELIVERY_COUNT = 4


class Broker(MessagingHandler):
    """Queues, the links that take from them, and the messages that are locked."""

    def __init__(self, port, subscriptions):
        super().__init__(auto_accept=False, prefetch=100)
        self.port = port
        self.subscriptions = defaultdict(list)
        for path in subscriptions:
            topic, name = path.split("/")
            self.subscriptions[topic].append(f"{topic}/subscriptions/{name}")
        self.queues = defaultdict(deque)
        self.receivers = []
        self.locked = {}
        self.sequence_number = 0

    def on_start(self, event):
        event.container.listen(f"127.0.0.1:{self.port}")
        print("listening", flush=True)

    def on_link_opening(self, event):
        link = event.link
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        link.snd_settle_mode = link.remote_snd_settle_mode
        link.rcv_settle_mode = link.remote_rcv_settle_mode
        link.max_message_size = MAX_MESSAGE_BYTES
        if link.is_sender:
            self.receivers.append(link)

    def on_link_closing(self, event):
        self.leave(event.link)

    def on_disconnected(self, event):
        for link in [link for link in self.receivers if link.connection == event.connection]:
            self.leave(link)

    def leave(self, link):
        """Gives back what a receiver had locked."""
        if link in self.receivers:
            self.receivers.remove(link)
        for tag, (holder, queue, message) in list(self.locked.items()):
            if holder == link:
                del self.locked[tag]
                self.give_back(queue, message)

    def on_delivery(self, event):
        delivery = event.delivery
        if delivery.link.is_sender:
            if delivery.updated and delivery.remote_state:
                self.settle(delivery)
        elif delivery.readable and not delivery.partial:
            self.take(delivery)

    def take(self, delivery):
        """Accepts what a sender sent."""
        encoded = bytes(delivery.link.recv(delivery.pending))
        delivery.link.advance()
        for message in unpack(encoded):
            if entity(delivery.link.remote_target) == TOKENS:
                self.accept_token(delivery.link.connection, message)
            else:
                self.enqueue(entity(delivery.link.remote_target), message)
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()

    def accept_token(self, connection, request):
        """Answers a client's request to put a token; every token is right."""
        answer = Message(
            correlation_id=request.id,
            properties={"status-code": int32(202), "status-description": "Accepted"},
        )
        for link in self.receivers:
            if link.connection == connection and entity(link.remote_source) == TOKENS:
                link.send(answer)

    def enqueue(self, path, message):
        """Adds a message to a queue, or a copy of it to each subscription of a topic."""
        for queue in self.subscriptions.get(path, [path]):
            copy = decode(message.encode())
            self.sequence_number += 1
            copy.delivery_count = 0
            copy.annotations = {
                **(copy.annotations or {}),
                symbol("x-opt-sequence-number"): self.sequence_number,
                symbol("x-opt-enqueued-time"): now(),
            }
            self.queues[queue].append(copy)
            self.deliver(queue)

    def on_sendable(self, event):
        self.deliver(entity(event.link.remote_source))

    def deliver(self, queue):
        """Sends waiting messages, locked, to the receivers that have asked for some."""
        for link in self.receivers:
            while entity(link.remote_source) == queue and link.credit and self.queues[queue]:
                message = self.queues[queue].popleft()
                message.annotations[symbol("x-opt-locked-until")] = now(LOCK_SECONDS)
                tag = uuid.uuid4().hex[:16]  # text for proton, 16 bytes for the SDK, which takes it for the lock token
                self.locked[tag] = (link, queue, message)
                link.delivery(tag)
                link.stream(with_count(message.encode()))
                link.advance()

    def settle(self, delivery):
        """Does what a receiver decided, and says the same back."""
        _, queue, message = self.locked.pop(delivery.tag, (None, None, None))
        if message is not None and delivery.remote_state == Delivery.REJECTED:
            condition = delivery.remote.condition
            details = condition.info if condition and condition.info else {}
            self.dead_letter(queue, message, details.get("DeadLetterReason"))
        elif message is not None and delivery.remote_state != Delivery.ACCEPTED:
            message.delivery_count += delivery.remote_state == Delivery.MODIFIED
            self.give_back(queue, message)
        delivery.update(delivery.remote_state)
        delivery.settle()

    def give_back(self, queue, message):
        """Makes a message the queue's first again, unless it was tried too often."""
        if message.delivery_count < MAX_DELIVERY_COUNT or queue.endswith(DEAD_LETTERS):
            self.queues[queue].appendleft(message)
            self.deliver(queue)
        else:
            self.dead_letter(queue, message, "MaxDeliveryCountExceeded")

    def dead_letter(self, queue, message, reason):
        """Moves a message to its queue's queue of dead letters."""
        message.properties = {**(message.properties or {}), "DeadLetterReason": reason}
        self.queues[queue + DEAD_LETTERS].append(message)
        self.deliver(queue + DEAD_LETTERS)


def entity(terminus):
    """A queue's path in lower case; clients name it with or without `amqps://host/`."""
    address = terminus.address or ""
    return (urlsplit(address).path if "://" in address else address).strip("/").lower()


def unpack(encoded):
    """The messages of a batch, or the message itself.

    A batch is a message of format 0x80013700, each of whose data sections holds one. proton does not tell a message's
    format, so what decides is whether the data looks like messages.
    """
    data = list(data_sections(encoded))
    is_batch = data and all(looks_like_a_message(value) for value in data)
    return [decode(part) for part in (data if is_batch else [encoded])]


def decode(encoded):
    """A message that owns its body; proton's would end with the buffer that it was read from."""
    message = Message()
    message.decode(encoded)
    if isinstance(message.body, memoryview):
        message.body = bytes(message.body)
    return message


def with_count(encoded):
    """An encoded message whose header has a delivery count, which proton leaves out where it is 0: a first delivery.

    Service Bus sends it then too; without it the SDK shows no count at all.
    """
    assert encoded.startswith(HEADER), "proton begins each message with its header"
    rest = encoded[len(HEADER) :]
    if rest[0] == EMPTY_LIST:
        fields, behind, count = b"", rest[1:], 0
    else:
        fields, behind, count = rest[3 : rest[1] + 2], rest[rest[1] + 2 :], rest[2]
    if count > DELIVERY_COUNT:
        return encoded
    fields += NULL * (DELIVERY_COUNT - count) + ZERO
    return HEADER + bytes([SHORT_LIST, len(fields) + 1, DELIVERY_COUNT + 1]) + fields + behind


def data_sections(encoded):
    """What a message's data sections hold."""
    while encoded:
        data = Data()
        encoded = encoded[data.decode(encoded) :]
        data.rewind()
        data.next()
        section = data.get_py_described()
        if section.descriptor == DATA_SECTION:
            yield bytes(section.value)


def looks_like_a_message(data):
    """Whether it begins with the descriptor of a section, in the short form that all senders use."""
    return data[:2] == b"\x00\x53" and data[2] in MESSAGE_SECTIONS


def now(seconds=0):
    """Milliseconds since 1970."""
    return timestamp(int((time.time() + seconds) * 1000))


def end_with_standard_input():
    """Nothing stays behind when the test is gone, however it ended."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    Container(Broker(int(sys.argv[1]), sys.argv[2:])).run()
