"""Live ticks from Alpha Vantage or a simulator to Kafka."""
