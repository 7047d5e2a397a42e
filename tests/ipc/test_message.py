# SPDX-License-Identifier: Apache-2.0
"""The message codec against Python's msgpack and against the rows of ipc/keys.h, written down in
keys.py a second time: every kind, every key at its limits, every way to be malformed, random damage.

    test_message.py MESSAGE_TOOL       prints TAP
"""
import random
import subprocess
import sys

import msgpack

from keys import BYTES, KEYS, NUMBER, TEXT, U32, U64
from tap import finish, report

NUMBER_OF = {name: key for key, (name, *_) in enumerate(KEYS)}
MODEL_KEYS = "DIGEST PRECISION BACKEND MODEL SYNTHETIC HIDDEN POSITIONS "
# kind: required keys beside KIND, optional ones
KINDS = {
    1: ("PROTOCOL_VERSION PROGRAM POOLING DTYPE", "EXPECT"),
    2: (MODEL_KEYS + "ALPHABET RING_MAX ONE_SHOT_LIMIT", ""),
    3: ("CODE TEXT RETRY", ""), 4: ("TAG SEQUENCE", ""), 5: ("TAG RECORD_STATUS ROWS DATA", ""),
    6: ("SUBMISSION_SIZE COMPLETION_SIZE", ""), 7: ("PROTOCOL_VERSION", ""),
    8: (MODEL_KEYS + " ".join(name for name, *_ in KEYS[NUMBER_OF["VERSION"]:] if name != "DEVICE"),
        "DEVICE"),
    9: ("PROTOCOL_VERSION", ""), 10: ("", ""),
}

dice = random.Random(1)
tool = sys.argv[1]


def run(messages):
    """Decodes each: None for a refused one, else (what it holds, its re-encoding)."""
    lines = "".join(message.hex() + "\n" for message in messages)
    done = subprocess.run([tool], input=lines, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"Bail out! {tool}: status {done.returncode}\n{done.stderr}")
    answers = done.stdout.splitlines()
    assert len(answers) == len(messages)
    return [None if answer == "bad" else parse(answer) for answer in answers]


def parse(answer):
    held, again = answer.split("|")
    values = {}
    for item in held.split():
        if "=" in item:
            key, value = item.split("=")
            values[int(key)] = int(value)
        else:
            key, value = item.split(":")
            values[int(key)] = bytes.fromhex(value)
    return values, bytes.fromhex(again)


def value_of(key, size=None):
    _, kind, least, most = KEYS[key]
    most = 5000 if most is None else most
    if kind is NUMBER:
        return dice.choice([least, most, dice.randint(least, most)]) if size is None else size
    length = dice.choice([least, most, dice.randint(least, most)]) if size is None else size
    if kind is BYTES:
        return dice.randbytes(length)
    text = "".join(dice.choice("abc/.-_ 09\u00e9") for _ in range(length)).encode()[:length]
    text = text.decode(errors="ignore")
    return text + " " * (length - len(text.encode()))


def keys_of(kind, optional=True):
    required, more = KINDS[kind]
    return [NUMBER_OF[name] for name in (required + (" " + more if optional else "")).split()]


def message_of(kind):
    return {0: kind, **{key: value_of(key) for key in keys_of(kind, dice.random() < 0.5)}}


def plain(message):
    return {key: value.encode() if isinstance(value, str) else value
            for key, value in message.items()}


def pack_wide(message):
    """The same map in the longest encodings that msgpack has."""
    out = b"\xdf" + len(message).to_bytes(4, "big")
    for key, value in message.items():
        out += b"\xcf" + key.to_bytes(8, "big")
        if isinstance(value, int):
            out += b"\xcf" + value.to_bytes(8, "big")
        else:
            data = value.encode() if isinstance(value, str) else value
            out += (b"\xdb" if isinstance(value, str) else b"\xc6")
            out += len(data).to_bytes(4, "big") + data
    return out


