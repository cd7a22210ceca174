#!/usr/bin/env python3
"""Recomputes the bridge's poses and Jacobians with MuJoCo, and where found joint positions lead.

    python tests/judges/kinematics_light.py [--poses N]

Needs mujoco and numpy. Starts firmware-bridge/examples/chain_poses.rs for each URDF of the
repository. Exits 1 at the first pose that differs by more than 1e-9.
kinematics_heavy.py does the same with Pinocchio.
"""

import argparse
import json
import os
import subprocess
import sys
import traceback
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ARMS = [
    ("firmware-bridge/arms/so101.urdf", "tip"),
    ("firmware-bridge/arms/xarm7.urdf", "tip"),
    ("crates/sim/assets/arm.urdf", "tcp"),
]
TOLERANCE = 1e-9

# From joint names and positions to a pose of 3 x 4 and a Jacobian of 6 x n, in the frame of the base.
Engine = Callable[[list[str], np.ndarray], tuple[np.ndarray, np.ndarray]]


def mujoco_engine(urdf: Path, tip: str) -> Engine:
    """MuJoCo's forward kinematics of a URDF, whose links get a mass and lose what they look like."""
    import mujoco

    robot = xml.fromstring(urdf.read_text())
    for link in robot.iter("link"):
        for child in list(link):
            link.remove(child)
        inertial = xml.SubElement(link, "inertial")
        xml.SubElement(inertial, "mass", value="1")
        xml.SubElement(inertial, "inertia", ixx="1", iyy="1", izz="1", ixy="0", ixz="0", iyz="0")
    compiler = xml.SubElement(xml.SubElement(robot, "mujoco"), "compiler")
    compiler.set("fusestatic", "false")
    model = mujoco.MjModel.from_xml_string(xml.tostring(robot, encoding="unicode"))
    data = mujoco.MjData(model)
    body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, tip)
    assert body >= 0, f"MuJoCo has no body {tip}"

    def solve(names: list[str], q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data.qpos[:] = 0.0
        for name, position in zip(names, q, strict=True):
            data.qpos[model.joint(name).qposadr[0]] = position
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        mujoco.mj_jacBody(model, data, linear, angular, body)
        columns = [model.joint(name).dofadr[0] for name in names]
        pose = np.column_stack([data.xmat[body].reshape(3, 3), data.xpos[body]])
        return pose, np.vstack([linear, angular])[:, columns]

    return solve


def answers(urdf: Path, tip: str, poses: int) -> Iterator[dict[str, Any]]:
    """What the bridge says; EXAMPLES names a folder that holds its program built."""
    name = "chain_poses"
    command = ["cargo", "run", "--quiet", "--locked", "-p", "firmware-bridge", "--example", name, "--"]
    command = [str(Path(os.environ["EXAMPLES"]) / name)] if "EXAMPLES" in os.environ else command
    command += [str(urdf), tip, "--poses", str(poses)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    assert process.returncode == 0, f"the example exits with {process.returncode}"


def judge(engine_of: Callable[[Path, str], Engine], who: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--poses", type=int, default=300)
    poses = parser.parse_args().poses
    for path, tip in ARMS:
        urdf = ROOT / path
        engine = engine_of(urdf, tip)
        rows = answers(urdf, tip, poses)
        names = next(rows)["joints"]
        worst_pose, worst_jacobian, reached, total = 0.0, 0.0, 0, 0
        for row in rows:
            total += 1
            pose, jacobian = engine(names, np.array(row["q"]))
            off = np.abs(pose - np.array(row["pose"])).max()
            assert off <= TOLERANCE, f"{path}: pose off by {off}\nq {row['q']}\nexpected\n{pose}\nfound\n{np.array(row['pose'])}"
            worst_pose = max(worst_pose, off)
            off = np.abs(jacobian - np.array(row["jacobian"])).max()
            assert off <= TOLERANCE, f"{path}: Jacobian off by {off}\nq {row['q']}\nexpected\n{jacobian}\nfound\n{row['jacobian']}"
            worst_jacobian = max(worst_jacobian, off)
            # What was found leads where it is said to lead.
            found, _ = engine(names, np.array(row["found"]))
            target = np.array(row["target"])
            distance = np.linalg.norm(found[:, 3] - target[:, 3])
            assert abs(distance - row["position_m"]) <= TOLERANCE, f"{path}: {distance} m off, said {row['position_m']}"
            cosine = (np.trace(found[:, :3].T @ target[:, :3]) - 1.0) / 2.0
            angle = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
            assert abs(angle - row["angle_rad"]) <= 1e-6, f"{path}: {angle} rad off, said {row['angle_rad']}"
            reached += distance < 1e-3 and angle < 1e-2
        assert total == poses, f"{path}: expected {poses} poses, found {total}"
        assert reached >= 0.9 * total, f"{path}: only {reached} of {total} targets were reached"
        print(f"ok  {who}, {urdf.name}: {total} poses agree to {worst_pose:.1e}, Jacobians to {worst_jacobian:.1e}; "
              f"{reached} targets 0.3 rad away reached to 1 mm and 10 mrad", flush=True)


def main(engine_of: Callable[[Path, str], Engine], who: str) -> None:
    try:
        judge(engine_of, who)
    except AssertionError as error:
        traceback.print_exc()
        sys.exit(f"the bridge and {who} disagree: {error}")


if __name__ == "__main__":
    main(mujoco_engine, "MuJoCo")
