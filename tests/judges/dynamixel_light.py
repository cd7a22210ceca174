#!/usr/bin/env python3
"""Has dynamixel-sdk and rustypot judge our Dynamixel codec and the emulated bus of a Koch arm.

    python tests/judges/dynamixel_light.py [--commands 200000] [--rustypot 100000]

Needs dynamixel-sdk and rustypot. Random commands are encoded by us and by both; the bytes must be
equal. Then both drive `firmware-bridge/examples/emulate_koch.rs` over its pseudo-terminal. The
SDK throws away what its own `addStuffing` returns when a packet grows, and so sends a header within
data as it is: there its `addStuffing` and `updateCRC` are asked, not its port.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import tty
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import dynamixel_sdk as dxl
import rustypot

ROOT = Path(__file__).resolve().parents[2]
HEADER = b"\xff\xff\xfd\x00"
MODELS = {1: 1060, 2: 1060, 3: 1200, 4: 1200, 5: 1200, 6: 1200}
Command = tuple[str, list[Any]]


@contextlib.contextmanager
def example(name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """An example of ours, running; EXAMPLES names a folder that holds it built."""
    command = ["cargo", "run", "--quiet", "--locked", "-p", "firmware-bridge", "--example", name, "--"]
    command = [str(Path(os.environ["EXAMPLES"]) / name)] if "EXAMPLES" in os.environ else command
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, *words], cwd=ROOT, text=True, stdin=pipe, stdout=pipe) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0, f"{name} ends without an error"


def agree(found: object, expected: object, what: str) -> None:
    assert found == expected, f"{what}: expected {expected}, found {found}"


def passed(what: str) -> None:
    print(f"ok  {what}", flush=True)


# Encoding.


def random_command(rng: random.Random) -> Command:
    def data(length: int) -> list[int]:
        likely = [0xFF, 0xFF, 0xFD, 0x00]
        return [rng.choice(likely) if rng.random() < 0.5 else rng.randrange(256) for _ in range(length)]

    kinds = ["ping", "action", "reboot", "read", "write", "reg_write", "sync_read", "fast_sync_read",
             "sync_write", "bulk_read", "bulk_write"]
    kind, servo, address = rng.choice(kinds), rng.randrange(253), rng.randrange(147)
    ids = rng.sample(range(253), rng.randrange(1, 9))
    length = rng.randrange(1, 15)
    if kind in {"ping", "action", "reboot"}:
        return kind, [servo]
    if kind == "read":
        return kind, [servo, address, length]
    if kind in {"write", "reg_write"}:
        return kind, [servo, address, data(length)]
    if kind in {"sync_read", "fast_sync_read"}:
        return kind, [address, length, ids]
    if kind == "sync_write":
        return kind, [address, length, [(one, data(length)) for one in ids]]
    if kind == "bulk_read":
        return kind, [(one, rng.randrange(147), rng.randrange(1, 15)) for one in ids]
    return kind, [(one, rng.randrange(147), data(rng.randrange(1, 15))) for one in ids]


def line_of(command: Command) -> str:
    """The command as the example reads it."""
    kind, values = command
    words: list[str] = [kind]
    for value in values:
        if isinstance(value, int):
            words.append(str(value))
        elif isinstance(value, tuple):
            words += [bytes(part).hex() if isinstance(part, list) else str(part) for part in value]
        elif value and isinstance(value[0], tuple):
            words.append(b"".join(bytes([one, *data]) for one, data in value).hex())
        else:
            words.append(bytes(value).hex())
    return " ".join(words)


class Sink:
    """A port that keeps what the SDK sends."""

    is_using = False
    sent = b""

    def clearPort(self) -> None:
        pass

    def setPacketTimeout(self, *_: object) -> None:
        pass

    def writePort(self, packet: list[int]) -> int:
        self.sent = bytes(packet)
        return len(packet)


def by_sdk(handler: dxl.Protocol2PacketHandler, command: Command) -> tuple[bytes, bool]:
    """The bytes, and whether they had to be stuffed."""
    kind, values = command
    port = Sink()
    if kind in {"ping", "action", "reboot"}:
        instruction = {"ping": dxl.INST_PING, "action": dxl.INST_ACTION, "reboot": dxl.INST_REBOOT}[kind]
        handler.txPacket(port, [0, 0, 0, 0, values[0], 3, 0, instruction, 0, 0])
    elif kind == "read":
        handler.readTx(port, *values)
    elif kind == "write":
        handler.writeTxOnly(port, values[0], values[1], len(values[2]), values[2])
    elif kind == "reg_write":
        handler.regWriteTxOnly(port, values[0], values[1], len(values[2]), values[2])
    elif kind in {"sync_read", "fast_sync_read"}:
        address, length, ids = values
        handler.syncReadTx(port, address, length, ids, len(ids), kind == "fast_sync_read")
    elif kind == "sync_write":
        address, length, each = values
        param = [byte for one, data in each for byte in (one, *data)]
        handler.syncWriteTxOnly(port, address, length, param, len(param))
    elif kind == "bulk_read":
        param = [byte for one, address, length in values for byte in (one, address, 0, length, 0)]
        handler.bulkReadTx(port, param, len(param), False)
    else:
        param = [b for one, address, data in values for b in (one, address, 0, len(data), 0, *data)]
        handler.bulkWriteTxOnly(port, param, len(param))
    sent = port.sent
    if HEADER[:3] not in sent[7:-2]:
        return sent, False
    stuffed = bytes(handler.addStuffing(list(sent)))
    stuffed = HEADER + stuffed[4:-2]
    crc = handler.updateCRC(0, stuffed, len(stuffed))
    return stuffed + crc.to_bytes(2, "little"), True


def respond(master: int, path: str) -> None:
    """Answers whatever rustypot sends, and writes down what that was."""
    handler = dxl.Protocol2PacketHandler()
    with open(path, "w") as log:
        pending = b""
        while True:
            try:
                pending += os.read(master, 4096)
            except OSError:
                return
            while len(pending) >= 7 and len(pending) >= 7 + int.from_bytes(pending[5:7], "little"):
                whole = 7 + int.from_bytes(pending[5:7], "little")
                packet, pending = pending[:whole], pending[whole:]
                log.write(packet.hex() + "\n")
                log.flush()
                body, servo = packet[8:-2], packet[4]
                answers = {
                    dxl.INST_PING: [(servo, 3)],
                    dxl.INST_REBOOT: [(servo, 0)],
                    dxl.INST_READ: [(servo, body[2] if len(body) > 2 else 0)],
                    dxl.INST_WRITE: [(servo, 0)],
                    dxl.INST_SYNC_READ: [(one, body[2]) for one in body[4:]] if len(body) > 4 else [],
                }.get(packet[7], [])
                out = b""
                for one, length in answers:
                    answer = HEADER + bytes([one, length + 4, 0, 0x55, 0]) + bytes(length)
                    out += answer + handler.updateCRC(0, answer, len(answer)).to_bytes(2, "little")
                os.write(master, out)


def by_rustypot(commands: list[Command]) -> list[bytes]:
    """What rustypot sends for each."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "sent")
        answering = multiprocessing.get_context("fork").Process(target=respond, args=(master, path), daemon=True)
        answering.start()
        servos = rustypot.Xl330PyController(os.ttyname(slave), 1_000_000, 1.0)
        for kind, values in commands:
            if kind == "ping":
                servos.ping(values[0])
            elif kind == "reboot":
                servos.reboot(values[0])
            elif kind == "read":
                servos.read_raw_data(*values)
            elif kind == "write":
                servos.write_raw_data(*values)
            elif kind == "sync_read":
                servos.sync_read_raw_data(values[2], values[0], values[1])
            else:
                address, _, each = values
                servos.sync_write_raw_data([one for one, _ in each], address, [data for _, data in each])
        servos.ping(1)  # when this is answered, all before it is written down
        answering.terminate()
        answering.join()
        return [bytes.fromhex(line) for line in Path(path).read_text().split()][:-1]


