"""What spark-submit is given to run daily-analytics."""

from daily_analytics.main import main

if __name__ == "__main__":
    main()
