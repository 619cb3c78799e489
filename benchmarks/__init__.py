"""What the README's Benchmarks quotes; ``python -m benchmarks`` runs it all."""