def judge_encoding(count: int, with_rustypot: int) -> None:
    rng = random.Random(1)
    commands = [random_command(rng) for _ in range(count)]
    text = "\n".join(line_of(command) for command in commands) + "\n"
    words = ["cargo", "run", "--quiet", "--locked", "-p", "firmware-bridge", "--example", "fuzz_dynamixel", "--"]
    if "EXAMPLES" in os.environ:
        words = [str(Path(os.environ["EXAMPLES"]) / "fuzz_dynamixel")]
    ours = subprocess.run([*words, "--encode"], cwd=ROOT, input=text, text=True, capture_output=True, check=True)
    packets = [bytes.fromhex(line) for line in ours.stdout.split()]
    agree(len(packets), count, "packets")
    handler, stuffed = dxl.Protocol2PacketHandler(), 0
    for command, packet in zip(commands, packets, strict=True):
        expected, grew = by_sdk(handler, command)
        stuffed += grew
        agree(packet.hex(" "), expected.hex(" "), f"{line_of(command)} by dynamixel-sdk")
    kinds = Counter(kind for kind, _ in commands)
    passed(f"{count} packets equal dynamixel-sdk's, {stuffed} of them stuffed: {dict(sorted(kinds.items()))}")

    known = {"ping", "reboot", "read", "write", "sync_read", "sync_write"}
    chosen = [pair for pair in zip(commands, packets, strict=True) if pair[0][0] in known][:with_rustypot]
    sent = by_rustypot([command for command, _ in chosen])
    agree(len(sent), len(chosen), "packets of rustypot")
    stuffed = 0
    for (command, packet), expected in zip(chosen, sent, strict=True):
        stuffed += HEADER[:3] + b"\xfd" in packet[7:-2]
        agree(packet.hex(" "), expected.hex(" "), f"{line_of(command)} by rustypot")
    kinds = Counter(command[0] for command, _ in chosen)
    passed(f"{len(chosen)} packets equal rustypot's, {stuffed} of them stuffed: {dict(sorted(kinds.items()))}")


