"""The HTTP face: queueing events, what is scheduled, and the description of it all."""
