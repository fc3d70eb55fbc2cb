"""Daily bars from Yahoo Finance, a recording or a simulation to Kafka."""
