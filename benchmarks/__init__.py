"""Every speed claim of the docs, measured side by side with a peer in one run."""
