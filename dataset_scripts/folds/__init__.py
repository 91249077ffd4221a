"""Standard folds of MOSI and MOSEI, video id -> split, as the CMU Multimodal SDK publishes them.

Source of the ids: `standard_{train,valid,test}_fold` of the CMU Multimodal SDK 0.0.6; 52/10/31 and 2250/300/678 videos.
"""

import json
from functools import cache
from importlib.resources import files


@cache
def standard_folds(benchmark: str) -> dict[str, str]:
    """Video id -> `train`, `validation` or `test`.

    Args:
        benchmark: `mosi` or `mosei`.
    """
    folds = json.loads(files(__package__).joinpath(f"{benchmark}.json").read_text(encoding="utf-8"))
    return {video_id: split for split, video_ids in folds.items() for video_id in video_ids}
