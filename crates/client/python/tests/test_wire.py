"""Bytes of the protocol: what is sent, and that what is received cannot do harm."""

import random
import unittest

import msgpack
import numpy as np

from engraft_client import PolicyError
from engraft_client.wire import MAX_BYTES, decode, encode


def reply():
    """The frames of a message with two arrays."""
    arrays = [
        ("actions", np.arange(6, dtype="<f4").reshape(2, 3)),
        ("rgb.0", np.zeros((1, 2, 2, 3), np.uint8)),
    ]
    return [bytes(frame) for frame in encode("reply", {"seq": 3, "session": bytes(16)}, arrays)]


class TheWire(unittest.TestCase):
    def test_a_message_comes_back_as_it_was(self):
        message = decode(reply())
        self.assertEqual((message.kind, message.get("seq", int)), ("reply", 3))
        np.testing.assert_array_equal(message.arrays["actions"], [[0, 1, 2], [3, 4, 5]])
        self.assertEqual(message.arrays["rgb.0"].shape, (1, 2, 2, 3))

    def test_the_header_is_the_one_of_the_protocol(self):
        header = msgpack.unpackb(reply()[0])
        self.assertEqual((header["v"], header["t"]), (1, "reply"))
        expected = [
            {"k": "actions", "d": "f4", "s": [2, 3]},
            {"k": "rgb.0", "d": "u1", "s": [1, 2, 2, 3]},
        ]
        self.assertEqual(header["arrays"], expected)

    def test_arrays_are_not_copied(self):
        picture = np.zeros((1, 8, 8, 3), np.uint8)
        frames = encode("infer", {}, [("rgb.0", picture)])
        picture[:] = 7
        self.assertEqual(bytes(frames[1]), b"\7" * 192)

    def test_an_array_without_values_is_an_empty_frame(self):
        frames = encode("infer", {}, [("proprio", np.zeros((2, 0), "<f4"))])
        self.assertEqual(frames[1], b"")
        self.assertEqual(decode([bytes(f) for f in frames]).arrays["proprio"].shape, (2, 0))

    def test_what_is_too_large_is_not_sent(self):
        big = [("rgb.0", np.zeros((1, 2400, 2400, 3), np.uint8))]
        many = [(f"rgb.{i}", np.zeros((1, 1, 1, 3), np.uint8)) for i in range(40)]
        for fields, arrays, word in [
            ({}, big, f"bytes of the message: expected at most {MAX_BYTES}"),
            ({}, many, "frames of the message"),
            ({"client": "x" * 70_000}, [], "bytes of the header"),
        ]:
            with self.assertRaises(PolicyError) as caught:
                encode("infer", fields, arrays)
            self.assertEqual(caught.exception.code, "TOO_LARGE")
            self.assertIn(word, str(caught.exception))

    def test_every_truncation_and_every_wrong_byte_is_an_error_or_a_message(self):
        frames, rng = reply(), random.Random(1)
        for i, frame in enumerate(frames):
            for length in range(len(frame)):
                with self.assertRaises(PolicyError):
                    decode([*frames[:i], frame[:length], *frames[i + 1 :]])
        for _ in range(3000):
            header = bytearray(frames[0])
            for _ in range(rng.randrange(1, 4)):
                header[rng.randrange(len(header))] = rng.randrange(256)
            try:
                message = decode([bytes(header), *frames[1:]])
                message.get("seq", int)
            except PolicyError as error:
                self.assertNotIn("\n", str(error))

    def test_what_is_missing_or_of_another_type_is_named(self):
        message = decode([msgpack.packb({"v": 1, "t": "pong", "seq": True})])
        for name, found in [("seq", "bool"), ("session", "nothing")]:
            with self.assertRaises(PolicyError) as caught:
                message.get(name, int)
            self.assertEqual(caught.exception.code, "BAD_REPLY")
            self.assertIn(f"`{name}` of `pong`: expected int, found {found}", str(caught.exception))

    def test_another_version_is_named(self):
        with self.assertRaises(PolicyError) as caught:
            decode([msgpack.packb({"v": 2, "t": "pong"})])
        self.assertEqual(caught.exception.code, "BAD_VERSION")


if __name__ == "__main__":
    unittest.main()