# The emulated bus.


def judge_by_sdk(path: str, tell: "Teller") -> None:
    port, handler = dxl.PortHandler(path), dxl.PacketHandler(2.0)
    assert port.openPort() and port.setBaudRate(1_000_000), "the port opens"
    ok = dxl.COMM_SUCCESS
    for servo, model in MODELS.items():
        agree(handler.ping(port, servo), (model, ok, 0), f"ping {servo}")
    agree(handler.ping(port, 9)[1], dxl.COMM_RX_TIMEOUT, "ping of nobody")
    found, result = handler.broadcastPing(port)
    agree((found, result), ({servo: [model, 46] for servo, model in MODELS.items()}, ok), "broadcast ping")
    passed("dynamixel-sdk: ping and broadcast ping")

    agree(handler.write1ByteTxRx(port, 1, 11, 4), (ok, 0), "operating mode")
    agree(handler.read1ByteTxRx(port, 1, 11), (4, ok, 0), "operating mode, read back")
    agree(handler.write4ByteTxRx(port, 1, 116, (-1234) & 0xFFFFFFFF), (ok, 0), "a goal below zero")
    agree(handler.read4ByteTxRx(port, 1, 116), ((-1234) & 0xFFFFFFFF, ok, 0), "read back")
    agree(handler.write4ByteTxRx(port, 2, 116, 5000), (ok, 6), "a goal beyond its limit")
    agree(handler.write1ByteTxRx(port, 2, 98, 200), (ok, 4), "a watchdog out of range")
    agree(handler.write2ByteTxRx(port, 2, 0, 7), (ok, 7), "a model number")
    agree(handler.write4ByteTxRx(port, 1, 116, 2048), (ok, 0), "a goal where it is")
    agree(handler.write1ByteTxRx(port, 1, 64, 1), (ok, 0), "torque")
    agree(handler.write1ByteTxRx(port, 1, 9, 0), (ok, 7), "memory while torque is on")
    agree(handler.write1ByteTxRx(port, 1, 64, 0), (ok, 0), "torque off")
    agree(handler.write1ByteTxRx(port, 1, 9, 0), (ok, 0), "memory while torque is off")
    agree(handler.regWriteTxRx(port, 4, 65, 1, [1]), (ok, 0), "a write for later")
    agree(handler.read1ByteTxRx(port, 4, 65)[0], 0, "before the action")
    agree(handler.action(port, 0xFE), ok, "action")
    agree(handler.read1ByteTxRx(port, 4, 65)[0], 1, "after the action")
    passed("dynamixel-sdk: reads and writes, range, limit and access errors")

    for servo in MODELS:
        handler.write1ByteTxRx(port, servo, 11, 4)
    writer = dxl.GroupSyncWrite(port, handler, 116, 4)
    for servo in MODELS:
        assert writer.addParam(servo, list((servo * 1000).to_bytes(4, "little"))), "a goal is added"
    agree(writer.txPacket(), ok, "sync write")
    for fast in (False, True):
        reader = dxl.GroupSyncRead(port, handler, 116, 4)
        for servo in MODELS:
            reader.addParam(servo)
        agree(reader.fastSyncRead() if fast else reader.txRxPacket(), ok, f"sync read, fast: {fast}")
        found = {servo: reader.getData(servo, 116, 4) for servo in MODELS}
        agree(found, {servo: servo * 1000 for servo in MODELS}, f"sync read, fast: {fast}")
    bulk_writer = dxl.GroupBulkWrite(port, handler)
    bulk_writer.addParam(2, 65, 1, [1])
    bulk_writer.addParam(3, 104, 4, [9, 0, 0, 0])
    agree(bulk_writer.txPacket(), ok, "bulk write")
    bulk_reader = dxl.GroupBulkRead(port, handler)
    bulk_reader.addParam(2, 65, 1)
    bulk_reader.addParam(3, 104, 4)
    agree(bulk_reader.txRxPacket(), ok, "bulk read")
    agree((bulk_reader.getData(2, 65, 1), bulk_reader.getData(3, 104, 4)), (1, 9), "bulk read")
    passed("dynamixel-sdk: sync, fast sync and bulk, reads and writes")

    tell("set 5 2 16646143")  # model information that is a header
    agree(handler.readTxRx(port, 5, 2, 4), ([0xFF, 0xFF, 0xFD, 0], ok, 0), "a header in the data")
    agree(handler.readTxRx(port, 5, 0, 6)[0], [0xB0, 4, 0xFF, 0xFF, 0xFD, 0], "and amid it")
    reader = dxl.GroupSyncRead(port, handler, 2, 4)
    for servo in MODELS:
        reader.addParam(servo)
    agree(reader.fastSyncRead(), ok, "a header in a fast answer")
    agree(reader.getData(5, 2, 4), 16646143, "a header in a fast answer")
    passed("dynamixel-sdk: what had to be stuffed comes back as it was")

    handler.write1ByteTxRx(port, 6, 64, 1)
    tell("error 6 32")
    agree(handler.read1ByteTxRx(port, 6, 70), (32, ok, 128), "a hardware error sets the alert bit")
    agree(handler.read1ByteTxRx(port, 6, 64), (0, ok, 128), "and takes torque away")
    agree(handler.write1ByteTxRx(port, 6, 64, 1), (ok, 129), "which does not come back")
    agree(handler.reboot(port, 6), (ok, 128), "reboot")
    agree(handler.write1ByteTxRx(port, 6, 64, 1), (ok, 0), "torque after a reboot")
    passed("dynamixel-sdk: shutdown, and reboot out of it")
    port.closePort()


