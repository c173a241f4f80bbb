"""One module per command: its help, its options (`add`) and what it does (`run`), which imports what it needs."""
