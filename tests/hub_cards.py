"""What the Hub says of cards and evaluation files, as far as it is documented: hub-docs, modelcard.md and
eval_results.yaml, and the list of licences in repositories-licenses.md."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from numbers import Real
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

EVALUATION_FILE = re.compile(r"\.eval_results/[^/]+\.ya?ml")
LICENSES = frozenset(
    """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
    lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib
    pddl lgpl-lr deepfloyd-if-license llama2 gemma unknown other""".split()
)
_LISTS = ("datasets", "metrics", "tags")
_REQUIRED = {"task": ("type",), "dataset": ("type", "name")}


def model_card_errors(card: Mapping[str, Any]) -> list[str]:
    """What the Hub refuses in the metadata of a model's card."""
    return [*_plain_errors(card), *_widget_errors(card.get("widget", [])), *_index_errors(card.get("model-index", []))]


def _plain_errors(card: Mapping[str, Any]) -> Iterator[str]:
    if "license" in card and card["license"] not in LICENSES:
        yield f'"license" must be one of the identifiers of the documentation, not {card["license"]!r}'
    for language in _as_list(card.get("language")):
        if not re.fullmatch(r"[a-z]{2,3}|code|multilingual", str(language)):
            yield f'"language" must be ISO 639 codes, not {language!r}'
    for name in _LISTS:
        values = card.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            yield f'"{name}" must be an array of strings'
    for name in ("library_name", "pipeline_tag"):
        if name in card and not re.fullmatch(r"[a-z0-9_.-]+", str(card[name])):
            yield f'"{name}" must be an identifier, not {card[name]!r}'
    for name in ("base_model", "datasets"):
        for value in _as_list(card.get(name)):
            if not _is_repository(value):
                yield f'"{name}" must hold names of repositories, not {value!r}'


def _as_list(value: Any) -> list:
    return [] if value is None else value if isinstance(value, list) else [value]


def _is_repository(name: Any) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _widget_errors(widget: Any) -> Iterator[str]:
    if not isinstance(widget, list):
        yield '"widget" must be an array'
        return
    for number, example in enumerate(widget):
        if not isinstance(example, dict) or not {"text", "src"} & set(example):
            yield f'"widget[{number}]" must be an object with "text" or "src"'


def _index_errors(index: Any) -> Iterator[str]:
    if not isinstance(index, list):
        yield '"model-index" must be an array'
        return
    for place, model in enumerate(index):
        if not isinstance(model, dict) or not model.get("name"):
            yield f'"model-index[{place}].name" is required'
            continue
        for number, result in enumerate(model.get("results") or []):
            yield from _result_errors(f"model-index[{place}].results[{number}]", result)


def _result_errors(place: str, result: Any) -> Iterator[str]:
    for name, fields in _REQUIRED.items():
        for field in fields:
            if not isinstance(result.get(name), dict) or not result[name].get(field):
                yield f'"{place}.{name}.{field}" is required'
    if not result.get("metrics"):
        yield f'"{place}.metrics" is required'
    for number, metric in enumerate(result.get("metrics") or []):
        for field in ("type", "value"):
            if metric.get(field) is None:
                yield f'"{place}.metrics[{number}].{field}" is required'


def evaluation_errors(entries: Any) -> list[str]:
    """What the Hub refuses in an evaluation file."""
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        return ["expected an array of results"]
    return [error for number, entry in enumerate(entries) for error in _entry_errors(f"[{number}]", entry)]


def _entry_errors(place: str, entry: Any) -> Iterator[str]:
    dataset, source = entry.get("dataset") or {}, entry.get("source")
    if not _is_repository(dataset.get("id")):
        yield f'"{place}.dataset.id" must be the name of a data set, not {dataset.get("id")!r}'
    if not isinstance(dataset.get("task_id"), str) or not dataset["task_id"]:
        yield f'"{place}.dataset.task_id" is required'
    if not isinstance(entry.get("value"), Real) or isinstance(entry["value"], bool):
        yield f'"{place}.value" must be a number, not {entry.get("value")!r}'
    if source is not None and not str(source.get("url", "")).startswith("https://"):
        yield f'"{place}.source.url" is required'
    if not isinstance(entry.get("notes", ""), str):
        yield f'"{place}.notes" must be a string'
    try:
        datetime.fromisoformat(entry.get("date", "2026-01-01"))
    except (TypeError, ValueError):
        yield f'"{place}.date" must be an ISO 8601 date, not {entry.get("date")!r}'
