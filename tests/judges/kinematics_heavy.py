#!/usr/bin/env python3
"""Recomputes the bridge's poses and Jacobians with Pinocchio, and where found joint positions lead.

    python tests/judges/kinematics_heavy.py [--poses N]

Needs pin, some 380 MB installed, and numpy. See kinematics_light.py, which does it with MuJoCo.
"""

from pathlib import Path

import numpy as np
import pinocchio
from kinematics_light import Engine, main


def pinocchio_engine(urdf: Path, tip: str) -> Engine:
    model = pinocchio.buildModelFromUrdf(str(urdf))
    data = model.createData()
    frame = model.getFrameId(tip)
    assert frame < model.nframes, f"Pinocchio has no frame {tip}"

    def solve(names: list[str], q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        positions = pinocchio.neutral(model)
        joints = [model.joints[model.getJointId(name)] for name in names]
        for joint, position in zip(joints, q, strict=True):
            assert joint.nq == 1, "every joint has one position"
            positions[joint.idx_q] = position
        pinocchio.forwardKinematics(model, data, positions)
        place = pinocchio.updateFramePlacement(model, data, frame)
        around = pinocchio.ReferenceFrame.LOCAL_WORLD_ALIGNED
        jacobian = pinocchio.computeFrameJacobian(model, data, positions, frame, around)
        pose = np.column_stack([place.rotation, place.translation])
        return pose, jacobian[:, [joint.idx_v for joint in joints]]

    return solve


if __name__ == "__main__":
    main(pinocchio_engine, "Pinocchio")
