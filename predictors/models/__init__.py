"""The latency models that come with the package; one file each."""
