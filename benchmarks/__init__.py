"""How fast convkit is: asv suites (bench_*.py), and `python -m benchmarks.peers`, side by side with other engines."""
