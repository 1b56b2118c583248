"""Super-networks: train one network whose parts are all networks of a space, or search in it.

Runs on bare GPU machines: no Typer, no SQLAlchemy, no pydantic anywhere below.
"""
