"""Configurations: the settings there are, what they may be, and what they may name. No torch."""
