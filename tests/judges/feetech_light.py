#!/usr/bin/env python3
"""The vendor's SDK and rustypot against our Feetech codec and emulator.

    python tests/judges/feetech_light.py [--commands 100000] [--rustypot 100000]

Needs feetech-servo-sdk and rustypot. Both drive the emulated SO-101 of
`firmware-bridge/examples/emulate_arm.rs` over its pseudo-terminal; then random commands are
encoded by both and by `firmware-bridge/examples/packets.rs`, and every byte is compared. EXAMPLES
names a folder that holds the examples built. Exits 1 at the first difference.
"""

import argparse
import multiprocessing
import os
import pty
import random
import subprocess
import sys
import traceback
import tty

import rustypot
import scservo_sdk as scs
from bridge import ROOT, emulated, example, passed

BAUD = 1_000_000
IDS = [1, 2, 3, 4, 5, 6]
GOAL, LOCK, TORQUE, POSITION = 42, 55, 40, 56


def patient(port: scs.PortHandler) -> None:
    """Replaces the SDK's timeout, which a busy machine exceeds."""

    def set_timeout(length: int) -> None:
        port.packet_start_time = port.getCurrentTime()
        port.packet_timeout = 1000 + length

    port.setPacketTimeout = set_timeout


def word(data: list[int] | bytes) -> int:
    return data[0] | data[1] << 8


def vendor_drives(path: str) -> None:
    port, handler = scs.PortHandler(path), scs.PacketHandler(0)
    assert port.openPort() and port.setBaudRate(BAUD)
    patient(port)
    for id_ in IDS:
        assert handler.ping(port, id_) == (777, scs.COMM_SUCCESS, 0), f"ping of {id_}"
    assert handler.read2ByteTxRx(port, 1, POSITION) == (2048, scs.COMM_SUCCESS, 0)
    assert handler.read1ByteTxRx(port, 1, 7) == (250, scs.COMM_SUCCESS, 0)
    data, result, error = handler.readTxRx(port, 3, POSITION, 15)
    assert (len(data), result, error) == (15, scs.COMM_SUCCESS, 0) and data[6:8] == [74, 30], data
    assert handler.write2ByteTxRx(port, 2, GOAL, 1234) == (scs.COMM_SUCCESS, 0)
    assert handler.read2ByteTxRx(port, 2, GOAL)[0] == 1234
    assert handler.regWriteTxRx(port, 2, GOAL, 2, [0, 8]) == (scs.COMM_SUCCESS, 0)
    assert handler.read2ByteTxRx(port, 2, GOAL)[0] == 1234, "put off"
    assert handler.action(port, scs.BROADCAST_ID) == scs.COMM_SUCCESS
    assert handler.read2ByteTxRx(port, 2, GOAL)[0] == 2048

    goals = {id_: 2000 + 10 * id_ for id_ in IDS}
    writer = scs.GroupSyncWrite(port, handler, GOAL, 2)
    for id_, goal in goals.items():
        assert writer.addParam(id_, [goal & 255, goal >> 8])
    assert writer.txPacket() == scs.COMM_SUCCESS
    reader = scs.GroupSyncRead(port, handler, GOAL, 2)
    for id_ in IDS:
        assert reader.addParam(id_)
    assert reader.txRxPacket() == scs.COMM_SUCCESS
    found = {id_: reader.getData(id_, GOAL, 2) for id_ in IDS}
    assert found == goals, found
    for id_ in IDS:
        assert handler.write1ByteTxRx(port, id_, TORQUE, 1) == (scs.COMM_SUCCESS, 0)
    for _ in range(200):
        reader = scs.GroupSyncRead(port, handler, POSITION, 2)
        for id_ in IDS:
            reader.addParam(id_)
        assert reader.txRxPacket() == scs.COMM_SUCCESS
        found = {id_: reader.getData(id_, POSITION, 2) for id_ in IDS}
        if all(abs(found[id_] - goals[id_]) <= 1 for id_ in IDS):
            break
    assert all(abs(found[id_] - goals[id_]) <= 1 for id_ in IDS), f"{found} is not at {goals}"
    _, result, _ = handler.ping(port, 9)
    assert result == scs.COMM_RX_TIMEOUT, "nobody has id 9"
    port.closePort()
    passed("the vendor's SDK pings, reads, writes, puts off and syncs, and the arm arrives")


