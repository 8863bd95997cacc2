"""The daemon and its command line: everything that touches the world."""

__version__ = "0.1.0"
