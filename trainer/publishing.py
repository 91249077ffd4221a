"""Checkpoints of a training on the Hub while it runs: what is set aside when, and under which tag.

Tags: `step-<optimisation step>` for a checkpoint with its validation results, `final` for the best one with the test
results. `main` is the newest.
"""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from dataset_scripts.hub_names import error_line
from trainer.arguments import RunConfig
from trainer.hub import Part, base_part, card_settings, fill_repository, final_parts
from trainer.state import Progress
from trainer.uploads import LONGEST_WAIT, PushSettings, Upload, Uploader, make_pending, pending


class Publisher:
    """Sets checkpoints of one training aside and has them sent; does nothing on other processes than the main one.

    Args:
        config: with `push_to_hub`.
        seed: of the training.
        folder: its run folder, made ready.
        is_main: whether this is the main process.

    Raises:
        ValueError: uploads to another repository wait in the run folder.
    """

    def __init__(self, config: RunConfig, seed: int, folder: Path, is_main: bool):
        self.config, self.folder = config, folder
        self.settings = PushSettings.from_settings(config.push_to_hub)
        self.repo = repository(config, seed)
        self._check_pending()
        self.uploader = Uploader(folder) if is_main else None
        if config.peft is not None:
            self._add(base_part(folder, self.repo, self.settings.private))

    def is_due(self, progress: Progress) -> bool:
        """Whether something is to be pushed after a validation; the same on every process."""
        validation = -(-progress.epoch // self.config.evaluate_every)
        patience = self.config.patience
        is_last = progress.epoch == self.config.epochs or (patience is not None and progress.since_best >= patience)
        if validation % self.settings.every and not is_last:
            return False
        # Of the last `every` validations one may have been the best so far, and was not pushed yet.
        return not self.settings.only_best or progress.since_best < self.settings.every

    def add(self, step: int, checkpoint: Path, results: Path, message: str) -> None:
        """Set a checkpoint with its validation results aside."""
        settings = card_settings(self.folder, self.repo)
        upload = Upload(self.repo, message, tag=f"step-{step}", private=self.settings.private)
        self._add((f"{step:08d}", upload, lambda out: fill_repository(out, checkpoint, results, settings, link=True)))

    def add_final(self) -> None:
        """Set the best checkpoint with its test results aside."""
        for part in final_parts(self.folder, self.repo, self.settings.private, self.settings.with_predictions):
            self._add(part)

    def _add(self, part: Part) -> None:
        if self.uploader is None:
            return
        try:
            make_pending(self.folder, *part)
        except (OSError, ValueError) as error:  # a full disk, say: the training is worth more
            warnings.warn(f"{self.repo}: {part[0]} could not be set aside ({error_line(error)})", stacklevel=2)
        self.uploader.wake()

    def _check_pending(self) -> None:
        others = [upload.repo for _, upload in pending(self.folder) if upload.repo != self.repo]
        if others:
            raise ValueError(
                f"push_to_hub.repo: {len(others)} uploads to {others[0]} wait in {self.folder}, got {self.repo}; send "
                f"them first: unimse push {self.folder} {others[0]}"
            )


def finish_uploads(publishers: Sequence[Publisher]) -> None:
    """Wait until all is sent or has failed, for all of them together no longer than for one."""
    longest = LONGEST_WAIT
    for publisher in publishers:
        if publisher.uploader is None:
            continue
        if waiting := pending(publisher.folder):
            print(f"{publisher.repo}: {len(waiting)} uploads to send")
        began = time.monotonic()
        if not publisher.uploader.finish(longest):
            print(f"{publisher.repo}: all is on the Hub")
        longest = max(0.0, longest - (time.monotonic() - began))


def repository(config: RunConfig, seed: int) -> str:
    """The repository of one seed: that of the run, or one of its own where the run has several seeds."""
    repo = config.push_to_hub["repo"]
    return repo if len(config.seeds) == 1 else f"{repo}-seed-{seed}"
