"""`unimse push` of models and Spaces.

A model is a run folder, with what is pending in it, or a folder that `unimse publish` laid out. A Space is any folder
whose README.md names an `sdk`, such as a metric of `trainer/metrics`.
"""

import ast
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

import dataset_scripts
from dataset_scripts.hub_names import check_repo_name, error_line
from dataset_scripts.utils.outputs import claimed, scratch_folder
from trainer.adapters import is_adapter
from trainer.card_folder import RESULTS, card_differences, is_card_folder, read_settings, rename_model
from trainer.card_metadata import PROJECT_MODEL_ID
from trainer.checkpointing import BEST
from trainer.evaluation import check_scored_weights
from trainer.hub import Part, final_parts
from trainer.results_file import read_results
from trainer.uploads import PENDING, Upload, make_pending, mark_sent, pending, send

_NOT_IN_SPACES = ["*.pyc", ".*", "*/.*"]  # `*` spans folders
_PACKAGES = (Path(dataset_scripts.__file__).parent, Path(__file__).parent)
_PACKAGE_FILES = (".py", ".yaml", ".md", ".html", ".css", ".js", ".txt")  # and folds/*.json, as setup.py declares


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
        FileExistsError: another process trains or pushes there.
        ValueError: what is pending goes to another repository; weights are not those that were scored; the Hub refuses
            or cannot be reached.
    """
    addresses = []
    with claimed(run_folder):
        for name, upload, fill in _parts(run_folder, repo, private, with_predictions):
            make_pending(run_folder, name, upload, fill, again=True)
        for folder, upload in pending(run_folder):
            _check_weights(folder)
            addresses.append(_send(folder, upload))
            mark_sent(folder, upload, addresses[-1])
    return addresses


def push_model(folder: Path, repo: str, private: bool = True) -> str:
    """Send a model folder as it is; returns the address of the commit.

    A card that nobody has edited and that was made before the model had a name is written again with this one.

    Raises:
        ValueError: the weights are not those that were scored; the Hub refuses or cannot be reached.
    """
    check_repo_name(repo)
    _check_weights(folder)
    unnamed = is_card_folder(folder) and read_settings(folder).model_id == PROJECT_MODEL_ID
    if unnamed and not card_differences(folder):
        rename_model(folder, repo)
    return _send(folder, Upload(repo, "Upload by unimse push", private=private))


def _check_weights(folder: Path) -> None:
    """Raise a `ValueError` where a folder has results of other weights; those of an adapter need its base too."""
    if (folder / RESULTS).is_file() and not is_adapter(folder):
        check_scored_weights(folder, read_results(folder / RESULTS))


def is_space_folder(folder: Path) -> bool:
    """Whether this is a Space: its README.md has front matter that names an `sdk`."""
    return _card(folder).get("sdk") is not None


def push_space(folder: Path, repo: str, private: bool = True) -> str:
    """Send a Space folder as one commit; Python files that the repository has beyond it are removed.

    Where its Python files import `trainer`, that package and `dataset_scripts` go beside them.

    Args:
        folder: with a README.md whose front matter names the `sdk`: gradio, streamlit, docker or static.
        repo: `owner/name`; made where there is none. A metric (tag `evaluate`) is loaded by this name, so its module
            must be `name.py`.
        private: whether a repository that is made is private.

    Returns:
        The address of the commit.

    Raises:
        ValueError: no such card, a name that the metric cannot be loaded by; the Hub refuses or cannot be reached.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi

    check_space(folder, repo)
    api = HfApi()
    try:
        api.create_repo(repo, repo_type="space", space_sdk=_card(folder)["sdk"], private=private, exist_ok=True)
        with _with_packages(folder) as whole:
            commit = api.upload_folder(
                repo_id=repo,
                repo_type="space",
                folder_path=whole,
                commit_message="Upload by unimse push",
                ignore_patterns=_NOT_IN_SPACES,
                delete_patterns="*.py",
            )
    except (OSError, ValueError, RuntimeError, HTTPError) as error:
        raise ValueError(f"{repo}: could not be pushed to; try again later ({error_line(error)})") from error
    return str(commit.commit_url)


