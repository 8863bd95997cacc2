"""What survives the end of the daemon."""
