"""The stages of the pipeline, each a cached function of files. Here, and only here, the rooms
meet."""
