"""Configurations: which settings there are, and which classes they may name. Without torch."""
