"""From anybody's files to an interaction log, a catalogue and a split."""
