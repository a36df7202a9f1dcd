"""`medslip VERB ...`: finds the verb's module and calls its `main(argv)`."""

import contextlib
import importlib
import io
import os
import sys

# Little is imported here: until `main` is called, Ctrl-C shows Python's traceback.
from medslip_jax.exit_codes import BAD_INPUT, DONE, INTERRUPTED, PREEMPTED
from medslip_jax.heap import keep_freed_memory
from medslip_jax.interrupts import CtrlC

# verb -> (module, one line of help); a module is imported only when its verb is asked for.
VERBS = {
    "pretrain": ("medslip_jax.cli.pretrain", "pre-train a model from a config"),
    "evaluate": ("medslip_jax.cli.evaluate", "zero-shot classification and grounding of a model by a protocol"),
    "compare": ("medslip_jax.cli.compare", "is one result of evaluate better than another? a paired bootstrap"),
    "finetune": ("medslip_jax.cli.finetune", "a classifier or a U-Net from pre-trained weights"),
    "sweep": ("medslip_jax.cli.sweep", "train and judge the variants of a config, and one table"),
    "predict": ("medslip_jax.cli.predict", "probabilities and overlays of image files"),
    "serve": ("medslip_jax.cli.serve", "a local page that reads X-rays dropped on it"),
    "report": ("medslip_jax.cli.report", "one HTML page on a run: curves, tables, cases"),
    "launch": ("medslip_jax.cli.launch", "a run on a TPU pod, GKE, Slurm, or several processes here"),
    "compile": ("medslip_jax.cli.compile", "the training step for a TPU slice, on this CPU: memory, FLOPs, traffic"),
    "convert": ("medslip_jax.cli.convert", "weights between PyTorch files, safetensors and checkpoints"),
    "export": ("medslip_jax.cli.export", "a model as StableHLO or ONNX, for serving"),
    "data": ("medslip_jax.cli.data", "check, build and show data sets"),
    "doctor": ("medslip_jax.cli.doctor", "what is installed here, does it work, and what to do about it"),
    "bench": ("medslip_jax.cli.bench", "speed of steps, inference, loader and starts on this machine"),
    "books": ("medslip_jax.cli.books", "write the text tables of a BERT encoder"),
    "completion": ("medslip_jax.cli.completion", "a script that completes medslip's words in bash, zsh, fish ..."),
}


def usage() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(["usage: medslip VERB ...   (medslip VERB --help for a verb's flags)", "", *lines])


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit code (`exit_codes`).

    Args:
      argv: the verb and its flags. Without, it is what the process was called with, and Ctrl-C ends the process
        (`interrupts`) instead of coming back as a code.
    """
    if argv is not None:
        return _run(argv)
    _in_utf8()
    keep_freed_memory()
    with CtrlC() as ctrl_c:
        code = _run(sys.argv[1:], ctrl_c=ctrl_c)
    return code


def _in_utf8() -> None:
    """Starts Python anew where the locale is not UTF-8: reports and file names hold what ASCII lacks."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.ignore_environment:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)
    # PYTHONIOENCODING, and file names that are not UTF-8: a line on the terminal is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(argv: list[str], *, ctrl_c: CtrlC | None = None) -> int:
    from medslip_jax.errors import InputError, Preempted

    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return DONE if argv else BAD_INPUT
    if argv[0] not in VERBS:
        print(f"medslip: unknown verb {argv[0]!r}; one of: {', '.join(VERBS)}", file=sys.stderr)
        return BAD_INPUT
    try:
        _prepare(argv[0])
        verb = importlib.import_module(VERBS[argv[0]][0])
        if ctrl_c:
            ctrl_c.begun = True
        code = verb.main(argv[1:]) or DONE
    except (InputError, Preempted, KeyboardInterrupt) as error:
        if ctrl_c and ctrl_c.came:  # what follows from it, such as workers that are gone, is no news
            raise
        interrupted = isinstance(error, KeyboardInterrupt)
        print(f"medslip: {'interrupted' if interrupted else error}", file=sys.stderr)
        return INTERRUPTED if interrupted else PREEMPTED if isinstance(error, Preempted) else BAD_INPUT
    if ctrl_c and ctrl_c.came and code not in (DONE, INTERRUPTED):
        raise KeyboardInterrupt
    return code


def _prepare(verb: str) -> None:
    """What all verbs want, imported here so that `medslip --help` answers at once."""
    from medslip_jax.parallel import compilation_cache
    from medslip_jax.storage import home

    if verb != "doctor":  # which says it among what else is wrong
        home.require_temporary()
    home.prepare()
    compilation_cache.enable()
    # Without absl, `medslip doctor` still has to say that it is missing.
    with contextlib.suppress(ModuleNotFoundError):
        from absl import logging

        # Orbax and grain tell their life through absl; what a user has to know is printed or raised.
        logging.set_verbosity(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
