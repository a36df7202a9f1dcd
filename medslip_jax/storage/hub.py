"""Files of a Hugging Face hub repository: from the local cache, else from the network. `HF_HUB_OFFLINE` is obeyed."""

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from medslip_jax.errors import InputError
from medslip_jax.storage.tensor_files import (
    PRETRAINED_WEIGHTS,
    READ_SUFFIXES,
    SUFFIXES,
    TORCH_SUFFIXES,
    books_file,
    info_file,
)
from medslip_jax.storage.tensor_reading import INDEX_SUFFIX

# owner/name, then optionally @revision, then optionally /FILE.
_REFERENCE = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>[\w./-]+))?")


def looks_like_hub_id(text: str) -> bool:
    """Whether `text` has the form owner/name[@revision][/FILE]."""
    return _REFERENCE.fullmatch(text) is not None


def fetch_weights(reference: str) -> Path:
    """The local path of the weights file that a hub reference means, with its side files beside it.

    Args:
      reference: "owner/name", "owner/name@revision", "owner/name/FILE.pth" or both. Without a file it is the one
        weights file of the repository; a `save_pretrained` repository's is model.safetensors. What the cache holds is
        taken for the repository, with a note.

    Raises:
      InputError: not the form of a hub id, not there, several weights files, or neither cached nor reachable.
    """
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise InputError(f"{reference}: neither a path nor the form of a hub id (owner/name[@revision][/FILE])")
    repo, revision, wanted = parts["repo"], parts["revision"], parts["file"]
    with hub_errors(reference, hint="give a path"):
        for local in (True, False):
            # Not in the cache is an OSError; the network may have it.
            with contextlib.suppress(OSError) if local else contextlib.nullcontext():
                names = [wanted] if wanted else _weights_names(repo, revision=revision, local=local)
                if names:
                    path = _fetch(reference, repo, names, revision=revision, local=local)
                    if local and not wanted:
                        # The cache may hold less than the repository.
                        print(f"note: {reference}: {path.name} as it lies in the local cache", file=sys.stderr)
                    return path
    raise InputError(f"{reference}: the repository has no file with {', '.join(SUFFIXES)}; name one, owner/name/FILE")


def snapshot(repo: str, patterns: Sequence[str], *, local: bool, revision: str | None = None) -> Path:
    """The folder with a repository's files of these patterns; `local` looks into the cache only."""
    from huggingface_hub import snapshot_download

    found = snapshot_download(repo, allow_patterns=list(patterns), local_files_only=local, revision=revision)
    return Path(found)


@contextlib.contextmanager
def hub_errors(name: str, *, hint: str) -> Iterator[None]:
    """The hub client's ways of failing as one `InputError` line that ends with `hint`."""
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except HFValidationError as error:
        raise InputError(f"{name}: neither a directory nor the form of a hub id; {hint}") from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{name}: not on the hub, or only after a login; {hint}") from error
    except RevisionNotFoundError as error:
        raise InputError(f"{name}: the hub has no such revision; {hint}") from error
    except Exception as error:
        # The errors of the HTTP library below the client, which changes, are not all OSError.
        if not isinstance(error, OSError) and not type(error).__module__.startswith(("httpx", "requests")):
            raise
        raise InputError(f"{name}: not in the local cache and no network; {hint}") from error


def _fetch(reference: str, repo: str, names: Sequence[str], *, revision: str | None, local: bool) -> Path:
    name = PRETRAINED_WEIGHTS if PRETRAINED_WEIGHTS in names else names[0]
    if len(names) > 1 and name != PRETRAINED_WEIGHTS:
        raise InputError(f"{reference}: holds {', '.join(sorted(names))}; name one, {reference}/{names[0]}")
    sides = [str(side(Path(name))) for side in (info_file, books_file)]
    # The files of an index are called after it: model-00001-of-00002.safetensors.
    parts = [f"{name.split('.')[0]}-*"] if name.endswith(INDEX_SUFFIX) else []
    path = snapshot(repo, [name, *sides, *parts], local=local, revision=revision) / name
    if not path.is_file():
        if local:
            raise FileNotFoundError(path)
        raise InputError(f"{reference}: no {name} on the hub or, without network, in the cache; look at its files")
    return path


def _weights_names(repo: str, *, revision: str | None, local: bool) -> list[str]:
    if local:
        folder = snapshot(repo, ["*"], local=True, revision=revision)
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    else:
        from huggingface_hub import HfApi

        # One request; the client's list of files would try six times before it says that there is no network.
        files = HfApi().model_info(repo, revision=revision).siblings or []
        names = sorted(file.rfilename for file in files if "/" not in file.rfilename)
    if PRETRAINED_WEIGHTS not in names and (
        indices := [n for n in names if n.endswith(f"{SUFFIXES[-1]}{INDEX_SUFFIX}")]
    ):
        return indices
    weights = [name for name in names if name.lower().endswith(READ_SUFFIXES)]
    # Training scripts leave optimiser states beside the weights under such names.
    return [n for n in weights if not (n.lower().endswith(TORCH_SUFFIXES) and n.startswith(("optimizer", "scheduler")))]
