"""What comes from Kafka while the service runs."""
