"""Predictors: how long would it take? Latency models with calibrated intervals."""
