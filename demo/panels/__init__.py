"""The panels of the analysis app, one for each thing to look at."""
