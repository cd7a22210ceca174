"""What is wrong with an observation is said in one line, before anything is sent."""

import unittest

import numpy as np
from fake_server import contract

from engraft_client import PolicyError
from engraft_client.contract import read_contract
from engraft_client.observation import Frame, FrameStack, check

CONTRACT = read_contract(contract(), "f" * 64)


def changed(**parts):
    """An observation that keeps the contract, but for these parts."""
    example = CONTRACT.example()
    example["rgb"] = {**example["rgb"], **parts.pop("rgb", {})}
    return {**example, **parts}


def picture(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


class WhatIsWrongIsSaid(unittest.TestCase):
    def refused(self, code, observation, *words):
        with self.assertRaises(PolicyError) as caught:
            check(CONTRACT, observation)
        error = caught.exception
        self.assertEqual(error.code, code, error)
        for word in ["expected", "found", *words]:
            self.assertIn(word, error.detail)
        self.assertNotIn("\n", error.detail)

    def test_a_view_that_is_missing_or_unknown(self):
        one = {"front": picture(4, 6, 3)}
        self.refused("BAD_SHAPE", {**changed(), "rgb": one}, "expected front, wrist, found front")
        self.refused("BAD_SHAPE", changed(rgb={"top": picture(4, 6, 3)}), "found front, wrist, top")
        self.refused("BAD_SHAPE", {**changed(), "rgb": picture(4, 6, 3)}, "dict", "ndarray")
        self.refused("BAD_SHAPE", {"proprio": [0, 0]}, "found none")

    def test_a_picture_of_another_size_or_order(self):
        self.refused("BAD_SHAPE", changed(rgb={"front": picture(8, 6, 3)}), "`front`", "[8, 6, 3]")
        self.refused("BAD_SHAPE", changed(rgb={"front": picture(3, 4, 6)}), "np.moveaxis(x, 0, -1)")
        self.refused("BAD_SHAPE", changed(rgb={"front": picture(6, 4, 3)}), "swap")
        self.refused("BAD_SHAPE", changed(rgb={"front": picture(4, 6)}), "[4, 6]")

    def test_a_picture_of_another_type(self):
        floats = picture(4, 6, 3, dtype=np.float32)
        self.refused("BAD_DTYPE", changed(rgb={"front": floats}), "float32", "255 * x")
        self.refused("BAD_DTYPE", changed(rgb={"front": floats.astype(int)}), "int64")
        self.refused("BAD_DTYPE", changed(rgb={"front": None}), "object")

    def test_depth_that_is_missing_or_in_millimetres(self):
        self.refused("BAD_SHAPE", changed(depth={}), "depth views: expected wrist, found none")
        millimetres = {"wrist": picture(3, 2, dtype=np.uint16)}
        self.refused("BAD_DTYPE", changed(depth=millimetres), "uint16", "1000")
        wide = {"wrist": picture(2, 3, dtype=np.float32)}
        self.refused("BAD_SHAPE", changed(depth=wide), "[3, 2]", "[2, 3]")

    def test_proprio_that_is_missing_too_short_or_no_number(self):
        observation = changed()
        del observation["proprio"]
        self.refused("BAD_SHAPE", observation, "elbow [rad], wrist [rad]", "found none")
        self.refused("BAD_SHAPE", changed(proprio=[1]), "[2]", "[1]", "elbow")
        self.refused("BAD_SHAPE", changed(proprio=[[1, 2]]), "[1, 2]")
        self.refused("NONFINITE", changed(proprio=[0, float("nan")]), "`wrist`", "nan")
        self.refused("NONFINITE", changed(proprio=[1e300, 0]), "`elbow`", "inf")
        self.refused("BAD_DTYPE", changed(proprio=["a", "b"]), "<U1")
        self.refused("BAD_DTYPE", changed(proprio=[True, False]), "bool")

    def test_keys_that_nobody_reads(self):
        self.refused("BAD_SHAPE", changed(state=[0, 0]), "`state`")
        self.refused("BAD_SHAPE", [1, 2], "list")

    def test_depth_may_have_holes_and_proprio_may_be_a_list(self):
        holes = np.full((3, 2), np.nan)
        frame = check(CONTRACT, changed(depth={"wrist": holes}, proprio=[1, 2]))
        self.assertEqual(frame.proprio.dtype, np.float32)
        self.assertEqual(frame.depth[1].dtype, np.float32)
        self.assertIsNone(frame.depth[0])


class TheFrameStack(unittest.TestCase):
    def test_the_first_repeats_before_the_start(self):
        stack, seen = FrameStack(3), []
        for number in [1, 2, 3, 4]:
            stack.push(Frame((), (), np.float32([number])))
            seen.append([float(value) for value in dict(stack.arrays())["proprio"][:, 0]])
        self.assertEqual(seen, [[1, 1, 1], [1, 1, 2], [1, 2, 3], [2, 3, 4]])
        stack.clear()
        stack.push(Frame((), (), np.float32([9])))
        self.assertEqual(dict(stack.arrays())["proprio"][:, 0].tolist(), [9, 9, 9])

    def test_a_single_frame_is_not_copied(self):
        given = changed()
        stack = FrameStack(1)
        stack.push(check(CONTRACT, given, copy=False))
        arrays = dict(stack.arrays())
        self.assertTrue(np.shares_memory(arrays["rgb.0"], given["rgb"]["front"]))
        self.assertEqual(arrays["rgb.0"].shape, (1, 4, 6, 3))


if __name__ == "__main__":
    unittest.main()
