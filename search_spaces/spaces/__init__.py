"""The spaces that come with the package; one file each."""
