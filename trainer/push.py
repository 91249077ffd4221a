"""`unimse push` of models: a run folder, with what is pending in it, or a folder that `unimse publish` laid out."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from dataset_scripts.hub import check_repo_name, error_line
from trainer.card_folder import card_differences, is_card_folder, read_settings, rename_model
from trainer.card_metadata import PROJECT_MODEL_ID
from trainer.checkpointing import BEST
from trainer.hub import Part, final_parts
from trainer.uploads import PENDING, Upload, make_pending, mark_sent, pending, send


def is_run_folder(folder: Path) -> bool:
    """Whether this is `runs/<run>/seed-<seed>`."""
    return (folder / "environment.json").is_file() and (folder / "config.yaml").is_file()


def is_model_folder(folder: Path) -> bool:
    """Whether this is a model in Hub layout."""
    return (folder / "config.json").is_file()


def push_run(run_folder: Path, repo: str, private: bool = True, with_predictions: bool = False) -> list[str]:
    """Send what is pending in a run folder and, of a finished run, the best checkpoint with its test results.

    Args:
        with_predictions: also the predictions beside the test results.

    Returns:
        The addresses of the commits.

    Raises:
        FileNotFoundError: there is nothing to send.
        ValueError: what is pending goes to another repository; the Hub refuses or cannot be reached.
    """
    for name, upload, fill in _parts(run_folder, repo, private, with_predictions):
        make_pending(run_folder, name, upload, fill, again=True)
    addresses = []
    for folder, upload in pending(run_folder):
        addresses.append(_send(folder, upload))
        mark_sent(folder, upload, addresses[-1])
    return addresses


def push_model(folder: Path, repo: str, private: bool = True) -> str:
    """Send a model folder as it is; returns the address of the commit.

    A card that nobody has edited and that was made before the model had a name is written again with this one.
    """
    check_repo_name(repo)
    unnamed = is_card_folder(folder) and read_settings(folder).model_id == PROJECT_MODEL_ID
    if unnamed and not card_differences(folder):
        rename_model(folder, repo)
    return _send(folder, Upload(repo, "Upload by unimse push", private=private))


def planned_files(
    folder: Path, repo: str, private: bool = True, with_predictions: bool = False
) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """What `push_run` or `push_model` would send: title, and name and bytes of each file. Nothing is sent or kept."""
    if not is_run_folder(folder):
        yield repo, _files(folder)
        return
    parts = list(_parts(folder, repo, private, with_predictions))
    for waiting, upload in pending(folder):
        yield f"{_address(upload)} (pending)", _files(waiting)
    for name, upload, fill in parts:
        if (folder / PENDING / f"{name}.json").exists():  # shown above
            continue
        with TemporaryDirectory(dir=folder) as place:  # beside the files, for hard links
            fill(Path(place))
            yield _address(upload), _files(Path(place))


def _address(upload: Upload) -> str:
    return f"{upload.repo}@{upload.tag or upload.branch or 'main'}"


def _files(folder: Path) -> list[tuple[str, int]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths]


def _parts(run_folder: Path, repo: str, private: bool, with_predictions: bool) -> Iterator[Part]:
    """What a finished run has to send beside what is pending."""
    check_repo_name(repo)
    waiting = pending(run_folder)
    for _, upload in waiting:
        if upload.repo != repo:
            raise ValueError(
                f"{run_folder}: what is pending there goes to {upload.repo}, got {repo}; push it there first"
            )
    finished = (run_folder / BEST).is_dir() and (run_folder / "results.json").is_file()
    if not finished and not waiting:
        raise FileNotFoundError(f"{run_folder}: nothing to push: expected a finished run, or pending uploads")
    if finished:
        yield from final_parts(run_folder, repo, private, with_predictions)


def _send(folder: Path, upload: Upload) -> str:
    from httpx2 import HTTPError

    try:
        return send(folder, upload)
    except (OSError, ValueError, RuntimeError, HTTPError) as error:  # RuntimeError: a file broke off
        raise ValueError(
            f"{upload.repo}: could not be pushed to; {folder} is kept and can be sent again ({error_line(error)})"
        ) from error
