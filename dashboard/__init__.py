"""Show it: the Streamlit explorer of stored runs."""
