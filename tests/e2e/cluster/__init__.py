"""The whole platform on a real cluster: `make e2e`."""
