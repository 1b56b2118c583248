"""The runtimes that come with the package; one file each."""
