"""Change files of torch.save at random: the opcodes of their pickles, or the members of a zip archive."""

import io
import pickletools
import zipfile

from support.pytorch_writer import plain, zip_archive

NUMBERS = (0, 1, -1, 2, 127, 255, 2**31 - 1, 2**32, 2**62, 2**63 - 1, 2**64 - 1, 10**30, 2**300)
TEXTS = ("", "0", "1", "../0", "storage", "module", "model", "a" * 1000)
VALUES = (*NUMBERS, *TEXTS, None, True, (), [], {}, (1,), [1], {"a": 1}, 0.5, b"x")
NAMES = (
    *("torch FloatStorage", "torch HalfStorage", "torch LongStorage", "torch CharStorage", "torch Size"),
    *("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"),
    *("torch._utils _rebuild_parameter_with_state", "torch._tensor _rebuild_from_type_v2"),
    *("collections OrderedDict", "builtins eval"),
)
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


def change_pytorch(content, rng):
    """Change the content of a file of torch.save at random, by its format. The result is intact as a zip."""
    if not content.startswith(b"PK"):
        return change_legacy(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("/data.pkl"))
    if rng.random() < 0.2:
        name = rng.choice(list(members))
    if rng.random() < 0.1:
        members[rng.choice(("x", "archive/data/0", "archive/data/99", "b/data.pkl"))] = members.pop(name)
    elif name.endswith(".pkl"):
        members[name] = change_pickle(members[name], rng)
    else:
        members[name] = members[name][: rng.randrange(len(members[name]) + 1)] * rng.choice((1, 1, 2))
    return zip_archive(members, zipfile.ZIP_STORED if rng.random() < 0.98 else zipfile.ZIP_DEFLATED)


def change_legacy(content, rng):
    """Change one of the five pickles of a legacy file, usually that of the object."""
    pieces, position = [], 0
    for _ in range(5):
        size = sum(map(len, split_opcodes(content[position:])))
        pieces.append(content[position : position + size])
        position += size
    n = rng.choice((0, 1, 2, 3, 3, 3, 3, 3, 3, 4))
    pieces[n] = change_pickle(pieces[n], rng)
    return b"".join(pieces) + content[position:]


def change_pickle(data, rng):
    """Make one or a few changes to the opcodes of a pickle."""
    pieces = split_opcodes(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start = rng.randrange(len(pieces))
        end = min(len(pieces), start + rng.choice((1, 1, 1, 2, 4, 20)))
        other = rng.randrange(len(pieces))
        value = plain(rng.choice(VALUES))
        pieces[start:end] = rng.choice(
            (
                [],
                pieces[start:end] * 2,
                pieces[start:end][::-1],
                pieces[other : other + rng.choice((1, 1, 10))],
                [value],
                [value],
                [*pieces[start:end], value],
                [change_number(piece, rng) for piece in pieces[start:end]],
                [("c" + rng.choice(NAMES).replace(" ", "\n") + "\n").encode()],
                [rng.choice(OPCODES)],
                [rng.choice(OPCODES) + rng.randbytes(rng.randrange(10))],
            )
        )
        pieces = pieces or [b"."]
    return b"".join(pieces)


def change_number(piece, rng):
    """Replace an opcode that pushes an integer. Other opcodes stay."""
    return plain(rng.choice(NUMBERS)) if piece[:1] in (b"K", b"M", b"J", b"\x8a") else piece


def split_opcodes(data):
    """Split a pickle into its opcodes with their arguments, as bytes."""
    starts = [position for _, _, position in pickletools.genops(data)]
    return [data[start:end] for start, end in zip(starts, [*starts[1:], starts[-1] + 1], strict=True)]
