"""What a run prints on its progress is what a sweep passes on."""

from pade_bench.runs.progress_lines import epoch_line, is_progress, pruned_line, resuming_line


def test_lines_on_progress_are_told_from_others():
    assert is_progress(epoch_line(2, 30, "train loss 0.5"))
    assert is_progress(resuming_line(3, 30))
    assert is_progress(pruned_line(12.5))
    for other in ("result       97 % after 2 epochs", "decoding 60,000 images", "epochs 3", ""):
        assert not is_progress(other)
