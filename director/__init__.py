"""The daemon and its command line: everything that touches the world."""