@contextmanager
def _with_packages(folder: Path) -> Iterator[Path]:
    """A Space folder with the packages of ours that it imports: itself, or a copy."""
    if not any(_imports_trainer(path) for path in folder.glob("*.py")):
        yield folder
        return
    with TemporaryDirectory() as place:
        whole = Path(place, "space")
        shutil.copytree(folder, whole, ignore=shutil.ignore_patterns("__pycache__"))
        for package in _PACKAGES:
            shutil.copytree(package, whole / package.name, ignore=_not_of_the_package)
        yield whole


def _not_of_the_package(folder: str, names: Sequence[str]) -> list[str]:
    """Of the names in a folder of a package, all but its code, its declared data and folders."""
    paths = [Path(folder, name) for name in names]
    return [path.name for path in paths if not (_is_package_folder(path) if path.is_dir() else _is_package_file(path))]


def _is_package_folder(path: Path) -> bool:
    return path.name != "__pycache__" and not path.name.startswith(".")


def _is_package_file(path: Path) -> bool:
    return path.suffix in _PACKAGE_FILES or path.match("folds/*.json")


def _imports_trainer(path: Path) -> bool:
    found = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ImportFrom)]
    return any((node.module or "").split(".")[0] == "trainer" for node in found)


def check_space(folder: Path, repo: str) -> None:
    """Raise a `ValueError` where `push_space` would, before anything is sent."""
    from huggingface_hub.constants import SPACES_SDK_TYPES

    check_repo_name(repo)
    card, (owner, name) = _card(folder), repo.split("/")
    if card.get("sdk") not in SPACES_SDK_TYPES:
        kinds = ", ".join(SPACES_SDK_TYPES)
        raise ValueError(f"{folder / 'README.md'}: sdk: expected one of {kinds}, got {card.get('sdk')!r}")
    if "evaluate" in (card.get("tags") or []) and not (folder / f"{name}.py").is_file():
        raise ValueError(
            f"{repo}: a metric is loaded by the name of its module, and {folder} has no {name}.py; "
            f"push it to {owner}/{folder.resolve().name}"
        )


def _card(folder: Path) -> dict:
    """The front matter of README.md; empty where there is none."""
    from huggingface_hub import metadata_load

    path = folder / "README.md"
    try:
        return (metadata_load(path) if path.is_file() else None) or {}
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: its front matter cannot be read ({error_line(error)})") from error


def planned_files(
    folder: Path, repo: str, private: bool = True, with_predictions: bool = False
) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """What `push_run`, `push_space` or `push_model` would send: title, name and bytes of each file. Nothing is sent."""
    if not is_run_folder(folder):
        if not is_space_folder(folder):
            yield repo, _files(folder)
            return
        check_space(folder, repo)
        with _with_packages(folder) as whole:
            yield repo, _files(whole, _NOT_IN_SPACES)
        return
    parts = list(_parts(folder, repo, private, with_predictions))
    for waiting, upload in pending(folder):
        yield f"{_address(upload)} (pending)", _files(waiting)
    for name, upload, fill in parts:
        if (folder / PENDING / f"{name}.json").exists():  # shown above
            continue
        with claimed(folder, "push"), scratch_folder(folder, "push") as place:  # beside the files, for hard links
            fill(place)
            yield _address(upload), _files(place)


def _address(upload: Upload) -> str:
    return f"{upload.repo}@{upload.tag or upload.branch or 'main'}"


def _files(folder: Path, left_out: Sequence[str] = ()) -> list[tuple[str, int]]:
    from huggingface_hub.utils import filter_repo_objects

    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    kept = filter_repo_objects(names, ignore_patterns=[*left_out])
    return [(name, (folder / name).stat().st_size) for name in kept]


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
