"""What is done beside the daemon: checking, setting up, telling how things stand, taking all of it away again."""
