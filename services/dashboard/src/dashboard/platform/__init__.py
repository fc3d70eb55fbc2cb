"""The platform itself: runs, quarantine, held symbols, lag, alerts."""
