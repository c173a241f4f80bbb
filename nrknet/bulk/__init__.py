"""Photo collections larger than a machine: Ray Data spreads them over workers, storage is whatever fsspec knows."""
