"""The control plane: drafts, releases, delivery and rollouts over a revisioned store, and the API to them."""
