"""What is read from the lake: daily history, closed windows."""
