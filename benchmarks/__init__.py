"""Scripts that measure; what they found is in results/."""
