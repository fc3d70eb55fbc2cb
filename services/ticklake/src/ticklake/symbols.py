"""The symbols that the platform follows where none are set."""

BATCH_SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC", "JPM", "V")
LIVE_SYMBOLS = BATCH_SYMBOLS[:8]
