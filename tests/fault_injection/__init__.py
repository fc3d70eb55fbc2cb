"""Faults injected into the platform's real parts by a seeded plan, and what must hold afterwards (`make faults`)."""
