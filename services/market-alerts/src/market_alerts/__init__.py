"""Market alerts: rules evaluated on the live ticks."""
