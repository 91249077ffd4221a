"""Numbers that others published, from `published_results.yaml`: quoted in tables, never computed or ranked here."""

from pathlib import Path

from trainer.metric_names import METRICS

PUBLISHED = Path(__file__).with_suffix(".yaml")


def read_published(path: Path = PUBLISHED) -> list[dict]:
    """The quoted results: mappings with name, benchmark, metrics, source (the publication) and perhaps note.

    Raises:
        ValueError: on a missing or unknown field, or a metric that is not ours; names the file and the entry.
    """
    import yaml

    published = yaml.safe_load(path.read_text(encoding="utf-8"))
    for number, result in enumerate(published, start=1):
        required = {"name", "benchmark", "metrics", "source"}
        if not required <= set(result) <= required | {"note"}:
            raise ValueError(
                f"{path.name}: entry {number}: expected {', '.join(sorted(required))}, got {sorted(result)}"
            )
        unknown = sorted(set(result["metrics"]) - set(METRICS))
        if unknown:
            raise ValueError(f"{path.name}: entry {number}: expected metrics of {', '.join(METRICS)}, got {unknown}")
    return published