def rustypot_drives(path: str) -> None:
    arm = rustypot.Sts3215PyController(path, BAUD, 1.0)
    assert all(arm.ping(id_) for id_ in IDS)
    arm.write_raw_data(1, TORQUE, [0])
    assert list(arm.read_raw_data(1, 3, 2)) == [9, 3]
    goals = [1900 + 20 * id_ for id_ in IDS]
    arm.sync_write_raw_data(IDS, GOAL, [[goal & 255, goal >> 8] for goal in goals])
    found = [word(bytes(data)) for data in arm.sync_read_raw_data(IDS, GOAL, 2)]
    assert found == goals, found
    answers = arm.sync_read_raw_data_with_error(IDS, POSITION, 15)
    assert all(len(data) == 15 and error == 0 for data, error in answers), answers
    raw = [arm.read_register(id_, "goal_position") for id_ in IDS]
    assert raw == goals, raw
    arm.write_raw_data(6, LOCK, [0])
    arm.write_raw_data(6, 21, [16])
    arm.write_raw_data(6, LOCK, [1])
    assert list(arm.read_raw_data(6, 21, 1)) == [16]
    arm.close()
    passed("rustypot pings, reads, writes and syncs")


class FakePort:
    """What the SDK writes to, and nothing answers."""

    is_using = False
    sent = b""

    def clearPort(self) -> None:  # noqa: N802
        pass

    def writePort(self, packet: list[int]) -> int:  # noqa: N802
        self.sent = bytes(packet)
        return len(packet)

    def setPacketTimeout(self, length: int) -> None:  # noqa: N802
        pass


Command = tuple[str, list]


def commands(count: int, rng: random.Random, kinds: list[str]) -> list[Command]:
    """Random commands, as names and arguments."""
    made = []
    for _ in range(count):
        kind, length = rng.choice(kinds), rng.randrange(1, 16)
        data = [rng.randrange(256) for _ in range(length)]
        id_, address = rng.randrange(253), rng.randrange(256)
        ids = rng.sample(range(253), rng.randrange(1, 13))
        arguments = {
            "ping": [id_],
            "action": [id_],
            "read": [id_, address, rng.randrange(1, 200)],
            "write": [id_, address, data],
            "reg_write": [id_, address, data],
            "sync_read": [address, length, ids],
            "sync_write": [address, length, {id_: rng.sample(range(256), length) for id_ in ids}],
        }[kind]
        made.append((kind, arguments))
    return made


def ours(made: list[Command]) -> list[bytes]:
    """What our encoder makes of them."""
    lines = []
    for kind, arguments in made:
        words = [kind]
        for argument in arguments:
            if isinstance(argument, dict):
                words += [f"{id_} {bytes(data).hex()}" for id_, data in argument.items()]
            elif isinstance(argument, list) and kind == "sync_read":
                words += map(str, argument)
            else:
                words.append(bytes(argument).hex() if isinstance(argument, list) else str(argument))
        lines.append(" ".join(words))
    text = "".join(f"{line}\n" for line in lines)
    command = [*example("packets"), "feetech"]
    made = subprocess.run(command, cwd=ROOT, input=text, text=True, capture_output=True, check=True)
    return [bytes.fromhex(line) for line in made.stdout.splitlines()]


