#!/usr/bin/env python3
"""The vendor's SDK drives the emulated xArm control box, and decides what bytes a request has.

    python tests/judges/xarm_light.py [--commands 100000]

Needs xarm-python-sdk. Starts the examples `emulate_xarm`, `encode_xarm` and `xarm_cost` of firmware-bridge; EXAMPLES
names a folder that holds them built. The SDK's ports are fixed: it is also led to others, at which the box runs for anybody.
Prints one line per check and exits 1 at the first that fails.
"""

import argparse
import contextlib
import io
import logging
import random
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from bridge import ROOT, example, passed

with contextlib.redirect_stdout(io.StringIO()):  # it greets with its version
    from xarm.core.wrapper.uxbus_cmd_tcp import UxbusCmdTcp
    from xarm.version import __version__
    from xarm.wrapper import XArmAPI

logging.disable(logging.CRITICAL)
TWO_PI = 6.283185


def soon(what: str, holds: Callable[[], bool], secs: float = 5.0) -> None:
    end = time.monotonic() + secs
    while not holds():
        assert time.monotonic() < end, f"not within {secs} s: {what}"
        time.sleep(0.01)


class Box:
    """The emulator, and what it is told on its standard input."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        first = process.stdout.readline().split()
        self.ports = [int(port) for port in first]

    def tell(self, line: str) -> tuple[int, int]:
        """Set-points taken up and lost so far."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        taken, lost = self.process.stdout.readline().split()
        return int(taken), int(lost)


@contextlib.contextmanager
def emulator(*ports: str) -> Iterator[Box]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*example("emulate_xarm"), *ports], cwd=ROOT, text=True, **pipes) as process:
        yield Box(process)
        process.stdin.close()
        assert process.wait(30) == 0, "the emulator stops without an error"


class LedSocket(socket.socket):
    """Connects to the ports of an emulator where the SDK asks for the vendor's."""

    ports: dict[int, int] = {}

    def connect(self, address: Any) -> None:
        if isinstance(address, tuple):
            address = (address[0], self.ports.get(address[1], address[1]))
        super().connect(address)


class FakePort:
    """Keeps what the SDK sends, and answers each request with zeros at once."""

    def __init__(self) -> None:
        self.sent = b""

    def flush(self) -> None:
        pass

    def write(self, data: bytes) -> int:
        self.sent = bytes(data)
        return 0

    def read(self, _timeout: float | None = None) -> bytes:
        return self.sent[:4] + b"\x00\x7a" + self.sent[6:7] + bytes(121)


def random_command(rng: random.Random) -> tuple[str, list[Any], dict[str, Any]]:
    """A request by its name in the SDK, its arguments and those that go by name."""

    def angles(count: int, most: float = TWO_PI) -> list[float]:
        return [rng.choice([rng.uniform(-most, most), 0.0, most, -most]) for _ in range(count)]

    def limit(most: float) -> float:
        return rng.uniform(0, most)

    def pose() -> list[float]:
        return angles(3, 1000) + angles(3, 3.14)

    def switch() -> int:
        return rng.randrange(2)

    def secs() -> dict[str, float]:
        return {} if switch() else {"duration": limit(10)}

    kinds: list[Callable[[], tuple[str, list[Any], dict[str, Any]]]] = [
        *(lambda name=name: (name, [], {}) for name in (
            "get_version get_robot_sn get_state get_cmdnum get_err_code clean_err clean_war get_tcp_pose get_joint_pos "
            "get_reduced_states gripper_modbus_get_pos gripper_modbus_get_errcode gripper_modbus_clean_err").split()),
        *(lambda name=name: (name, [switch()], {}) for name in (
            "set_reduced_mode set_fense_on set_collis_reb set_self_collision_detection set_simulation_robot "
            "gripper_modbus_set_en gripper_modbus_set_mode").split()),
        *(lambda name=name: (name, [limit(50_000)], {}) for name in (
            "set_tcp_jerk set_tcp_maxacc set_joint_jerk set_joint_maxacc set_reduced_linespeed "
            "set_reduced_jointspeed").split()),
        lambda: ("get_joint_states", [rng.randrange(1, 4)], {}),
        lambda: ("motion_en", [rng.randrange(1, 9), switch()], {}),
        lambda: ("set_state", [rng.choice([0, 3, 4, 6])], {}),
        lambda: ("set_mode", [rng.choice([0, 1, 2, 4, 5, 6, 7])], rng.choice([{}, {"detection_param": switch()}])),
        lambda: ("move_joint", [angles(7), limit(3), limit(20), 0.0], {}),
        *[lambda: ("move_servoj", [angles(7), limit(3), limit(20), limit(1)], {})] * 8,
        lambda: ("move_servo_cartesian", [pose(), limit(1000), limit(50_000), switch()], {}),
        lambda: ("set_collis_sens", [rng.randrange(6)], {}),
        lambda: ("set_xyz_limits", [[rng.randrange(-2000, 2000) for _ in range(6)]], {}),
        lambda: ("set_reduced_jrange", [angles(14)], {}),
        *[lambda: ("vc_set_jointv", [angles(7, 3.14), switch()], secs())] * 4,
        lambda: ("vc_set_linev", [pose(), switch()], secs()),
        lambda: ("tgpio_addr_r16", [rng.randrange(65536)], {"bid": rng.choice([9, 11])}),
        lambda: ("gripper_modbus_set_posspd", [rng.randrange(5001)], {}),
        lambda: ("gripper_modbus_r16s", [rng.randrange(0x0801, 0x0804), 1], {}),
        *[lambda: ("gripper_modbus_set_pos", [rng.randrange(-10, 851)], {})] * 2,
    ]
    return rng.choice(kinds)()


