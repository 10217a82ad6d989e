"""Sources: each turns its own world into events and offers them to the pipeline."""
