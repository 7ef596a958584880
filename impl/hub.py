"""Files from the Hugging Face hub, and its failures in words that say what to do."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from impl.errors import BadInput, PrunedexError, Unsupported

OFFLINE = (
    "Without network, these work: the models `tiny` and any local folder, `smollm2-135m` if it was "
    "fetched before; the texts `synthetic` and any file, `lee` if it was fetched before."
)


# The only files ever taken from a model repository, besides safetensors: data, no code, no pickles.
MODEL_FILES = (
    *("config.json", "generation_config.json", "chat_template.jinja"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt"),
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
)
INDEX = "model.safetensors.index.json"  # of weights in several files


@dataclass(frozen=True)
class Dataset:
    """A dataset repository at a commit."""

    repository: str
    commit: str

    @property
    def name(self) -> str:
        return f"{self.repository}@{self.commit}"

    def file(self, path: str, what: str) -> Path:
        """One of its files, downloaded to the hub's own cache on first use.

        Raises PrunedexError where that fails; `what` is what needed it.
        """
        from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

        place: dict[str, Any] = {"repo_type": "dataset", "revision": self.commit}
        cached = try_to_load_from_cache(self.repository, path, **place)
        if isinstance(cached, str):
            return Path(cached)
        with failures(f"{what} ({self.repository})"), quiet():
            # Asked first because it fails at once without network; a download tries for long.
            HfApi().dataset_info(self.repository, revision=self.commit)
            return Path(hf_hub_download(self.repository, path, **place))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides the hub's progress bars where nobody sees them move."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    hide = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            enable_progress_bars()


def model_folder(name: str, check: Callable[[dict[str, Any]], None]) -> tuple[Path, str]:
    """The local folder of a model repository (`owner/name` or `owner/name@revision`), its commit.

    The config is fetched first and given to `check`, so that a model that cannot be used is refused
    before its weights are downloaded. Without network, a complete earlier download is used.

    Raises BadInput for a name that does not exist, Unsupported for a repository without
    safetensors, PrunedexError where fetching fails.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository):
        raise BadInput(f"{name!r} is neither a model's name nor a folder")
    with quiet():
        try:
            with failures(name):
                found = HfApi().model_info(repository, revision=revision or None)
        except NoNetworkError:
            return _earlier_download(name, repository, revision)
        files = {sibling.rfilename for sibling in found.siblings or []}
        wanted: dict[str, Any] = {"repo_id": repository, "revision": revision or None}
        with failures(name):
            check(json.loads(Path(hf_hub_download(filename="config.json", **wanted)).read_bytes()))
            index = partial(hf_hub_download, filename=INDEX, **wanted)
            patterns = [*MODEL_FILES, *_weight_files(name, files, index)]
            # By the name of the revision, not its commit: so it can be found again without network.
            folder = Path(snapshot_download(allow_patterns=patterns, **wanted))
    return folder, folder.name


def _weight_files(name: str, files: set[str], index: Callable[[], str]) -> list[str]:
    if "model.safetensors" in files:
        return ["model.safetensors"]
    if INDEX in files:
        shards = json.loads(Path(index()).read_text("utf-8"))["weight_map"].values()
        return [INDEX, *sorted(set(shards))]
    pickled = sorted(f for f in files if f.endswith((".bin", ".pt", ".pth", ".ckpt")))
    raise Unsupported(
        f"{name} has no safetensors weights"
        + (f", only {pickled[0]}, a pickle, which can run code when loaded" if pickled else ""),
        "Choose a repository with safetensors, or convert it in a place where code may run.",
    )


def _earlier_download(name: str, repository: str, revision: str) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=[*MODEL_FILES, INDEX],
            local_files_only=True,
        )
        folder = Path(found)
        files = {path.name for path in folder.iterdir()}
        weights = _weight_files(name, files, lambda: str(folder / INDEX))
    except (LocalEntryNotFoundError, Unsupported):
        weights = []
    if not weights or not files.issuperset(weights):
        raise NoNetworkError(f"no connection to the Hugging Face hub, which {name} needs", OFFLINE)
    return folder, folder.name


class NoNetworkError(PrunedexError):
    """The hub cannot be reached, or must not be (offline mode)."""


@contextlib.contextmanager
def failures(name: str) -> Iterator[None]:
    """Turns the hub client's exceptions into errors for people. `name` is what was wanted."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise PrunedexError(
            f"{name} is gated: its owners want their terms accepted first",
            "Accept them on its page at the Hugging Face hub, then log in with `hf auth login`.",
        ) from None
    except errors.RepositoryNotFoundError:
        raise BadInput(
            f"the Hugging Face hub has nothing called {name}, or it is private",
            "Check the spelling (owner/name), or log in with `hf auth login` if it is yours.",
        ) from None
    except errors.RevisionNotFoundError:
        raise BadInput(f"the Hugging Face hub has no such revision: {name}") from None
    except errors.LocalEntryNotFoundError:
        raise NoNetworkError(
            f"no connection to the Hugging Face hub, which {name} needs", OFFLINE
        ) from None
    except errors.EntryNotFoundError as error:
        missing = re.search(r"/resolve/[^/]+/(\S+?)\.?(?:\s|$)", str(error))
        raise Unsupported(
            f"{name} has no file {missing[1] if missing else 'of the kind needed'} on the hub"
        ) from None
    except errors.HfHubHTTPError as error:
        raise PrunedexError(
            f"the Hugging Face hub answered {error.response.status_code} for {name}",
            "Try again later." if error.response.status_code >= 500 else None,
        ) from None
    except errors.HFValidationError as error:
        raise BadInput(f"{name!r} is not a name on the hub: {error}") from None
    except Exception as error:
        if isinstance(error, (PrunedexError, json.JSONDecodeError)) or not _of_network(error):
            raise
        raise NoNetworkError(
            f"no connection to the Hugging Face hub, which {name} needs", OFFLINE
        ) from None


def _of_network(error: BaseException) -> bool:
    """Whether the error is one of the HTTP library's, whichever the hub client uses."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, ConnectionError) or library.startswith(
        ("httpx", "httpcore", "requests")
    )
