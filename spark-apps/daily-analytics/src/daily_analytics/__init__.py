"""daily-analytics: raw bars to indicators, a batch SparkApplication."""
