"""Daily bars from Kafka to raw CSV in the lake."""