def vendor_encodes(made: list[Command]) -> list[bytes]:
    port, handler, packets = FakePort(), scs.PacketHandler(0), []
    for kind, arguments in made:
        port.is_using = False
        match kind, arguments:
            case "ping", [id_]:
                handler.txPacket(port, [0, 0, id_, 2, scs.INST_PING, 0])
            case "action", [id_]:
                handler.txPacket(port, [0, 0, id_, 2, scs.INST_ACTION, 0])
            case "read", [id_, address, length]:
                handler.readTx(port, id_, address, length)
            case "write", [id_, address, data]:
                handler.writeTxOnly(port, id_, address, len(data), data)
            case "reg_write", [id_, address, data]:
                handler.regWriteTxOnly(port, id_, address, len(data), data)
            case "sync_read", [address, length, ids]:
                handler.syncReadTx(port, address, length, ids, len(ids))
            case "sync_write", [address, length, rows]:
                row = [byte for id_, data in rows.items() for byte in [id_, *data]]
                handler.syncWriteTxOnly(port, address, length, row, len(row))
        packets.append(port.sent)
    return packets


def answer(master: int, results: multiprocessing.SimpleQueue, count: int) -> None:
    """Answers so many packets as servos would, and hands over what was heard."""
    heard, packets = b"", []
    while len(packets) < count:
        heard += os.read(master, 4096)
        while len(heard) >= 4 and len(heard) >= heard[3] + 4:
            packet, heard = heard[: heard[3] + 4], heard[heard[3] + 4 :]
            packets.append(packet)
            id_, kind, data = packet[2], packet[4], packet[5:-1]
            answers = {1: [(id_, 0)], 3: [(id_, 0)], 0x82: [], 0x83: []}.get(kind)
            if kind == 2:
                answers = [(id_, data[1])]
            elif kind == 0x82:
                answers = [(id_, data[1]) for id_ in data[2:]]
            reply = b""
            for id_, length in answers:
                body = bytes([id_, length + 2, 0]) + bytes(length)
                reply += b"\xff\xff" + body + bytes([~sum(body) & 255])
            while reply:
                reply = reply[os.write(master, reply) :]
    results.put(packets)


def rustypot_encodes(made: list[Command]) -> list[bytes]:
    master, slave = pty.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    results = multiprocessing.SimpleQueue()
    servos = multiprocessing.Process(target=answer, args=(master, results, len(made)), daemon=True)
    servos.start()
    arm = rustypot.Sts3215PyController(os.ttyname(slave), BAUD, 5.0)
    for kind, arguments in made:
        match kind, arguments:
            case "ping", [id_]:
                arm.ping(id_)
            case "read", _:
                arm.read_raw_data(*arguments)
            case "write", _:
                arm.write_raw_data(*arguments)
            case "sync_read", [address, length, ids]:
                arm.sync_read_raw_data(ids, address, length)
            case "sync_write", [address, _, rows]:
                arm.sync_write_raw_data(list(rows), address, list(rows.values()))
    packets = results.get()
    servos.join(30)
    return packets


def compare(name: str, made: list[Command], theirs: list[bytes]) -> None:
    mine = ours(made)
    assert len(mine) == len(theirs) == len(made), (len(mine), len(theirs), len(made))
    for command, our, their in zip(made, mine, theirs, strict=True):
        assert our == their, f"{command}: ours {our.hex()}, {name}'s {their.hex()}"
    total = sum(map(len, mine))
    passed(f"{len(made)} random commands ({total} bytes) are the same as {name}'s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", type=int, default=100_000)
    parser.add_argument("--rustypot", type=int, default=100_000)
    args = parser.parse_args()
    with emulated() as path:
        vendor_drives(path)
        rustypot_drives(path)
    kinds = ["ping", "read", "write", "reg_write", "action", "sync_read", "sync_write"]
    made = commands(args.commands, random.Random(1), kinds)
    compare("the vendor's SDK", made, vendor_encodes(made))
    kinds = ["ping", "read", "write", "sync_read", "sync_write"]
    made = commands(args.rustypot, random.Random(2), kinds)
    compare("rustypot", made, rustypot_encodes(made))
    print(f"feetech: 2 clients drive the emulator, {args.commands + args.rustypot} packets agree")


if __name__ == "__main__":
    try:
        main()
    except AssertionError:
        traceback.print_exc()
        sys.exit("the vendor's SDK or rustypot and ours disagree")
