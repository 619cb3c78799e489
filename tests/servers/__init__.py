"""Real servers for tests: Apache Kafka, Redis, an S3 store, and a proxy that breaks it."""