def check_rows():
    """The rows are those that keys.py pins: no number, type or limit ever changes."""
    types = {NUMBER: "number", TEXT: "text", BYTES: "bytes"}
    text = subprocess.run([tool, "rows"], capture_output=True, text=True, check=True).stdout
    rows = {int(row.split()[0]): row.split()[1:5] for row in text.splitlines()}
    pinned = {number: ["WIRE_" + name, types[kind], str(least), str(65536 if most is None else most)]
              for number, (name, kind, least, most) in enumerate(KEYS)}
    # That of this protocol version is the only one whose message is read to its end.
    pinned[1][2:] = ["0", str(U32)]
    report("the keys are those of this protocol version",
           [f"key {number}: {rows.get(number)}, not {pinned.get(number)}"
            for number in sorted(rows.keys() | pinned) if rows.get(number) != pinned.get(number)])


def check_round_trip():
    problems = []
    truths = [message_of(kind) for kind in KINDS for _ in range(200)]
    truths.append({**message_of(5), NUMBER_OF["DATA"]: dice.randbytes(65000)})
    for pack in (msgpack.packb, pack_wide):
        packed = [pack(truth) for truth in truths]
        for truth, data, answer in zip(truths, packed, run(packed)):
            if len(data) > 65536:
                continue
            if answer is None:
                problems.append(f"kind {truth[0]} refused: {data[:80].hex()}")
                continue
            again = msgpack.unpackb(answer[1], strict_map_key=False)
            if answer[0] != plain(truth) or again != truth:
                problems.append(f"kind {truth[0]} came out as something else")
    report("what Python packs is read, and the other way round", problems)


def expect_refused(name, messages):
    problems = [data[:60].hex() for data, answer in zip(messages, run(messages)) if answer]
    report(name, problems)


def check_limits():
    accepted, refused = [], []
    for kind in KINDS:
        for key in keys_of(kind):
            name, type_, least, most = KEYS[key]
            if name == "PROTOCOL_VERSION":
                continue  # see check_versions()
            for value, good in ((least, True), (most, True), (least - 1, False),
                                (None if most is None else most + 1, False)):
                if value is None or value < 0 or value > U64:
                    continue
                message = {**message_of(kind), key: value_of(key, value)}
                (accepted if good else refused).append(msgpack.packb(message))
    report("values at their limits are read",
           [data[:60].hex() for data, answer in zip(accepted, run(accepted)) if not answer])
    expect_refused("values beyond their limits are not", refused)


def check_keys():
    refused = []
    for kind in KINDS:
        required = set(keys_of(kind, False))
        for key in range(len(KEYS) + 3):
            message = message_of(kind)
            if key in required or key == 0:
                del message[key]
            elif key < len(KEYS) and key in keys_of(kind):
                continue
            else:
                message[key] = value_of(key) if key < len(KEYS) else 1
            refused.append(msgpack.packb(message))
    expect_refused("a key too few or too many", refused)
    refused = []
    for kind in KINDS:
        packed = msgpack.packb(message_of(kind))
        count = msgpack.unpackb(packed, strict_map_key=False)
        body = packed[1:] if packed[0] < 0x90 else packed[3:]
        for key in count:
            twice = msgpack.packb(key) + msgpack.packb(count[key])
            refused.append(b"\xde" + (len(count) + 1).to_bytes(2, "big") + body + twice)
    expect_refused("a key twice", refused)
    expect_refused("kinds that are not", [msgpack.packb({0: kind}) for kind in (0, 11, 127, 2**40)])


def check_types():
    wrong = [None, True, 1.5, -1, -2**40, [], [1], {}, {1: 2}, msgpack.ExtType(1, b"x")]
    refused = []
    for kind in KINDS:
        for key in [0, *keys_of(kind, True)]:
            type_ = KEYS[key][1]
            others = wrong + ([b"1", "1"] if type_ is NUMBER else
                              [1, value_of(key)] if type_ is TEXT else [1, "A" * 32])
            for value in others:
                if type_ is TEXT and isinstance(value, str):
                    value = value.encode()  # bytes where a text belongs
                refused.append(msgpack.packb({**message_of(kind), key: value}))
    for key in ("0", b"0", None, -1, 1.0, True, U64):
        refused.append(msgpack.packb({0: 10, key: 1}))
    for whole in (None, 1, "x", b"x", [], [0, 10], 1.5):
        refused.append(msgpack.packb(whole))
    expect_refused("values of another type", refused)