def judge_bytes(commands: int) -> None:
    rng, port = random.Random(1), FakePort()
    sdk = UxbusCmdTcp(port)
    lines, expected, names = [], [], set()
    for _ in range(commands):
        transaction, protocol = rng.randrange(1, 65536), rng.choice([2, 3])
        name, arguments, named = random_command(rng)
        sdk._transaction_id, sdk._protocol_identifier = transaction, protocol
        with contextlib.redirect_stdout(io.StringIO()):
            getattr(sdk, name)(*arguments, **named)
        flat: list[Any] = []
        for value in [*arguments, *named.values()]:
            flat += value if isinstance(value, list) else [value]
        lines.append(" ".join([str(transaction), str(protocol), name, *map(repr, flat)]))
        expected.append(port.sent.hex())
        names.add(name)
    output = subprocess.run(example("encode_xarm"), cwd=ROOT, input="\n".join(lines), text=True,
                            capture_output=True, check=True).stdout.split("\n")
    assert len(output) == commands + 1, f"{len(output) - 1} lines for {commands} commands"
    for line, ours, theirs in zip(lines, output, expected, strict=False):
        assert ours == theirs, f"{line}\n  ours   {ours}\n  theirs {theirs}"
    wrong = [f"1 2 move_servoj {value} 0 0 0 0 0 0 0 0 0" for value in ("nan", "inf", "-inf", "1e30", "6.3")]
    output = subprocess.run(example("encode_xarm"), cwd=ROOT, input="\n".join(wrong), text=True,
                            capture_output=True, check=True).stdout.splitlines()
    assert all(line.startswith("refused: ") for line in output) and len(output) == len(wrong), output
    passed(f"{commands} random commands of {len(names)} kinds have the SDK's bytes, {len(wrong)} are refused")


def make_ready(arm: Any, mode: int) -> None:
    assert arm.motion_enable(True) == 0
    assert arm.set_mode(mode) == 0
    assert arm.set_state(0) == 0
    soon(f"mode {mode}, ready", lambda: arm.mode == mode and arm.state not in (4, 5))


def judge_box(box: Box) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        arm = XArmAPI("127.0.0.1", is_radian=True, report_type="real", do_not_open=False)
        soon("reports come", lambda: arm.connected and len(arm.angles) >= 7)
    try:
        judge_arm(arm, box)
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            arm.disconnect()


