"""What loaders and trainer share and what knows nothing of either: files and their safe replacement."""
