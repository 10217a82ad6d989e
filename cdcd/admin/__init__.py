"""What an operator sees and does, whichever face asks: the admin API, the console, the command line."""