def judge_arm(arm: Any, box: Box) -> None:
    assert (arm.axis, arm.device_type) == (7, 7), (arm.axis, arm.device_type)
    assert arm.version_number == (1, 13, 104), arm.version_number
    code, serial = arm.get_robot_sn()
    assert code == 0 and serial.startswith("XI1305"), (code, serial)
    passed(f"connected to {arm.version}")

    assert arm.clean_error() == 0 and arm.clean_warn() == 0
    assert arm.get_err_warn_code() == (0, [0, 0])
    assert arm.set_servo_angle_j([0.0] * 7) != 0, "a set-point before the motors are on"
    make_ready(arm, 1)
    before, trips = box.tell("counts")[0], []
    for i in range(1, 201):
        began = time.perf_counter()
        assert arm.set_servo_angle_j([0.002 * i, 0, 0, 0.001 * i, 0, 0, -0.002 * i]) == 0
        trips.append((time.perf_counter() - began) * 1e3)
        time.sleep(0.005)
    taken, lost = box.tell("counts")
    assert taken - before + lost >= 200 and taken - before >= 190, (taken - before, lost)
    goal = [0.4, 0, 0, 0.2, 0, 0, -0.4]
    soon("the reports say that the arm is where it was sent",
         lambda: all(abs(a - b) < 1e-4 for a, b in zip(arm.angles, goal, strict=False)))

    def rests() -> bool:
        code, (angles, velocities, *_) = arm.get_joint_states(is_radian=True)
        assert code == 0, code
        there = all(abs(a - b) < 1e-4 for a, b in zip(angles, goal, strict=True))
        return there and all(abs(velocity) < 1e-2 for velocity in velocities)

    soon("the states say that the arm rests where it was sent", rests)
    passed(f"200 set-points, {sorted(trips)[100]:.2f} ms each in the middle; reports and states agree")

    seen: list[float] = []
    arm.register_report_location_callback(lambda _: seen.append(time.monotonic()))
    time.sleep(1)
    arm.release_report_location_callback()
    assert 50 <= len(seen) <= 115, f"{len(seen)} reports in a second"
    passed(f"{len(seen)} reports in a second")

    # The SDK refuses what its own table of limits says; the box refuses what gets past it.
    code = arm.set_servo_angle_j([0, 2.5, 0, 0, 0, 0, 0])
    assert code == -8, f"out of the SDK's range, not {code}"
    assert arm._arm.arm_cmd.move_servoj([0, 2.5, 0, 0, 0, 0, 0], 0, 0, 0)[0] == 1, "an error waits"
    assert arm.get_err_warn_code()[1][0] == 23
    soon("the state is stopped", lambda: arm.state == 4)
    assert arm.set_servo_angle_j(goal) != 0
    arm.clean_error()
    assert arm.get_err_warn_code()[1][0] == 0
    assert arm.set_servo_angle_j(goal) != 0, "cleared is not ready"
    make_ready(arm, 1)
    assert arm.set_servo_angle_j(goal) == 0
    passed("a joint beyond its limit is error 23, and only the whole procedure gets out of it")

    arm.emergency_stop()
    assert arm.state == 4, arm.state
    assert arm.set_servo_angle_j(goal) in (-2, 9), "refused while stopped"
    box.tell("press")
    assert arm.get_err_warn_code()[1][0] == 2
    arm.clean_error()
    assert arm.get_err_warn_code()[1][0] == 2, "it is still pressed"
    box.tell("release")
    arm.clean_error()
    assert arm.get_err_warn_code() == (0, [0, 0])
    make_ready(arm, 1)
    passed("emergency stops, by the SDK and at the box")

    make_ready(arm, 4)
    assert arm.vc_set_joint_velocity([0.3, 0, 0, 0, 0, 0, 0], is_radian=True, duration=0.2) == 0
    time.sleep(0.8)
    moved = arm.angles[0] - goal[0]
    assert 0.04 < moved < 0.09, f"0.2 s at 0.3 rad/s are {moved} rad"
    passed("a velocity ends after its duration")

    make_ready(arm, 1)
    box.tell("wall 6 0")
    arm.set_servo_angle_j([arm.angles[0], 0, 0, 0.2, 0, 0, 0.5])
    soon("a collision", lambda: arm.get_err_warn_code()[1][0] == 31)
    arm.clean_error()
    passed("a wall is error 31")

    judge_gripper(arm, box)


def judge_gripper(arm: Any, box: Box) -> None:
    assert arm.get_gripper_version() == (0, "3.4.3")
    assert arm.set_gripper_position(100, wait=False, wait_motion=False) == 0
    time.sleep(0.3)
    assert arm.get_gripper_position() == (0, 850), "it moves before it is switched on"
    assert arm.set_gripper_position(850, wait=False, wait_motion=False) == 0
    assert arm.set_gripper_mode(0) == 0 and arm.set_gripper_enable(True) == 0
    assert arm.set_gripper_speed(5000) == 0
    assert arm.set_gripper_position(300, wait=False, wait_motion=False) == 0
    soon("the gripper is there", lambda: arm.get_gripper_position() == (0, 300))
    assert arm.get_gripper_err_code() == (0, 0)
    assert arm.set_gripper_speed(200) == 0
    began = time.monotonic()
    assert arm.set_gripper_position(700, wait=True, wait_motion=False) == 0
    assert time.monotonic() - began > 1.5, "400 pulses at 200 a second"
    assert arm.get_gripper_position() == (0, 700)
    passed("the gripper goes where it is sent, at the speed that it is given")

    box.tell("object 400")
    assert arm.set_gripper_speed(5000) == 0
    assert arm.set_gripper_position(0, wait=True, wait_motion=False) == 0
    assert arm.get_gripper_position() == (0, 400) and arm.get_gripper_err_code() == (0, 0)
    assert arm.get_gripper_status() == (0, 2), "something is caught"
    box.tell("empty")
    soon("it closes", lambda: arm.get_gripper_position() == (0, 0))
    passed("the gripper stops at what it catches, which is no error, and closes without it")

    box.tell("fails 11")
    assert arm.get_gripper_err_code() == (0, 11)
    assert arm.set_gripper_enable(True) != 0, "it has an error"
    assert arm.clean_gripper_error() == 0 and arm.get_gripper_err_code() == (0, 0)
    assert arm.set_gripper_position(200, wait=False, wait_motion=False) == 0
    time.sleep(0.3)
    assert arm.get_gripper_position() == (0, 0), "cleared is not switched on"
    assert arm.set_gripper_enable(True) == 0
    soon("the gripper is there", lambda: arm.get_gripper_position() == (0, 200))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the error
        assert arm.set_gripper_position(851, wait=False, wait_motion=False) != 0, "beyond its range"
    assert arm.get_gripper_err_code() == (0, 14)
    assert arm.clean_gripper_error() == 0 and arm.set_gripper_enable(True) == 0
    passed("the gripper's errors are told and cleared, and it is switched on again")