def check_cuts():
    refused = [b"", b"\xc1", b"\xc1\xc1", b"\x80", b"\xde\xff\xff", b"\xdf\xff\xff\xff\xff"]
    for kind in KINDS:
        packed = msgpack.packb(message_of(kind))[:2000]
        refused += [packed[:length] for length in range(len(packed) - 1)]
        whole = msgpack.packb({**message_of(10)})
        refused += [whole + b"\x00", whole + whole]
    data = {**message_of(5), NUMBER_OF["DATA"]: bytes(65536)}
    refused.append(msgpack.packb(data))
    expect_refused("cut short, trailing bytes, too long", refused)


def first_keys(pairs):
    """A decoded map, up to the version when that is another one: (map, whether it is)."""
    for number, (key, version) in enumerate(pairs):
        if key == 1 and version != 1:
            return {0: dict(pairs[:number]).get(0), 1: version}, True
    return dict(pairs), False


def check_versions():
    """Of another version the kind and the version are read, whatever follows; nothing else is."""
    later, refused = [], []
    for kind in KINDS:
        for version in (0, 2, 255, U32):
            for rest in ({}, {99: 1}, {2: None, "x": [1, {2: -1.5}], 0: 7, 1: 1}, {3: bytes(9000)},
                         {4: msgpack.ExtType(1, b"x"), 5: [[]]}, {key: 0 for key in range(70, 170)}):
                data = b"\xde" + (2 + len(rest)).to_bytes(2, "big") + msgpack.packb(0)
                data += msgpack.packb(kind) + msgpack.packb(1) + msgpack.packb(version)
                data += b"".join(msgpack.packb(one) for item in rest.items() for one in item)
                if kind in (1, 7, 9):
                    later.append((data, {0: kind, 1: version}))
                    refused += [data[:-1], data + b"\0"]
                    refused += [data[:-1] + b"\xc1"] if rest == {99: 1} else []
                else:
                    refused.append(data)
    refused += [msgpack.packb({0: 1, 1: U32 + 1}), msgpack.packb({0: 1, 9: {}, 1: 2}),
                msgpack.packb({0: 1, 1: -2}), msgpack.packb({1: 2})]
    answers = run([data for data, _ in later])
    report("of later versions the version is read",
           [data[:60].hex() for (data, truth), answer in zip(later, answers)
            if not answer or answer[0] != truth])
    expect_refused("and nothing that is no message", refused)


def damaged(packed):
    data = bytearray(packed)
    for _ in range(dice.randint(1, 3)):
        where = dice.randrange(len(data))
        how = dice.randrange(4)
        if how == 0:
            data[where] = dice.randrange(256)
        elif how == 1:
            data[where] ^= 1 << dice.randrange(8)
        elif how == 2 and len(data) > 1:
            del data[where]
        else:
            data.insert(where, dice.choice([0, 0x80, 0xC1, 0xC4, 0xCF, 0xD9, 0xDF, 0xFF]))
    return bytes(data)


def allowed(values):
    """What the table says of a decoded map of Python values (texts as bytes)."""
    kind = values.get(0)
    if not isinstance(kind, int) or kind not in KINDS:
        return False
    keys = set(values) - {0}
    return set(keys_of(kind, False)) <= keys <= set(keys_of(kind))


def check_damage():
    problems = []
    accepted = 0
    messages = [damaged(msgpack.packb(message_of(dice.choice([1, 2, 3, 4, 6, 7, 8, 9, 10]))))
                for _ in range(20000)]
    for data, answer in zip(messages, run(messages)):
        if answer is None:
            continue
        accepted += 1
        try:
            pairs = msgpack.unpackb(data, raw=True, strict_map_key=False,
                                    object_pairs_hook=list)
        except ValueError:
            problems.append(f"not msgpack, yet read: {data[:60].hex()}")
            continue
        truth, other = first_keys(pairs)
        if answer[0] != truth or not (truth.get(0) in (1, 7, 9) if other else allowed(truth)):
            problems.append(f"read as something else: {data[:60].hex()}")
    if not 500 < accepted < 19500:
        problems.append(f"{accepted} of 20000 damaged messages were read: the test shows little")
    report("damaged messages are refused or mean what Python reads", problems)


check_rows()
check_round_trip()
check_limits()
check_keys()
check_types()
check_cuts()
check_damage()
check_versions()
finish()
