"""Names of repositories on the Hub, and what the Hub's client says, on one line. Light: it imports no other file."""


def check_repo_name(repo: str) -> None:
    """Raise a `ValueError` unless `repo` can name a repository of somebody: `owner/name`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(f"{repo}: expected owner/name of a Hub repository ({error_line(error)})") from error
    if repo.count("/") != 1:
        raise ValueError(f"{repo}: expected owner/name of a Hub repository")


def error_line(error: Exception) -> str:
    """The message of an error on one line, its type where it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__
