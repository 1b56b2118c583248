"""Devices: how long did it take? Targets, runtimes, the paired measuring protocol."""
