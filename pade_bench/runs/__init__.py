"""Everything about a run on disk: its home and name, its files, locks and curves. Without torch."""
