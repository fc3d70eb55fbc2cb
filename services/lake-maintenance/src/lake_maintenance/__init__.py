"""What goes from the lake and when: retention of objects, maintenance of tables."""
