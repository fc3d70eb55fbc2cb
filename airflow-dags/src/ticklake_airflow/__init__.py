"""What the DAGs are made of: settings, schedule, operators for both ways to run a stage, and notices of failures."""