class Tap:
    """Stands before a box's port, and keeps what clients say."""

    def __init__(self, to: int, port: int = 0) -> None:
        self.to, self.said, self.server = to, [], socket.create_server(("127.0.0.1", port))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            client, _ = self.server.accept()
            box = socket.create_connection(("127.0.0.1", self.to))
            said = bytearray()
            self.said.append(said)
            threading.Thread(target=self.pass_on, args=(client, box, said), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(box, client, bytearray()), daemon=True).start()

    @staticmethod
    def pass_on(source: socket.socket, target: socket.socket, said: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                said += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def taps(box: Box) -> tuple[Tap, Tap]:
    """Two at ports that follow each other, as the bridge expects of boxes at other ports than the vendor's."""
    for _ in range(100):
        control = Tap(box.ports[0])
        with contextlib.suppress(OSError):
            return control, Tap(box.ports[1], control.port + 1)
    raise AssertionError("no two ports in a row")


def as_the_sdk(sdk: Any, port: FakePort, frame: bytes) -> tuple[str, bytes]:
    """What a request to the gripper is called in the SDK, and the bytes that it has there."""
    sdk._transaction_id, sdk._protocol_identifier = int.from_bytes(frame[:2]), int.from_bytes(frame[2:4])
    access, address = frame[9], int.from_bytes(frame[10:12])
    value = int.from_bytes(frame[15:], signed=True)
    if access == 3:
        name = {0x0702: "gripper_modbus_get_pos", 0x000F: "gripper_modbus_get_errcode"}.get(address, "")
        arguments = [] if name else [address, 1]
    else:
        name = {0x0100: "gripper_modbus_set_en", 0x0101: "gripper_modbus_set_mode",
                0x0303: "gripper_modbus_set_posspd", 0x0700: "gripper_modbus_set_pos"}[address]
        arguments = [value]
    name = name or "gripper_modbus_r16s"
    getattr(sdk, name)(*arguments)
    return name, port.sent


def judge_bridge(secs: float = 4.0) -> None:
    """The bridge's own talk with the gripper, while it drives the arm."""
    port = FakePort()
    sdk, names, goals = UxbusCmdTcp(port), [], 0
    with emulator("0", "0") as box:
        control, _ = taps(box)
        command = [*example("xarm_cost"), "xarm7-gripper", f"127.0.0.1:{control.port}", str(secs)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        arm, hand = sorted((bytes(said) for said in control.said), key=len, reverse=True)
    while hand:
        length = 6 + int.from_bytes(hand[4:6])
        frame, hand = hand[:length], hand[length:]
        assert frame[6] == 124, f"function {frame[6]} on the gripper's connection"
        name, expected = as_the_sdk(sdk, port, frame)
        assert frame == expected, f"{name}\n  ours   {frame.hex()}\n  theirs {expected.hex()}"
        names.append(name)
        goals += name == "gripper_modbus_set_pos"
    assert len(arm) > 10 * secs * len(port.sent), "the arm got its set-points"
    on = names.index("gripper_modbus_set_en")
    assert names[on - 1] == names[on + 1] == "gripper_modbus_set_pos", "it is sent to where it is, and switched on"
    assert 5 * secs < goals < 22 * secs, f"{goals} goals in {secs} s"
    passed(f"{len(names)} requests of the bridge to the gripper, {goals} goals in {secs} s, are what the SDK sends")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", type=int, default=100_000)
    args = parser.parse_args()
    judge_bytes(args.commands)
    judge_bridge()
    fixed = ["502", "30003"]
    try:
        for port in fixed:
            socket.create_server(("", int(port))).close()
    except OSError:  # not permitted, or taken
        fixed = []
    socket.socket = LedSocket
    for wanted in filter(None, [fixed, ["0", "0"]]):
        with emulator(*wanted) as box:
            LedSocket.ports = dict(zip((502, 30003), box.ports, strict=True))
            print(f"--  the box at ports {box.ports[0]} and {box.ports[1]}", flush=True)
            judge_box(box)
    print(f"xarm-python-sdk {__version__} agrees")


if __name__ == "__main__":
    try:
        main()
    except AssertionError:
        traceback.print_exc()
        sys.exit("the xArm emulator or codec and this judge disagree")
