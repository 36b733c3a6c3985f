"""The pickle parser against Python's own, and against pickles that attack it."""

import pickle
import struct
import time
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoint_fuzzer import MAX_SECONDS, limited_memory
from support.pytorch_writer import name, plain, sequence

from loading.pickle_parser import MAX_OPCODES, Call, Name, parse_pickle
from loading.untrusted_files import CheckpointError

integers = st.integers(-(2**200), 2**200)
keys = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(), st.binary())
numbers = st.floats(allow_nan=False)
plain_values = st.recursive(
    st.one_of(keys, integers, numbers),
    lambda items: st.one_of(
        st.lists(items),
        st.lists(items).map(tuple),
        st.dictionaries(keys, items),
        st.dictionaries(keys, items).map(OrderedDict),
        st.sets(keys),
        st.frozensets(keys),
    ),
)


@given(plain_values, st.sampled_from([4, 5]), st.binary())
def test_plain_values_are_those_of_pickle(value, protocol, rest):
    data = pickle.dumps(value, protocol)
    assert parse_pickle(data + rest) == (value, len(data))


@given(st.recursive(st.one_of(st.none(), st.booleans(), integers, numbers, st.text()), st.lists))
def test_protocols_1_to_3_are_parsed(value):
    for protocol in (1, 2, 3):
        data = pickle.dumps([value, value, {"a": (value,)}], protocol)
        assert parse_pickle(data) == ([value, value, {"a": (value,)}], len(data))


def test_shared_and_cyclic_values_stay_shared():
    shared = ["a"]
    shared.append(shared)
    (first, second), _ = parse_pickle(pickle.dumps([shared, shared]))
    assert first is second is first[1]
    assert first[0] == "a"


class Config:
    """An object with a state, as some checkpoints contain."""

    def __init__(self):
        self.n_layer = 2


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_objects_become_calls(protocol):
    content = {"config": Config(), "class": Config, "path": Path("x"), "weights": [1.5]}
    parsed, _ = parse_pickle(pickle.dumps(content, protocol))
    assert parsed["weights"] == [1.5]
    assert parsed["class"] == Name(f"{__name__}.Config")
    assert type(parsed["config"]) is type(parsed["path"]) is Call


def test_subclasses_of_containers_become_calls():
    class_call = name("a", "List") + b")\x81"
    for items in (b"K\x01a", b"(K\x01K\x02e", b"K\x01K\x02s", b"(K\x01K\x02u", b"(K\x01\x90", b"}b"):
        parsed, _ = parse_pickle(class_call + items + b".")
        assert (parsed.function, parsed.arguments) == (Name("a.List"), ())


def test_keys_that_are_slow_to_hash_become_calls():
    key = ("a", (1, 2))
    parsed, _ = parse_pickle(pickle.dumps({key: 1, 2**70: 2, "a": 3}))
    assert parsed.pop("a") == 3
    assert [call.arguments for call in parsed] == [key, 2**70]


# Attacks.


def exploits(argument):
    """Pickles that would call os.mkdir(argument), in each way that a pickle has."""
    mkdir, arguments = name("posix", "mkdir"), sequence(plain(argument))
    text = plain(argument)
    stack_global = plain("posix") + plain("mkdir") + b"\x93"
    nested = plain("pathlib") + plain("os.mkdir") + b"\x93"
    evaluate = name("builtins", "eval") + sequence(plain(f"__import__('os').mkdir({argument!r})"))
    set_state = name("a", "B") + b")\x81" + sequence(plain({"__setstate__": 1})) + b"b"
    return {
        "REDUCE": mkdir + arguments + b"R.",
        "eval": evaluate + b"R.",
        "STACK_GLOBAL": b"\x80\x04" + stack_global + arguments + b"R.",
        "a nested name": b"\x80\x04" + nested + arguments + b"R.",
        "getattr": name("builtins", "getattr")
        + sequence(mkdir, plain("__call__"))
        + b"R"
        + arguments
        + b"R.",
        "INST": b"(" + text + b"iposix\nmkdir\n.",
        "OBJ": b"(" + mkdir + text + b"o.",
        "NEWOBJ": mkdir + arguments + b"\x81.",
        "NEWOBJ_EX": mkdir + arguments + b"}\x92.",
        "BUILD": set_state + b".",
        "a persistent id": mkdir + arguments + b"RQ.",
        "in a dict": b"}" + plain("a") + mkdir + arguments + b"Rs.",
        "as a key": b"}" + mkdir + arguments + b"RNs.",
        "in the memo": mkdir + b"q\x00" + b"0h\x00" + arguments + b"R.",
    }


