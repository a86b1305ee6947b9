"""Training, by subject: objective, engine, persistence, measurement."""
