"""The outside world, one module each: blocking, without decisions."""
