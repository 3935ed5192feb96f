"""The asyncio daemon: owns all state that changes."""
