"""Where the time of one step goes: a profiler's trace read beside the program's HLO text.

Each operation of the trace is looked up in the text, which says what it computes and for which part of the model. A
moment in which several threads work is divided among what they do: all shares and the idle time sum to the step.
"""

import itertools
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import jax
from jax.profiler import ProfileData, ProfileOptions

from medslip_jax.aot.collectives import collective_kind
from medslip_jax.parallel.hlo_text import Instruction, instructions

Event = tuple[float, float, str]  # start and end in nanoseconds, instruction
Described = tuple[str, str, str]  # kind, part, direction
_MODEL = "MeDSLIP)"
_COMPUTATION = re.compile(r"^(?:ENTRY )?%([\w.\-]+) (?:\(|\{)", re.MULTILINE)
_CALLS = re.compile(r"calls=%([\w.\-]+)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_PRODUCTS = ("dot", "convolution")
# Libraries that XLA hands products to: cuBLAS, cuDNN, oneDNN.
_LIBRARY_PRODUCT = re.compile(r'custom_call_target="[^"]*(gemm|matmul|conv)', re.IGNORECASE)
_MOVES = {"copy", "transpose", "reshape", "concatenate", "slice", "dynamic-slice", "dynamic-update-slice", "pad"}
_CONTROL = {"cond", "while", "scan", "checkpoint", "rematted_computation"}
_NAMES_ARRAYS = {"parameter", "bitcast", "constant", "tuple", "get-tuple-element"}


def trace_step(run: Callable[[], object], hlo: str, directory: str | Path) -> dict:
    """Traces one call of `run` after one untraced, and says where its time went.

    Args:
      run: a step; it returns when its work is done.
      hlo: the step's program, `compiled.as_text()`.
      directory: the trace comes here, for TensorBoard or Perfetto.

    Returns:
      {"directory", "seconds" of the step, "idle": seconds without an operation, "kinds": {kind: seconds}, "parts":
      {part of the model: {"forward" or "backward": seconds}}}, largest first.
    """
    run()
    options = ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(str(directory), profiler_options=options):
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    newest = max(Path(directory).rglob("*.xplane.pb"), key=lambda file: file.stat().st_mtime)
    shares = seconds_of_operations(_lines(ProfileData.from_file(str(newest))), describe(hlo))
    kinds: defaultdict[str, float] = defaultdict(float)
    parts: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (kind, part, direction), share in shares.items():
        kinds[kind] += share
        parts[part][direction] = parts[part].get(direction, 0.0) + share
    largest = sorted(parts, key=lambda part: -sum(parts[part].values()))
    return {
        "directory": str(directory),
        "seconds": seconds,
        "idle": max(0.0, seconds - sum(kinds.values())),
        "kinds": dict(sorted(kinds.items(), key=lambda item: -item[1])),
        "parts": {part: dict(sorted(parts[part].items(), reverse=True)) for part in largest},
    }


def describe(hlo: str) -> dict[str, Described]:
    """{instruction: (kind, part, direction)} of a program.

    Kind is "products", "collectives", "moves" (copies, transpositions, slices) or "elementwise" with reductions and the
    rest; part the module, blocks of a ResNet layer together; direction "forward", "backward" or "".
    """
    found, bodies = {}, _computations(hlo)
    for body in list(bodies.values()):
        for instruction in body:
            called = _CALLS.search(instruction.attributes)
            inside = bodies.get(called[1], []) if called else [instruction]
            # A fusion that XLA put together itself has no name of its own; its last instruction's comes nearest.
            names = [_OP_NAME.search(one.attributes) for one in (*inside, instruction)]
            name = next((match[1] for match in reversed(names) if match), "")
            found[instruction.name] = (_kind(instruction, {one.opcode for one in inside}), *_place(name))
    return found


def seconds_of_operations(lines: Iterable[list[Event]], described: Mapping[str, Described]) -> dict[Described, float]:
    """Seconds of each description, all lines together.

    Args:
      lines: of each thread or stream the events (start, end, instruction) in nanoseconds, one inside another or apart.
      described: {instruction: description}; other events are left out.
    """
    changes = []
    for line in lines:
        for start, end, name in _innermost([event for event in line if event[2] in described]):
            changes += [(start, 1, described[name]), (end, -1, described[name])]
    seconds: defaultdict[Described, float] = defaultdict(float)
    active: Counter[Described] = Counter()
    last = 0.0
    for moment, step, description in sorted(changes, key=lambda change: change[0]):
        if active:
            share = (moment - last) / 1e9 / active.total()
            for one, times in active.items():
                seconds[one] += share * times
        active[description] += step
        if not active[description]:
            del active[description]
        last = moment
    return seconds


def _innermost(events: list[Event]) -> Iterator[Event]:
    """The pieces of time in which an event has no other inside of it: a loop's own, and those of its body."""
    stack: list[Event] = []
    for start, end, name in sorted(events, key=lambda event: (event[0], -event[1])):
        while stack and stack[-1][1] <= start:
            yield stack.pop()
        if stack:
            outer = stack[-1]
            yield outer[0], start, outer[2]
            end = min(end, outer[1])
        stack = [*((max(begin, end), until, what) for begin, until, what in stack), (start, end, name)]
    yield from reversed(stack)


def _lines(data: ProfileData) -> Iterator[list[Event]]:
    for plane in data.planes:
        for line in plane.lines:
            yield [(e.start_ns, e.start_ns + e.duration_ns, _instruction(e)) for e in line.events]


def _instruction(event) -> str:
    """CPU and GPU name the instruction beside the event; a TPU's event is called by its whole line of HLO."""
    stats = dict(event.stats)
    return str(stats["hlo_op"]) if "hlo_op" in stats else event.name.removeprefix("%").partition(" ")[0]


def _computations(hlo: str) -> dict[str, list[Instruction]]:
    starts = list(_COMPUTATION.finditer(hlo))
    ends = [start.start() for start in starts[1:]] + [len(hlo)]
    return {start[1]: list(instructions(hlo[start.end() : end])) for start, end in zip(starts, ends, strict=True)}


def _kind(instruction: Instruction, opcodes: set[str]) -> str:
    if collective_kind(instruction):
        return "collectives"
    if opcodes.intersection(_PRODUCTS) or _LIBRARY_PRODUCT.search(instruction.attributes):
        return "products"
    return "moves" if opcodes - _NAMES_ARRAYS <= _MOVES else "elementwise"


def _place(op_name: str) -> tuple[str, str]:
    """Part of the model and direction, from the name that JAX gives an operation.

    >>> _place("jit(train_step)/transpose(jvp(MeDSLIP))/trunk/layer1_0/conv2/dot_general")
    ('trunk/layer1', 'backward')
    >>> _place("jit(train_step)/jvp(MeDSLIP)/decoder_anatomy/layer_3/norm1/mul")
    ('decoder_anatomy', 'forward')
    >>> _place("jit(train_step)/mul")
    ('optimiser and the rest', '')
    """
    direction = "backward" if "transpose(" in op_name else "forward" if "jvp(" in op_name else ""
    _, model, path = op_name.partition(_MODEL)
    if not model:
        return ("input and losses" if direction else "optimiser and the rest"), direction
    names = [name for name in path.lstrip(")/").split("/")[:-1] if not name.startswith("MeDSLIP.")]
    # Below the modules come the functions of JAX: cond/branch_0_fun, jit(relu), transpose(jvp()).
    modules = list(itertools.takewhile(lambda name: name not in _CONTROL and "(" not in name, names))
    if not modules:
        return "between the modules", direction
    depth = 2 if modules[0] == "trunk" else 1
    return re.sub(r"_\d+$", "", "/".join(modules[:depth])), direction
