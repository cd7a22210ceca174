"""The cases that the queue in `crates/core/src/chunks.rs` was computed for by hand."""

import math
import unittest

import numpy as np

from engraft_client import ChunkQueue, Merge, PolicyError


def chunk(*values):
    return np.float32(values)[:, None]  # [horizon, 1]


def played(queue, start):
    """What is played from tick `start` on, until there is nothing."""
    actions = []
    while (action := queue.action(start + len(actions))) is not None:
        actions.append(float(action[0]))
    return actions


class ChunksAreMerged(unittest.TestCase):
    def close(self, found, expected):
        self.assertEqual(len(found), len(expected), found)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)

    def test_the_latest_chunk_replaces_the_rest_of_the_older(self):
        queue = ChunkQueue()
        self.assertTrue(queue.push(0, 0, chunk(0, 1, 2, 3)))
        self.assertTrue(queue.push(2, 2, chunk(20, 30)))
        self.assertEqual(played(queue, 2), [20, 30])
        self.assertEqual(queue.remaining(3), 1)
        # One that is shorter ends where it ends: the rest of the older is out of date.
        self.assertTrue(queue.push(2, 3, chunk(7)))
        self.assertEqual(played(queue, 2), [20, 7])

    def test_a_chunk_that_ends_earlier_ends_the_queue(self):
        for merge in ["latest", "weighted:1", "ensemble"]:
            queue = ChunkQueue(merge)
            queue.push(0, 0, chunk(5, 5, 5, 5))
            queue.push(1, 1, chunk(5, 5))
            self.assertEqual(played(queue, 1), [5, 5])

    def test_an_older_or_repeated_chunk_or_one_of_the_past_is_not_taken(self):
        queue = ChunkQueue()
        queue.push(5, 5, chunk(1, 1.5))
        self.assertFalse(queue.push(5, 5, chunk(2)))
        self.assertFalse(queue.push(5, 4, chunk(3, 4)))
        self.assertFalse(queue.push(8, 6, chunk(5, 6)), "it ends at tick 8")
        self.assertEqual(played(queue, 5), [1, 1.5])

    def test_what_lies_before_the_chunk_is_not_played(self):
        queue = ChunkQueue()
        queue.push(4, 5, chunk(1))
        self.assertIsNone(queue.action(4))
        self.assertEqual(queue.remaining(4), 1)
        queue.clear()
        self.assertEqual(queue.remaining(5), 0)
        self.assertTrue(queue.push(0, 1, chunk(2)), "a new episode begins at any tick")
        # A chunk far ahead leaves no gap to fill.
        self.assertTrue(queue.push(1, 1 << 60, chunk(3)))
        self.assertIsNone(queue.action(1))
        self.assertEqual(queue.remaining(1), 1)

    def test_a_late_chunk_is_played_from_now_on(self):
        queue = ChunkQueue()
        queue.push(0, 0, chunk(0, 1, 2, 3))
        # Seen at tick 1, here at tick 3.
        self.assertTrue(queue.push(3, 1, chunk(10, 20, 30, 40)))
        self.assertEqual(played(queue, 3), [30, 40])

    def test_a_weighted_mean_is_that_of_old_and_new(self):
        queue = ChunkQueue("weighted:0.7")
        queue.push(0, 0, chunk(0, 10, 20))
        queue.push(1, 1, chunk(20, 30, 40))
        # 0.3 * 10 + 0.7 * 20, 0.3 * 20 + 0.7 * 30, and what only the new one has.
        self.close(played(queue, 1), [17, 27, 40])
        queue.push(2, 2, chunk(0, 0, 0))
        self.close(played(queue, 2), [0.3 * 27, 0.3 * 40, 0])

    def test_an_ensemble_counts_the_oldest_most(self):
        queue = ChunkQueue("ensemble:0.5")
        queue.push(0, 0, chunk(0, 1, 2))
        queue.push(1, 1, chunk(4, 5, 6))
        queue.push(2, 2, chunk(7, 8, 9))
        weights = [1, math.exp(-0.5), math.exp(-1)]

        def mean(*values):
            weighted = zip(values, weights, strict=False)
            return sum(v * w for v, w in weighted) / sum(weights[: len(values)])

        self.close(played(queue, 2), [mean(2, 5, 7), mean(6, 8), 9])
        plain = ChunkQueue("ensemble:0")
        plain.push(0, 0, chunk(0, 0, 0))
        plain.push(1, 1, chunk(3, 3))
        plain.push(2, 2, chunk(6))
        self.close(played(plain, 2), [3])

    def test_a_hold_keeps_what_is_under_way_and_then_gives_way(self):
        queue = ChunkQueue("hold:2:3")
        queue.push(0, 0, chunk(*[0] * 8))
        # Ticks 1 and 2 stay, 3 to 5 give way.
        self.assertTrue(queue.push(1, 1, chunk(*[8] * 8)))
        self.close(played(queue, 1), [0, 0, 2, 4, 6, 8, 8, 8])
        # Where the old one has nothing to hold, the new one is played.
        short = ChunkQueue("hold:4:0")
        short.push(0, 0, chunk(1, 1))
        short.push(1, 1, chunk(5, 6, 7))
        self.close(played(short, 1), [1, 6, 7])

    def test_a_chunk_is_copied(self):
        queue, actions = ChunkQueue(), chunk(1, 2)
        queue.push(0, 0, actions)
        actions[:] = 9
        self.assertEqual(played(queue, 0), [1, 2])


class AWayToMergeIsReadFromItsName(unittest.TestCase):
    def test_every_form_comes_back_as_it_was(self):
        for text in ["latest", "weighted:0.25", "weighted:1", "ensemble:0.5", "hold:4:8"]:
            self.assertEqual(str(Merge.parse(text)), text)
        self.assertEqual(str(Merge.parse("weighted")), "weighted:0.7")
        self.assertEqual(str(Merge.parse("ensemble")), "ensemble:0.01")

    def test_anything_else_is_an_error_that_names_the_forms(self):
        wrong = ["", "newest", "weighted:0", "weighted:2", "weighted:nan", "weighted: 1"]
        wrong += ["ensemble:-1", "ensemble:1e60", "hold:4", "hold:a:b", "hold:-1:2", "latest:1"]
        for text in wrong:
            with self.assertRaises(PolicyError) as caught:
                Merge.parse(text)
            self.assertEqual(caught.exception.code, "BAD_OPTION")
            self.assertIn("hold:FROZEN:RAMP", caught.exception.detail)
            self.assertTrue(caught.exception.detail.endswith(f"`{text}`"))


if __name__ == "__main__":
    unittest.main()
