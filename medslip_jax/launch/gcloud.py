"""The gcloud commands for one TPU pod, as lists of words.

Source of commands and flags: the reference of the Google Cloud CLI, `gcloud compute tpus queued-resources` (create,
describe, list, delete) and `gcloud compute tpus tpu-vm` (ssh, scp, list).
"""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Literal

_REQUESTS = ["gcloud", "compute", "tpus", "queued-resources"]
_MACHINES = ["gcloud", "compute", "tpus", "tpu-vm"]
# ssh notices within 90 seconds that a host is gone, not after the two hours of TCP.
_KEEP_ALIVE = "-oServerAliveInterval=30"


@dataclasses.dataclass(frozen=True)
class Pod:
    """A queued resource with one TPU node of the same name.

    Attributes:
      name: of both.
      zone: such as us-west4-a.
      kind: accelerator type, such as v5litepod-16.
      version: runtime version of its virtual machines.
      project: "" for gcloud's own setting.
      capacity: "spot" costs less and can be taken away at any time.
    """

    name: str
    zone: str
    kind: str
    version: str
    project: str = ""
    capacity: Literal["on_demand", "spot"] = "on_demand"

    def create(self) -> list[str]:
        size = [f"--node-id={self.name}", f"--accelerator-type={self.kind}", f"--runtime-version={self.version}"]
        spot = ["--spot"] if self.capacity == "spot" else []
        return [*_REQUESTS, "create", self.name, *self._where(), *size, *spot, "--quiet"]

    def delete(self) -> list[str]:
        """The request and its machines."""
        return [*_REQUESTS, "delete", self.name, *self._where(), "--force", "--quiet"]

    def describe(self) -> list[str]:
        """The state of the request with its reason."""
        return [*_REQUESTS, "describe", self.name, *self._where(), "--format=yaml(state)", "--quiet"]

    def list_requests(self) -> list[str]:
        """Lines "name state". A list, as describing what does not exist fails like a broken network."""
        return [*_REQUESTS, "list", *self._where(), "--format=value(name.basename(),state.state)", "--quiet"]

    def list_machines(self) -> list[str]:
        return [*_MACHINES, "list", *self._where(), "--format=value(name.basename(),state)", "--quiet"]

    def copy(self, files: Sequence[str]) -> list[str]:
        """Into the home directory of every host."""
        return [*_MACHINES, "scp", *files, f"{self.name}:", "--worker=all", *self._where(), "--quiet"]

    def ssh(self, command: Sequence[str]) -> list[str]:
        """A command on every host at the same time, in the home directory.

        gcloud's exit code is that of the first host that failed. Where the connection is lost (255), gcloud itself
        runs the command again, up to ten times: the command has to bear that.
        """
        remote = [f"--command={shlex.join(command)}", f"--ssh-flag={_KEEP_ALIVE}"]
        return [*_MACHINES, "ssh", self.name, "--worker=all", *remote, *self._where(), "--quiet"]

    def _where(self) -> list[str]:
        return [f"--zone={self.zone}", *([f"--project={self.project}"] if self.project else [])]