def judge_by_rustypot(path: str, tell: "Teller") -> None:
    servos = rustypot.Xl330PyController(path, 1_000_000, 1.0)
    agree([servos.ping(servo) for servo in MODELS], [True] * 6, "rustypot pings")
    agree(servos.broadcast_scan(), MODELS, "rustypot's broadcast scan")
    ids = list(MODELS)
    for servo in ids:
        servos.write_raw_data(servo, 64, [0])
        servos.write_raw_data(servo, 11, [4])
    servos.sync_write_raw_data(ids, 116, [list((-servo * 500 & 0xFFFFFFFF).to_bytes(4, "little")) for servo in ids])
    for fast in (False, True):
        servos.set_fast_sync_read(fast)
        found = servos.sync_read_register(ids, "goal_position")
        agree(list(found), [-servo * 500 for servo in ids], f"rustypot's sync read, fast: {fast}")
    servos.set_fast_sync_read(False)
    _, error = servos.read_raw_data_with_error(1, 64, 1)
    agree(error, 0, "no error")
    # Goal PWM -1 and goal current -3 in one write are FF FF FD FF: stuffed on the way there and back.
    agree(servos.write_raw_data_with_error(3, 100, [0xFF, 0xFF, 0xFD, 0xFF]), 0, "a stuffed write")
    agree(list(servos.read_raw_data(3, 100, 4)), [0xFF, 0xFF, 0xFD, 0xFF], "a stuffed read")
    agree(servos.read_register(3, "goal_current"), -3, "two's complement")
    servos.write_raw_data(2, 64, [1])
    agree(servos.write_raw_data_with_error(2, 9, [0]), 7, "rustypot sees the access error")
    tell("error 4 4")
    _, error = servos.read_raw_data_with_error(4, 70, 1)
    agree(error, 128, "rustypot sees the alert bit")
    assert servos.reboot(4), "rustypot reboots"
    _, error = servos.read_raw_data_with_error(4, 70, 1)
    agree(error, 0, "after the reboot")
    passed("rustypot: pings, sync and fast sync reads, stuffing, access error, alert, reboot")


class Teller:
    """Tells the emulator what to do."""

    def __init__(self, to: IO[str], answers: IO[str]) -> None:
        self.to, self.answers = to, answers

    def __call__(self, line: str) -> str:
        self.to.write(line + "\n")
        self.to.flush()
        answer = self.answers.readline().strip()
        assert answer, f"the emulator answers {line!r}"
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", type=int, default=200_000)
    parser.add_argument("--rustypot", type=int, default=100_000)
    args = parser.parse_args()
    judge_encoding(args.commands, args.rustypot)
    for judge in (judge_by_sdk, judge_by_rustypot):
        with example("emulate_koch") as emulator:
            assert emulator.stdin is not None and emulator.stdout is not None
            path = emulator.stdout.readline().strip()
            tell = Teller(emulator.stdin, emulator.stdout)
            judge(path, tell)
            writes, refused = tell("writes").split()
            passed(f"{writes} writes reached the servos, {refused} were refused")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"dynamixel: this judge and we disagree: {error}")
