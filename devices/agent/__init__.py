"""The agent: measures on a device that the server cannot reach, with the base libraries only."""
