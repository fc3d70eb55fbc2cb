"""Prepares the store for the stages, and checks that Kafka and the store can be used."""
