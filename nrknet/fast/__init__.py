"""The network for restoring photos on a CPU: rows stream through it, its convolutions are compiled for the machine."""
