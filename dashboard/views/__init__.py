"""One page a file; `dashboard.app` lists them.

Not called `pages`: Streamlit would run each file of such a folder as a script of its own.
"""
