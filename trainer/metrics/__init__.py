"""The metrics as `evaluate` modules; each folder stands alone and is loaded with `evaluate.load(folder)`."""
