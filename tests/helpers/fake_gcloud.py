"""Stands for gcloud on PATH: notes each call, answers from a script, and can play the hosts of a pod for real.

Reads JSON from $FAKE_GCLOUD, {"requests": states, "machines": states, "runs": exit codes, "create": exit codes ...}:
lists that are used up from the front, the last item staying. With "hosts", a list of home directories, scp copies
into them and ssh runs the command in each of them at the same time; the exit code is the first that is not 0.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path


def answer(script: dict, key: str, default):
    """The next item of a list of the script."""
    items = script.get(key) or [default]
    if len(items) > 1:
        script[key] = items[1:]
        Path(os.environ["FAKE_GCLOUD"]).write_text(json.dumps(script))
    return items[0]


def listed(state: str) -> int:
    """Prints a pod "a" in that state, among others."""
    if state == "ERROR":
        print("network is unreachable", file=sys.stderr)
        return 1
    print("another\tACTIVE" + ("" if state == "ABSENT" else f"\na\t{state}"))
    return 0


def on_hosts(hosts: list[str], command: str) -> int:
    def start(home: str) -> subprocess.Popen:
        environment = {**os.environ, "HOME": home}
        return subprocess.Popen(["bash", "-c", command], cwd=home, env=environment, stdin=subprocess.DEVNULL)

    codes = [process.wait() for process in [start(home) for home in hosts]]
    return next((code for code in codes if code), 0)


def main(argv: list[str]) -> int:
    script_file = Path(os.environ["FAKE_GCLOUD"])
    with script_file.with_suffix(".calls").open("a") as calls:
        calls.write(json.dumps(argv) + "\n")
    script = json.loads(script_file.read_text())
    area, verb = argv[2], argv[3]
    if verb == "list":
        key = {"queued-resources": "requests", "tpu-vm": "machines"}[area]
        return listed(answer(script, key, {"requests": "ACTIVE", "machines": "READY"}[key]))
    if verb == "scp" and "hosts" in script:
        files = argv[4 : argv.index("a:")]
        for home in script["hosts"]:
            for file in files:
                shutil.copy(file, home)
        return 0
    if verb == "ssh":
        command = next(word for word in argv if word.startswith("--command=")).partition("=")[2]
        if "hosts" in script:
            return on_hosts(script["hosts"], command)
        verb = command.split()[2]
    return answer(script, verb, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
