"""The command line: `nas`."""
