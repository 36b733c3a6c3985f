"""Parse pickles without executing them: nothing that a pickle names is imported or called.

A pickle is a program for a stack machine. Most opcodes push a value, or replace the top of the stack by a
list, dict or tuple of it. REDUCE and similar opcodes call a function. Here they push a `Call` instead:

    opcode    GLOBAL              | BININT1 | TUPLE1 | TUPLE1  | REDUCE
    top       Name("torch.Size")  | 3       | (3,)   | ((3,),) | Call(Name("torch.Size"), ((3,),))

Opcodes: Lib/pickletools.py in Python.
"""

import io
import pickletools
from dataclasses import dataclass

from loading.untrusted_files import CheckpointError, error_context

# Limits for a small file; those of a large file grow with it. GPT-2 1558M with the state of its optimizer
# needs a tenth of the bytes and half of the opcodes. A history of losses beside the weights needs more.
MAX_PICKLE_SIZE = 2**22
MAX_OPCODES = 200_000  # an opcode, one byte in the file, can take 250 bytes of memory
BYTES_PER_OPCODE = 100  # of a large file
MAX_LINE_SIZE = 200  # of a name, or of a decimal number: its time is quadratic
MAX_INT_BITS = 256  # the state of a random generator needs 128
MAX_INT_KEY = 2**60  # larger integers can have equal hashes, and then a dict takes quadratic time


@dataclass(frozen=True)
class Name:
    """The name of a function or class, "module.name"."""

    text: str


@dataclass(eq=False)
class Call:
    """A call that does not happen: a function, usually a Name, and its arguments, usually a tuple."""

    function: object
    arguments: object


def make_call(function, arguments):
    """Return {} for OrderedDict(), else a Call."""
    match function, arguments:
        case Name("collections.OrderedDict"), ():
            return {}
    return Call(function, arguments)


def parse_pickle(data, find_persistent=lambda persistent_id: persistent_id, call=make_call, file_size=0):
    """Parse the pickle at the start of `data`.

    Args:
        data: bytes. More bytes may follow the pickle.
        file_size: the size of the file that contains the pickle. It limits the work.
        find_persistent: a function from a persistent id to the object with this id.
        call: a function from (function, arguments) to the result of a call.

    Returns:
        value: plain values, Names and Calls, in lists, dicts, sets and tuples. An OrderedDict is a dict. Keys
            of dicts are plain values, Names and Calls: see `to_key`.
        size: the number of bytes of the pickle.

    Raises:
        CheckpointError: the pickle is damaged, too large, or has an unsupported opcode.
    """
    with error_context("the pickle"):
        try:
            file = PickleFile(data[: max(MAX_PICKLE_SIZE, file_size // 4)])
            return run_opcodes(file, find_persistent, call, max(MAX_OPCODES, file_size // BYTES_PER_OPCODE))
        except (LookupError, TypeError):  # an operand is missing, or has the wrong type
            raise CheckpointError("an opcode does not fit its operands") from None


class PickleFile(io.BytesIO):
    """A file in memory, from which pickletools reads the opcodes."""

    def readline(self):
        """Read a line of limited size."""
        line = super().readline(MAX_LINE_SIZE)
        if b"\\" in line:  # Python warns of some escape sequences; torch.save writes none
            raise CheckpointError("a name has a backslash")
        return line


def run_opcodes(file, find_persistent, call, max_opcodes):
    """Run the stack machine. Arguments and results as in `parse_pickle`."""
    functions = {**FUNCTIONS, "PERSID": find_persistent, "BINPERSID": find_persistent, "REDUCE": call}
    stack, marks, memo = [], [], {}  # a mark is a position in the stack
    for n, (opcode, argument, position) in enumerate(pickletools.genops(file)):
        if n == max_opcodes:
            raise CheckpointError(f"it has more than {max_opcodes} opcodes")
        if type(argument) is int and argument.bit_length() > MAX_INT_BITS:
            raise CheckpointError(f"an integer has more than {MAX_INT_BITS} bits")
        operands = pop_operands(stack, marks, opcode)
        match opcode.name:
            case "STOP":
                return operands[0], position + 1
            case "MARK":
                marks.append(len(stack))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = operands[0]
                stack += operands
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "DUP":
                stack += operands * 2
            case "POP" | "POP_MARK" | "PROTO" | "FRAME":
                pass
            case name:
                arguments = [argument, *operands] if opcode.arg else operands
                stack.append(functions[name](*arguments))


def pop_operands(stack, marks, opcode):
    """Remove the operands of an opcode from the stack -> a list. All values above a mark are one operand."""
    kinds = opcode.stack_before
    n_operands, above_mark = len(kinds), []
    if pickletools.markobject in kinds:
        n_operands = kinds.index(pickletools.markobject)
        start = marks.pop()
        above_mark = [stack[start:]]
        del stack[start:]
    start = len(stack) - n_operands
    if start < (marks[-1] if marks else 0):
        raise CheckpointError(f"opcode {opcode.name} has too few operands")
    operands = stack[start:] + above_mark
    del stack[start:]
    return operands


def join_name(module, name):
    """Make a Name of its two parts. Their limited size bounds the memory: a pickle can repeat them."""
    if len(module) > MAX_LINE_SIZE or len(name) > MAX_LINE_SIZE:
        raise CheckpointError(f"a name has more than {MAX_LINE_SIZE} characters")
    return Name(".".join((module, name)))


def add_items(target, items):
    """Add items to a list, set or dict. A dict takes keys and values in turn. A Call drops its items."""
    if type(target) is list:
        target += items
    elif type(target) is set:
        target.update(map(to_key, items))
    elif type(target) is dict and len(items) % 2 == 0:
        target.update(zip(map(to_key, items[::2]), items[1::2], strict=True))
    elif type(target) is not Call:
        raise CheckpointError("it adds items to another value than a list, set or dict")
    return target


def to_key(value):
    """Keep a plain value, Name or Call as key of a dict. Wrap others in a Call, whose hash is its identity.

    The hash of nested tuples can take exponential time or overflow the stack of the process.
    """
    if type(value) in (tuple, frozenset) or (type(value) is int and abs(value) > MAX_INT_KEY):
        return Call(Name(type(value).__name__), value)
    return value


def same(value):
    return value


# The arguments of each function are the argument of the opcode, if it has one, and then its operands.
FUNCTIONS = {
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "BINFLOAT"), same),
    **dict.fromkeys(("SHORT_BINSTRING", "BINSTRING", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), same),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"), same),
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "LIST": list,
    "TUPLE": tuple,
    "TUPLE1": lambda *items: items,
    "TUPLE2": lambda *items: items,
    "TUPLE3": lambda *items: items,
    "DICT": lambda items: add_items({}, items),
    "FROZENSET": lambda items: frozenset(map(to_key, items)),
    "APPEND": lambda target, *items: add_items(target, items),
    "SETITEM": lambda target, *items: add_items(target, items),
    "APPENDS": add_items,
    "SETITEMS": add_items,
    "ADDITEMS": add_items,
    "GLOBAL": lambda names: Name(names.replace(" ", ".", 1)),
    "STACK_GLOBAL": join_name,
    "INST": lambda names, items: Call(Name(names.replace(" ", ".", 1)), tuple(items)),
    "OBJ": lambda items: Call(items[0], tuple(items[1:])),
    "NEWOBJ": Call,
    "NEWOBJ_EX": lambda cls, arguments, keywords: Call(cls, arguments),
    "BUILD": lambda value, state: value,
}
