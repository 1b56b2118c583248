"""Export: the files that deploy a network, and those that describe a run."""
