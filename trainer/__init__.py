"""Training, evaluation and publication of UniMSE: the `unimse` command and what stands behind it."""
