"""What spark-submit is given to run stream-analytics."""

from stream_analytics.main import main

if __name__ == "__main__":
    main()
