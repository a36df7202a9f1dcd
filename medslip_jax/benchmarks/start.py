"""How long a user waits: for --help, an import, the first prediction, the first training step; each in its own process.

All but the first round find the programs in a compilation cache that the first one fills.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from medslip_jax.benchmarks.timing import machine, summary
from medslip_jax.parallel import compilation_cache

# The paper's model from a checkpoint, one image: import to probabilities.
_PREDICT = """
import sys
import jax
import numpy as np
from medslip_jax.weights.loading import load
model = load(sys.argv[1])["pretrained"]
image = np.random.default_rng(0).integers(0, 256, (1, 224, 224), np.uint8)
print(np.asarray(model(image)["pathology"]["logits"]).shape)
"""


_CONFIG = """
from medslip_jax.experiment import default_config

def get_config():
    config = default_config()
    config.data.name, config.data.batch_size, config.num_steps = "phantom", 16, 50
    config.model.text_dim, config.log_every, config.eval_every = 384, 1, 0
    config.eval.batch_size = 16
    return config
"""


def bench_start(*, rounds: int = 3) -> dict:
    """Seconds by the clock, medians over `rounds` with a warm cache.

    Returns:
      "help", "import", "first_prediction" (import, checkpoint of the paper's model, one image), "first_step"
      (`medslip pretrain` of the paper's model, 224 px, batch 16, from the call to the end of step 1).
    """
    with tempfile.TemporaryDirectory(prefix="medslip_bench_") as directory:
        root = Path(directory)
        _prepare(root)
        commands = {
            "help": [sys.executable, "-m", "medslip_jax.cli.main", "--help"],
            "import": [sys.executable, "-c", "import medslip_jax"],
            "first_prediction": [sys.executable, "-c", _PREDICT, str(root / "model")],
            "first_step": None,
        }
        found = {}
        for name, command in commands.items():
            seconds = [_first_step(root, i) if command is None else _timed(command, root) for i in range(rounds + 1)]
            found[name] = {"cold": seconds[0], **summary(seconds[1:])}
    return found | machine()


def _prepare(root: Path) -> None:
    """A checkpoint of the paper's model on the shipped text tables, phantoms, and a config that trains on them."""
    from data_pipelines.datasets import PhantomOptions, build
    from medslip_jax.checkpoints import write_model
    from medslip_jax.experiment import load_config, read, tree_of
    from medslip_jax.models.kinds import initial_variables

    (root / "config.py").write_text(_CONFIG)
    experiment = read(load_config([f"--config={root / 'config.py'}"]))
    write_model(root / "model", initial_variables(experiment.model), config=tree_of(experiment), info={})
    build("phantom", out=root / "data", options=PhantomOptions(train=64, validation=16, test=16), workers=1)


def _timed(command: list[str], root: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_environment(root))
    return time.perf_counter() - start


def _first_step(root: Path, number: int) -> float:
    """Until the first step's loss stands in metrics.jsonl."""
    workdir = root / f"run{number}"
    command = [sys.executable, "-m", "medslip_jax.cli.main", "pretrain", f"--config={root / 'config.py'}"]
    command += [f"--workdir={workdir}", f"--config.data.dir={root / 'data'}"]
    start = time.perf_counter()
    with (root / f"run{number}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment(root))
        try:
            while not _has_loss(workdir / "metrics.jsonl"):
                if process.poll() is not None:
                    raise RuntimeError(f"medslip pretrain ended: {Path(log.name).read_text()[-1000:]}")
                time.sleep(0.02)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def _has_loss(file: Path) -> bool:
    return file.is_file() and '"loss"' in file.read_text()


def _environment(root: Path) -> dict[str, str]:
    return os.environ | {compilation_cache.VARIABLE: str(root / "xla")}