@pytest.mark.parametrize("attack", exploits(""))
def test_nothing_is_called(attack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value, _ = parse_pickle(exploits("trapped")[attack])
    assert isinstance(value, (Call, dict))
    assert list(tmp_path.iterdir()) == []


def test_the_exploits_work_with_pickle(tmp_path, monkeypatch):
    """Without this, the test above could pass with harmless pickles."""
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("posix")
    for attack in ("REDUCE", "eval", "STACK_GLOBAL", "getattr", "INST", "OBJ", "in a dict", "in the memo"):
        pickle.loads(exploits(attack)[attack])
        assert (tmp_path / attack).is_dir()


N = MAX_OPCODES - 10
BOMBS = {
    "sets": b"\x8f" * N,
    "sets in the memo": b"\x8f\x94" * (N // 2),
    "dicts with an item": b"}NNs" * (N // 4),
    "nested lists": b"]" * (N // 2) + b"a" * (N // 2 - 1),
    "nested tuples": b")" + b"\x85" * (N - 2),
    "nested tuples as a key": b"}" + b")" + b"\x85" * (N - 5) + b"Ns",
    "nested calls": name("a", "b") + b"q\x00)" + b"q\x01h\x00h\x01\x85R" * (N // 5 - 1),
    "billion laughs": b")" + b"2\x86" * (N // 2 - 1),
    "billion laughs as a key": b"}" + b")" + b"2\x86" * (N // 2 - 3) + b"Ns",
    "billion laughs in a set": b"\x8f()" + b"2\x86" * (N // 2 - 3) + b"\x90",
    "long names": plain("a" * 200) + b"q\x00" + b"h\x00h\x00\x93" * (N // 3 - 1),
    "very long names": plain("a" * 10**6) + b"q\x00" + b"h\x00h\x00\x93" * (N // 3 - 1),
    "equal hashes": b"}(" + b"".join(plain(n * (2**61 - 1)) + b"N" for n in range(1, N // 2 - 2)) + b"u",
    "long decimal number": b"L" + b"1" * 4_000_000 + b"L\n",
    "long number": b"\x8b" + struct.pack("<i", 4_000_000) + b"\x01" * 4_000_000,
    "wide characters": plain("a" * 4_000_000 + "\U0001f642"),
    "too many opcodes": b"N" * 10**6,
    "too many bytes": plain(b"a" * 5_000_000),
    "huge memo index": b"Nr\xff\xff\xff\xff",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_bombs_are_parsed_or_rejected_within_limits(bomb):
    start = time.process_time()
    try:
        with limited_memory():
            parse_pickle(bomb + b".")
    except CheckpointError:
        pass
    assert time.process_time() - start < MAX_SECONDS


BROKEN = {
    "empty": b"",
    "no end": b"N",
    "no value": b".",
    "too few operands": b"K\x01\x86.",
    "an operand before the mark": b"K\x01(K\x02\x86.",
    "no mark": b"K\x01t.",
    "nothing to store": b"q\x00.",
    "unknown in the memo": b"h\x00.",
    "unknown opcode": b"\xff.",
    "out-of-band data": b"\x97.",
    "extension": b"\x82\x01.",
    "items for a number": b"K\x01Na.",
    "items for a tuple": b")(NNu.",
    "a list as a key": b"}]Ns.",
    "a dict in a set": b"\x8f(}\x90.",
    "a key without a value": b"}(Nu.",
    "name without a text": b"NN\x93.",
    "OBJ without a class": b"(o.",
    "not ASCII": b"c\xff\nb\n.",
    "not UTF-8": b"X\x01\0\0\0\xff.",
    "a backslash": b"ca\\d\nb\n.",
    "not a number": b"Iabc\n.",
    "an empty number": b"I\n.",
    "a longer text than the file": b"X\xff\xff\xff\x7fa.",
    "a much longer text": b"\x8d" + b"\xff" * 8 + b".",
    "a negative length": b"\x8b" + b"\xff" * 4 + b".",
    "300 bits": plain(2**300) + b".",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_every_broken_pickle_is_rejected(data):
    with pytest.raises(CheckpointError, match="the pickle: "):
        parse_pickle(data)


def test_every_truncated_pickle_is_rejected():
    data = pickle.dumps({"a": [1, 2.5, "b", b"c", None, True, 2**80], "d": Config()})
    for size in range(len(data)):
        with pytest.raises(CheckpointError):
            parse_pickle(data[:size])
