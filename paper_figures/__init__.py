"""One function per figure: results in, Figure out."""
