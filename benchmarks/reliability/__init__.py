"""Scripts that try to break the project; what came of it is in ../results/reliability.json."""
